import type { JSX } from 'preact';
import type { LiveEvent } from '../data/live.ts';
import { href } from '../data/route.ts';
import { Table } from './blocks.tsx';
import { Ago, Badge } from './words.tsx';
import type { Tone } from './words.tsx';

/** Events, newest first. */
export function EventTable({ events }: { events: readonly LiveEvent[] }): JSX.Element {
  return (
    <Table
      caption="Events, newest first"
      rows={events}
      keyOf={({ n }) => n}
      columns={[
        { title: 'When', cell: ({ at }) => <Ago at={at} /> },
        { title: 'What', cell: (event) => <Badge tone={toneOf(event)}>{event.what}</Badge> },
        {
          title: 'Device',
          cell: ({ device }) =>
            device === null ? (
              ''
            ) : (
              <a href={href(['devices', device])} class="id">
                {device}
              </a>
            ),
        },
        { title: 'More', cell: ({ text }) => <span class="wrap">{text}</span> },
      ]}
    />
  );
}

const GOOD = ['cleared', 'link up', 'service up'];
const BAD = ['dead', 'link down', 'service down', 'campaign aborted'];
const BUSY = ['accepted', 'redriven', 'session began'];

function toneOf({ kind, what }: LiveEvent): Tone {
  if (BAD.includes(what)) return 'bad';
  if (kind === 'warning' || what === 'expired') return 'warn';
  return GOOD.includes(what) ? 'good' : BUSY.includes(what) ? 'busy' : 'calm';
}

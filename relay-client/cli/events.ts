import { visible } from '../../shared/visible.ts';
import type { Command } from 'commander';
import type { DeskEvent } from '../api/event-stream.ts';
import { action, common, OK, UsageError } from './command.ts';
import type { Surroundings } from './command.ts';

export function addEvents(program: Command, around: Surroundings): void {
  common(program.command('events'))
    .description('follow what happens, until ^C')
    .option('--device <device>', 'only this device')
    .option('--after <seq>', 'start after this sequence (0 = from the beginning; default: now)')
    .action(
      action<{ device?: string; after?: string }>(
        around,
        async ({ client, io, json, printJson }, { device, after }) => {
          if (after !== undefined && !/^\d{1,15}$/.test(after))
            throw new UsageError(`--after takes a sequence, not ${after}`);
          const from = {
            ...(device === undefined ? {} : { device }),
            ...(after === undefined ? {} : { after: Number(after) }),
          };
          for await (const event of client.events({ ...from, signal: io.signal })) {
            if (json) printJson(event);
            else io.out(`${visible(eventText(event))}\n`);
          }
          return OK;
        },
      ),
    );
}

function eventText(event: DeskEvent): string {
  switch (event.type) {
    case 'hello':
      return `following ${event.relay} from ${event.sequence}`;
    case 'reset':
      return `events were missed (${event.reason})`;
    case 'link':
      return `link ${event.proxy.url} ${event.proxy.state}${event.proxy.why === null ? '' : `: ${event.proxy.why}`}`;
    case 'service':
      return `service ${event.name} ${event.up ? 'up' : 'down'}${event.why === null ? '' : `: ${event.why}`}`;
    case 'session':
      return `session of ${event.device ?? 'an unidentified phone'} ${event.phase}${event.outcome === null ? '' : `: ${event.outcome}`}`;
    case 'warning':
      return `warning: ${event.device === null ? '' : `${event.device}: `}${event.sentence} [${event.what}]`;
    case 'history': {
      const { seq, at, device, event: name, what, generation, facts } = event.entry;
      const told = Object.entries(facts).filter(([, value]) => value !== null);
      const more = told.map(([fact, value]) => ` ${fact}=${String(value)}`);
      if (name === 'campaign') return `${at} #${seq} campaign ${what}${more.join('')}`;
      return `${at} #${seq} ${device} generation ${generation} ${name}${what === '' || what === name ? '' : ` (${what})`}${more.join('')}`;
    }
  }
}

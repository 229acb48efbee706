import type { JSX } from 'preact';
import type { ProxyBody } from '../../api/shapes/relay.ts';
import { Empty, Table } from './blocks.tsx';
import type { Column } from './blocks.tsx';
import { Ago, number, rate, StateBadge } from './words.tsx';

/** The links to the proxies; `brief` leaves out what only a close look needs. */
export function ProxyTable({
  proxies,
  brief = false,
}: {
  proxies: ProxyBody[];
  brief?: boolean;
}): JSX.Element {
  if (proxies.length === 0)
    return (
      <Empty title="No proxy is configured.">
        <p>
          On the proxy's host run <code>sallyport-proxy invite NAME</code>, then here{' '}
          <code>sallyport-relay join JOINSTRING --dir DIR</code>, and start the relay again.
        </p>
      </Empty>
    );
  const columns: Column<ProxyBody>[] = [
    { title: 'Proxy', cell: ({ url }) => url },
    { title: 'Link', cell: ({ state }) => <StateBadge state={state} /> },
    { title: 'Since', cell: ({ since }) => <Ago at={since} /> },
    // Before the figures: on a narrow screen these are out of sight, and why a link is down is asked for first.
    ...(proxies.some(({ why }) => why !== null)
      ? [{ title: 'Why', cell: ({ why }: ProxyBody) => <span class="wrap">{why ?? ''}</span> }]
      : []),
    {
      title: 'Polls/s',
      figure: true,
      cell: ({ polls_per_s: polls }) =>
        rate(polls === null ? null : polls.idle + polls.called + polls.refused),
    },
    {
      title: 'Round trip',
      figure: true,
      cell: ({ round_trip_ms: ms }) => (ms === null ? '–' : `${ms.toFixed(1)} ms`),
    },
    { title: 'Lag', figure: true, cell: ({ lag }) => number(lag) },
    ...(brief
      ? []
      : [
          { title: 'Applied', figure: true, cell: ({ applied }: ProxyBody) => number(applied) },
          { title: 'Streams', figure: true, cell: ({ streams }: ProxyBody) => number(streams) },
          { title: 'Sessions', cell: ({ direct }: ProxyBody) => (direct ? 'direct' : 'relayed') },
          { title: 'Version', cell: ({ version }: ProxyBody) => version ?? '–' },
        ]),
  ];
  return <Table caption="Links to proxies" rows={proxies} keyOf={({ url }) => url} columns={columns} />;
}

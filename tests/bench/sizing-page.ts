import type { Figures, KeptRow } from './figures.ts';
import { warningOf } from './machine.ts';
import { asMarkdown, shown } from './table.ts';

/** What is counted on of what was measured: bursts, other machines and the operating system need the rest. */
const SHARE = 0.5;
const INTERVALS_S = [60, 300];
const ENOUGH_DEVICES = 1_000_000;

/** docs/sizing.md. */
export function sizingPage({ rows, growth }: Figures): string {
  const find = (text: string): KeptRow | undefined => rows.find(({ name }) => name.startsWith(text));
  const cpuUs = (text: string): number => find(text)?.beside['µs CPU, ours'] ?? NaN;
  const first = growth?.steps[0];
  /** With fewer devices the store's caches, which fill first, hide what the devices themselves take. */
  const last = growth?.steps.findLast(({ devices }) => devices >= ENOUGH_DEVICES);
  const per = (of: 'proxyMb' | 'relayMb'): number =>
    first === undefined || last === undefined
      ? NaN
      : ((last[of] - first[of]) * 1_000) / ((last.devices - first.devices) / 1_000);
  const accepted = (last?.devices ?? NaN) + (last?.pending ?? NaN);
  const diskBytes = ((last?.outboxMb ?? NaN) * 2 ** 20) / accepted;
  const sessionMs = find('relay CPU per session')?.ours ?? NaN;
  const sessionMb = (find('relay memory above idle')?.ours ?? NaN) / 1_000;
  const phones = [
    { kind: 'plain HTTP', us: cpuUs('polls, a new connection each') },
    { kind: 'HTTPS, each poll a full TLS 1.3 handshake', us: cpuUs('polls, a full TLS 1.3 handshake each') },
    { kind: 'HTTPS, sessions resumed', us: cpuUs('polls, a resumed TLS 1.3 session each') },
  ].map(({ kind, us }) => [
    ...[kind, figure(us, 'µs')],
    ...INTERVALS_S.map((interval) => figure(roundDown(((SHARE * 1e6) / us) * interval), '')),
  ]);
  const machine = growth === null ? 'not measured.' : `${growth.machine.text}.${warningOf(growth.machine)}`;
  return `# Sizing

What an administrator can count on. Each figure is derived from [measured ones](benchmarks.md) and [how they grow](growth.md); this
page is written by \`npm run bench\` together with those. Half of what was measured is counted on: the rest is for bursts, for
slower processors and for the operating system.

${machine}

## Phones for each core of the proxy

A phone that polls each *i* seconds on a connection of its own costs the processor time of one such poll each *i* seconds:
phones = ${SHARE} × *i* / processor time of a poll.

${asMarkdown([['polls', 'processor time', ...INTERVALS_S.map((each) => `phones at ${each} s`)], ...phones])}

\`workers: auto\` starts a poll worker for each core but one. Phones that all come at once, as after a power cut, are not in
this table: at twice its numbers the proxy is as busy as it can be, and polls wait for each other. Of one site a proxy knows 2,000,000
devices at most (\`limits.held\`).

## Memory and disk

${asMarkdown([
  ['what', 'figure', 'derived as'],
  ['proxy, with few devices', figure(first?.proxyMb, 'MB'), 'growth, first column'],
  [
    'proxy, for each 1,000 devices more, a tenth of them pending',
    figure(per('proxyMb'), 'kB'),
    'growth, last column less the first, by devices',
  ],
  ['relay, with few devices', figure(first?.relayMb, 'MB'), 'growth, first column'],
  [
    'relay, for each 1,000 devices more, a tenth of them pending',
    figure(per('relayMb'), 'kB'),
    'growth, last column less the first, by devices',
  ],
  [
    'disk for each message without actions, while it is remembered',
    figure(diskBytes, 'bytes'),
    'growth, outbox of the last column, by messages accepted; its history, device and log are in it',
  ],
  [
    'memory of the relay for each session',
    figure(sessionMb * 1_024, 'kB'),
    'courier, 1,000 sessions at once',
  ],
])}

An ended message is remembered for 7 days, with a key for one more, and 2,000,000 at most; the history has its last 1,000,000
entries. Its files stop growing then: 2,000,000 times the bytes of one message is ${figure((diskBytes * 2e6) / 1e9, 'GB')}, actions and results aside.

## Sessions and pushes

${asMarkdown([
  ['what', 'figure', 'derived as'],
  [
    'sessions of one WriteItems a second, for each core of the relay',
    figure((SHARE * 1_000) / sessionMs, ''),
    `${SHARE} s / ${figure(sessionMs, 'ms')} of processor time of one (courier)`,
  ],
  [
    'time for a campaign to 10,000 phones by the courier, at best',
    figure(10_000 / ((SHARE * 1_000) / sessionMs), 's'),
    '10,000 by the line above; phones come at their polls, so it is their interval at least',
  ],
  [
    'durable pushes a second, one by one',
    '1,000',
    `measured at that rate, push to 202 p99 ${figure(find('push → 202 at 1,000')?.ours, 'ms')}`,
  ],
  [
    'durable pushes a second, by bulk',
    figure(roundDown(SHARE * (find('messages pushed by bulk')?.ours ?? NaN)), ''),
    `${SHARE} × bulk push`,
  ],
  [
    'downloads through one link, all together',
    figure(SHARE * (find('bulk, 8 streams, tcp')?.ours ?? NaN), 'MB/s'),
    `${SHARE} × tunnel, bulk, 8 streams`,
  ],
])}

## Links and file descriptors

Not measured; they follow from the limits in [configuration.md](configuration.md).

${asMarkdown([
  ['what', 'figure', 'derived as'],
  [
    'links of a relay to one proxy',
    '2 connections',
    'a control lane and a stream lane (`limits.stream_lanes`)',
  ],
  ['phones’ connections through one link', '4,096', '`limits.lane_streams`, for each stream lane'],
  [
    'descriptors of the proxy',
    '20,000 × workers + 5,000 + 2 × relays + 64 + 100',
    '`limits.poll_connections`, `limits.session_connections`, links, `limits.relay_connections`, its own',
  ],
  [
    'descriptors of the relay',
    '1 for each session + 2 × proxies + connections of its API + 100',
    'the phone’s side of a session has none, it is a stream of the link',
  ],
])}

The units in [deploy](../deploy/README.md) set \`LimitNOFILE\` to 262,144 and 65,536.
`;
}

const figure = (value: number | undefined, unit: string): string =>
  value === undefined || !Number.isFinite(value) ? 'not measured' : `${shown(value)} ${unit}`.trim();

/** To two digits, downwards: nobody plans with a third one. */
function roundDown(value: number): number {
  if (!Number.isFinite(value) || value <= 0) return value;
  const step = 10 ** Math.max(0, Math.floor(Math.log10(value)) - 1);
  return Math.floor(value / step) * step;
}

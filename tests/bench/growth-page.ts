import { growthChart } from './chart.ts';
import type { Curve } from './chart.ts';
import type { GrowthStep } from './growth.ts';
import { warningOf } from './machine.ts';
import type { Machine } from './machine.ts';
import { asMarkdown, columns, shown } from './table.ts';

/** A line of the growth tables. */
interface Cost {
  name: string;
  unit: string;
  of: (step: GrowthStep) => number;
}

const COSTS: Cost[] = [
  { name: 'polls of random devices, kept connections', unit: '/s', of: ({ pollRate }) => pollRate },
  { name: 'poll p99 at 1,000 polls/s', unit: 'ms', of: ({ pollP99 }) => pollP99 },
  { name: 'push p50 at 200 pushes/s', unit: 'ms', of: ({ pushP50 }) => pushP50 },
  { name: 'push p99 at 200 pushes/s', unit: 'ms', of: ({ pushP99 }) => pushP99 },
  { name: 'bulk push', unit: 'messages/s', of: ({ bulkRate }) => bulkRate },
  { name: 'page of 100 devices, p50', unit: 'ms', of: ({ listPageP50 }) => listPageP50 },
  { name: 'page of 100 devices, p99', unit: 'ms', of: ({ listPageP99 }) => listPageP99 },
  { name: 'resync until 202 again', unit: 's', of: ({ currentS }) => currentS },
  { name: 'resync until all are known', unit: 's', of: ({ knownS }) => knownS },
  { name: 'poll p99 meanwhile', unit: 'ms', of: ({ resyncPollP99 }) => resyncPollP99 },
  { name: 'proxy memory', unit: 'MB', of: ({ proxyMb }) => proxyMb },
  { name: 'relay memory', unit: 'MB', of: ({ relayMb }) => relayMb },
  { name: 'outbox on disk', unit: 'MB', of: ({ outboxMb }) => outboxMb },
];

/** What is aimed at, and what came of it. */
function goalsOf(steps: readonly GrowthStep[]): string[][] {
  const last = steps.at(-1);
  if (last === undefined) return [];
  const size = last.devices.toLocaleString('en');
  const first = (steps[0]?.devices ?? 0).toLocaleString('en');
  const line = (what: string, value: number, goal: string, met: boolean): string[] => [
    ...[what, shown(value), goal, met ? 'yes' : 'no'],
  ];
  return [
    line(`poll rate at ${size} against ${first}`, last.pollRateRatio, '≥ 0.95', last.pollRateRatio >= 0.95),
    line(`${size} devices rebuilt, s after the link`, last.knownS, '≤ 5', last.knownS <= 5),
    line('poll p99 meanwhile, ms', last.resyncPollP99, '≤ 5', last.resyncPollP99 <= 5),
  ];
}

const lines = (steps: readonly GrowthStep[]): string[][] => [
  ['', ...steps.map(({ devices }) => `${devices.toLocaleString('en')} devices`)],
  ['of them pending', ...steps.map(({ pending }) => pending.toLocaleString('en'))],
  ...COSTS.map(({ name, unit, of }) => [`${name}, ${unit}`, ...steps.map((step) => shown(of(step)))]),
];

/** The figures for a terminal. */
export function growthText(steps: readonly GrowthStep[]): string {
  return `${columns(lines(steps))}\n\n${columns([['goal', 'measured', 'aimed at', 'met'], ...goalsOf(steps)])}`;
}

/** docs/growth.md. */
export function growthPage(steps: readonly GrowthStep[], machine: Machine): string {
  return `# Growth

    npm run bench -- --growth         # about five minutes on a quiet machine; writes this page and its chart

What grows with the number of devices, and what does not. Every device is pushed to, all messages are cancelled again, which
the outbox remembers, and a tenth of the devices are given something pending. The second line says how many have when the
proxy is restarted, after single pushes were timed. The proxy has one core to itself, the relay and the load share the other.

${machine.text}; ${machine.date.slice(0, 10)}.${warningOf(machine)}

${asMarkdown(lines(steps))}

![Costs by number of devices](images/growth.svg)

## Goals

${asMarkdown([['what', 'measured', 'goal', 'met'], ...goalsOf(steps)])}

## How it is measured

- **Polls**: the poll door alone, [wrk](https://github.com/wg/wrk) on the other core, each poll of another random device; the
  sizes take turns, median of three rounds. The ratio is the median of the rounds'.
- **p99**: polls of random devices that fall due at a steady rate; what counts is the time from then to the answer, so a
  stall of the proxy is seen at its whole length. Timers of the load add up to a millisecond. Its core is the relay's, too: as root it
  goes before the relay there, else its own waiting is in the figure.
- **Push**: single pushes, each answered once it is on disk.
- **Bulk push**: all devices, 100,000 lines a request, until the last result line is read; the proxy is told meanwhile.
- **Resync**: the proxy is restarted and knows nothing. Polls are 202 again once it holds what is pending; the devices that
  are merely known follow after that, and nobody waits for them: until then their polls are counted as of unknown ones.
- **Memory**: resident, three seconds after the resync. **Outbox**: all files of its directory, the log included.
`;
}

/** docs/images/growth.svg. */
export function growthImage(steps: readonly GrowthStep[]): string {
  const curves = COSTS.filter(({ name }) => !name.includes('p50')).map(({ name, unit, of }): Curve => ({
    ...{ name, unit },
    points: steps.map((step) => ({ at: step.devices, value: of(step), text: shown(of(step)) })),
  }));
  return growthChart('Costs by number of devices', curves);
}

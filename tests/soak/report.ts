import { availableParallelism, cpus, loadavg, release, totalmem } from 'node:os';
import type { SoakOptions, SoakResult } from './soak.ts';
import type { Figure, Trend } from './watch.ts';

const MIB = 1024 * 1024;

const row = (...cells: (string | number)[]): string => `| ${cells.join(' | ')} |`;

function figure(name: Figure, value: number): string {
  return name === 'memory' || name === 'heap' ? `${(value / MIB).toFixed(1)} MiB` : value.toFixed(1);
}

const trendRow = ({ program, figure: name, first, last, most, slope, minutes }: Trend): string =>
  row(
    program,
    name,
    figure(name, first),
    figure(name, last),
    figure(name, most),
    `${figure(name, slope)} / min`,
    `${minutes.toFixed(1)} min`,
  );

/** The result of a soak as a Markdown page. */
export function soakReport(
  result: SoakResult,
  options: Pick<SoakOptions, 'minutes' | 'phones' | 'faultEveryMs'>,
): string {
  const { told, fleet, verdict } = result;
  const machine = `${availableParallelism()} cores (${cpus()[0]?.model.trim()}), ${Math.round(totalmem() / 1024 / MIB)} GiB, Linux ${release()}, Node ${process.version}`;
  const sum = (counts: Record<string, number>): string =>
    Object.entries(counts)
      .map(([what, n]) => `${what} ${n}`)
      .join(', ');
  return `# Soak

    npm run soak -- --minutes ${options.minutes} --phones ${options.phones} --fault-every ${options.faultEveryMs / 1000} --report docs/soak.md

Loads a proxy and a relay with polls, pushes, sessions and downloads, does something bad to them every
${options.faultEveryMs / 1000} s, and then holds what the store has against what callers were told. This page is the report of the last run.

| | |
|---|---|
${row('when', new Date().toISOString().slice(0, 10))}
${row('machine', machine)}
${row('load', `the phones and the service ran on these cores, too; load average ${loadavg()[0]?.toFixed(1)} at the end`)}
${row('length', `${result.minutes.toFixed(1)} min`)}
${row('phones', `${options.phones}, each polling every 2 s`)}
${row('polls', `${fleet.polls} (${sum(fleet.pollsBy)}); p99 ${fleet.pollLatency.p99} ms`)}
${row('polls of idle devices', `${told.idlePolls}`)}
${row('pushes', `${told.accepted.length} answered 201, ${told.refused} not, the relay being away`)}
${row('sessions', `${fleet.sessions} (${sum(fleet.sessionsBy)})`)}
${row('requests at the service', result.requests)}
${row('downloads of 1 MiB', `${told.downloads.whole} whole, ${told.downloads.cut} broken off`)}

## Verdict

${verdict.wrong.length === 0 ? 'All that is promised held:' : 'Not as promised:'}

${
  verdict.wrong.length > 0
    ? verdict.wrong.map((what) => `- ${what}`).join('\n')
    : `- ${verdict.accepted} accepted = ${sum(verdict.states)}; each that ended did so once, and none that a push was answered 201 with is missing
- no device with nothing pending was ever told 202
- no phone's request reached the service twice
- no download that broke off looked whole, and whole ones had the right SHA-256
- both programs ended in order, and the store is sound`
}

## Faults

| fault | times |
|---|---|
${Object.entries(result.faults)
  .map(([name, times]) => row(name, times))
  .join('\n')}

## Growth

Of each program over the longest time that one process of it lived, without the first third of that, in which caches fill.

| program | figure | first | last | most | slope | over |
|---|---|---|---|---|---|---|
${result.trends.map(trendRow).join('\n')}
`;
}

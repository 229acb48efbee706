/**
 * `npm run bench`: side-by-side benchmarks, as a table and as JSON.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus, loadavg, release, totalmem } from 'node:os';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import type { Owner } from '../fixtures/gate.ts';
import type { BenchOptions, BenchRow } from './rows.ts';

const HELP = `npm run bench -- [--quick] [--only TEXT] [--json FILE]

Measures side by side, in turn, round after round, and prints a table: medians, the
median ratio of the rounds, and the least and greatest of them.

  --quick      fewer and shorter rounds: a look, no result
  --only TEXT  only rows whose benchmark or name contains TEXT
  --rounds N   rounds of each row (default 5; quick: 3)
  --seconds S  length of one measurement (default 2; quick: 0.5)
  --json FILE  where the figures go (default: tests/bench/results/DATE.json)
  --help

Benchmarks: polls (needs nginx, wrk), tunnel (needs the OpenSSH server and client),
accept, resync, courier, campaign. Each needs Linux. Let nothing else run meanwhile.
`;

const BENCHES = {
  polls: async (owner: Owner, options: BenchOptions) => (await import('./polls.ts')).run(owner, options),
  tunnel: async (owner: Owner, options: BenchOptions) => (await import('./tunnel.ts')).run(owner, options),
  accept: async (owner: Owner, options: BenchOptions) => (await import('./accept.ts')).run(owner, options),
  resync: async (owner: Owner, options: BenchOptions) => (await import('./resync.ts')).run(owner, options),
  courier: async (owner: Owner, options: BenchOptions) => (await import('./courier.ts')).run(owner, options),
  campaign: async (owner: Owner, options: BenchOptions) =>
    (await import('./campaign.ts')).run(owner, options),
};

const RESULTS = new URL('results/', import.meta.url).pathname;

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      quick: { type: 'boolean', default: false },
      only: { type: 'string', default: '' },
      rounds: { type: 'string' },
      seconds: { type: 'string' },
      json: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    process.stdout.write(HELP);
    return 0;
  }
  const rounds = Number(values.rounds ?? (values.quick ? 3 : 5));
  const seconds = Number(values.seconds ?? (values.quick ? 0.5 : 2));
  if (!(Number.isInteger(rounds) && rounds > 0 && seconds > 0)) {
    process.stderr.write('--rounds is a whole number from 1, --seconds a number above 0\n');
    return 2;
  }
  const rows: BenchRow[] = [];
  const failures: string[] = [];
  for (const [bench, run] of Object.entries(BENCHES)) {
    const tasks: (() => unknown)[] = [];
    const owner: Owner = { teardown: (task) => tasks.unshift(task) };
    try {
      rows.push(
        ...(await run(owner, {
          rounds,
          seconds,
          wanted: (name, row) => `${name} ${row}`.includes(values.only),
          progress: (text) => process.stderr.write(`… ${bench}: ${text}\n`),
        })),
      );
    } catch (error) {
      failures.push(`${bench}: ${error instanceof Error ? error.message : String(error)}`);
    } finally {
      for (const task of tasks) await task();
    }
  }
  const machine = describeMachine();
  process.stdout.write(`${machine.text}\n\n${asTable(rows)}\n`);
  const file = values.json ?? join(RESULTS, `${new Date().toISOString().replaceAll(':', '-')}.json`);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, `${JSON.stringify({ machine, rounds, seconds, rows, failures }, null, 2)}\n`);
  process.stdout.write(`\nfigures in ${file}\n`);
  for (const failure of failures) process.stderr.write(`not measured: ${failure}\n`);
  return failures.length > 0 ? 1 : 0;
}

function describeMachine() {
  const processor = cpus()[0]?.model.trim() ?? 'unknown';
  const [load = 0] = loadavg();
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
    version: string;
  };
  const memoryGb = Math.round(totalmem() / 2 ** 30);
  return {
    text: `sallyport ${version}, Node ${process.version}, Linux ${release()}, ${availableParallelism()} × ${processor}, ${memoryGb} GB, load ${load.toFixed(1)} at the end`,
    date: new Date().toISOString(),
  };
}

/** Rows as a table for people. */
function asTable(rows: readonly BenchRow[]): string {
  const number = (value: number): string => value.toPrecision(3).replace(/e\+?(-?\d+)/, '·10^$1');
  const shown = (value: number): string =>
    value >= 1000 ? Math.round(value).toLocaleString('en') : number(value);
  const cells = rows.map((row) => [
    row.bench,
    row.name,
    `${shown(row.ours)} ${row.unit}`,
    row.peer === null ? '' : `${shown(row.peer.value)} ${row.peer.name}`,
    row.ratio === null ? '' : row.ratio.toFixed(2),
    `${row.spread[0].toPrecision(3)}–${row.spread[1].toPrecision(3)}`,
    row.goal === null ? '' : 'ratio' in row.goal ? `≥ ${row.goal.ratio}` : `≤ ${row.goal.most} ${row.unit}`,
    row.met === null ? '' : row.met ? 'yes' : 'no',
  ]);
  const all = [['bench', 'row', 'ours', 'peer', 'ratio', 'spread', 'goal', 'met'], ...cells];
  const widths = all[0]!.map((_, i) => Math.max(...all.map((line) => line[i]!.length)));
  return all
    .map((line) =>
      line
        .map((cell, i) => cell.padEnd(widths[i]!))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

process.exit(await main());

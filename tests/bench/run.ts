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
accept, resync. Each needs Linux. Let nothing else run meanwhile.
`;

const BENCHES = {
  polls: async (owner: Owner, options: BenchOptions) => (await import('./polls.ts')).run(owner, options),
  tunnel: async (owner: Owner, options: BenchOptions) => (await import('./tunnel.ts')).run(owner, options),
};

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
    if (!bench.includes(values.only)) {
    }
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
  console.log(rows);
  for (const failure of failures) process.stderr.write(`${failure}\n`);
  return failures.length > 0 ? 1 : 0;
}

process.exit(await main());

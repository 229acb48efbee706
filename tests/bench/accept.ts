/** From a push at the relay's API to its answer, and to the first poll that says 202, at a steady rate of durable pushes. */
import { closeSync, fdatasyncSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { startGate } from '../fixtures/gate.ts';
import type { Gate, Owner } from '../fixtures/gate.ts';
import { startJobs } from './jobs.ts';
import type { Jobs } from './jobs.ts';
import type { PushDone, PushJob } from './push-process.ts';
import { absoluteRow, median } from './rows.ts';
import type { BenchOptions, BenchRow } from './rows.ts';
import { shares } from './shares.ts';

const BENCH = 'accept';
/** Pushes a second, and the goal for the 99th percentile of the way to the 202, in milliseconds. */
const RATES = [
  { rate: 500, most: 20 },
  { rate: 1_000, most: 5 },
];
/** Least pushes of one round, so that its 99th percentile means something. */
const LEAST_PUSHES = 1_000;
/** What a round may take beyond its length. */
const PATIENCE_MS = 30_000;
const SYNCS = 300;

export async function run(owner: Owner, options: BenchOptions): Promise<BenchRow[]> {
  const named = RATES.map((each) => ({
    ...each,
    name: `push → 202 at ${each.rate.toLocaleString('en')} durable pushes/s, p99`,
  })).filter(({ name }) => options.wanted(BENCH, name));
  if (named.length === 0) return [];
  const gate = await startPushGate(owner);
  const pushes = await startJobs<PushJob, PushDone>(owner, [], './push-process.ts');
  const rows: BenchRow[] = [];
  let first = 0;
  for (const { name, rate, most } of named) {
    const rounds: PushDone[] = [];
    const count = Math.max(LEAST_PUSHES, Math.round(rate * options.seconds));
    // The first round warms up and is not counted.
    for (let round = 0; round <= options.rounds; round++) {
      options.progress(`${name}, round ${round} of ${options.rounds}`);
      const done = await pushAtRate(gate, pushes, {
        rate,
        pushes: count,
        first,
        step: 1,
        untilOffered: true,
      });
      first += count;
      if (round > 0) rounds.push(done);
    }
    const disk = syncTimes(gate.dir);
    rows.push(
      absoluteRow({
        bench: BENCH,
        name,
        unit: 'ms',
        ours: rounds.map(({ offered }) => offered.p99),
        goal: { most },
        beside: {
          p50: median(rounds.map(({ offered }) => offered.p50)),
          'push answered, p50': median(rounds.map(({ pushed }) => pushed.p50)),
          'push answered, p99': median(rounds.map(({ pushed }) => pushed.p99)),
          'pushes/s': median(rounds.map((each) => each.rate)),
          'sync of the disk alone, p50': disk.p50,
          'sync of the disk alone, p99': disk.p99,
        },
        note: 'API and polls over kept HTTP connections, a poll each millisecond until it says 202; the load shares the machine',
      }),
    );
  }
  return rows;
}

/** Milliseconds that the disk takes for a sync behind a page or two: no commit can be quicker. */
function syncTimes(dir: string): { p50: number; p99: number } {
  const took: number[] = [];
  const file = openSync(join(dir, 'sync'), 'w');
  for (let i = 0; i < SYNCS; i++) {
    writeSync(file, Buffer.alloc(8_192));
    const began = performance.now();
    fdatasyncSync(file);
    took.push(performance.now() - began);
  }
  closeSync(file);
  return shares(took);
}

/** A gate at which all that is pushed to is offered. */
export function startPushGate(owner: Owner): Promise<Gate> {
  return startGate(owner, {
    logLevel: 'info',
    // Nobody comes here: with the usual limit most devices would wait for sessions of others to end.
    proxy: { sites: [{ name: 'default', session_gap_s: 0, max_sessions: 1_000_000 }] },
  });
}

export function pushAtRate(
  gate: Gate,
  pushes: Jobs<PushJob, PushDone>,
  job: Omit<PushJob, 'api' | 'poll'>,
): Promise<PushDone> {
  const api = Number(new URL(gate.api).port);
  const poll = Number(new URL(gate.pollUrl).port);
  return pushes.run({ ...job, api, poll }, (job.pushes / job.rate) * 1000 + PATIENCE_MS);
}

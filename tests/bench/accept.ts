/** From a push at the relay's API to its answer, and to the first poll that says 202, at a steady rate of durable pushes. */
import { closeSync, fdatasyncSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { startGate } from '../fixtures/gate.ts';
import type { Gate, Owner } from '../fixtures/gate.ts';
import { startPostgres, whyNoPostgres } from '../fixtures/postgres.ts';
import { startJobs } from './jobs.ts';
import type { Jobs } from './jobs.ts';
import type { PushDone, PushJob } from './push-process.ts';
import { absoluteRow, median, skippedRow } from './rows.ts';
import type { BenchOptions, BenchRow } from './rows.ts';
import { shares } from './shares.ts';

const BENCH = 'accept';
/** Pushes a second, and the goal for the 99th percentile of the way to the 202, in milliseconds. */
const RATES = [
  { engine: 'sqlite', rate: 500, most: 20 },
  { engine: 'sqlite', rate: 1_000, most: 5 },
  { engine: 'postgres', rate: 1_000, most: 15 },
] as const;
const NOTE =
  'API and polls over kept HTTP connections, a poll each millisecond until it says 202; the load shares the machine';
const NOTES = {
  sqlite: NOTE,
  postgres: `outbox in a PostgreSQL of its own on loopback, fsync and synchronous_commit on, which shares the machine, too; ${NOTE}`,
};
/** Least pushes of one round, so that its 99th percentile means something. */
const LEAST_PUSHES = 1_000;
/** What a round may take beyond its length. */
const PATIENCE_MS = 30_000;
const SYNCS = 300;

export async function run(owner: Owner, options: BenchOptions): Promise<BenchRow[]> {
  const named = RATES.map((each) => ({
    ...each,
    name: `push → 202 at ${each.rate.toLocaleString('en')} durable pushes/s, ${each.engine === 'postgres' ? 'PostgreSQL, ' : ''}p99`,
  })).filter(({ name }) => options.wanted(BENCH, name));
  const rows: BenchRow[] = [];
  for (const engine of ['sqlite', 'postgres'] as const) {
    const rates = named.filter((each) => each.engine === engine);
    if (rates.length === 0) continue;
    const missing = engine === 'postgres' && whyNoPostgres();
    if (missing === false) rows.push(...(await measureEngine(owner, options, engine, rates)));
    else rows.push(...rates.map(({ name }) => skippedRow({ bench: BENCH, name, unit: 'ms', why: missing })));
  }
  return rows;
}

async function measureEngine(
  owner: Owner,
  options: BenchOptions,
  engine: 'sqlite' | 'postgres',
  rates: readonly { name: string; rate: number; most: number }[],
): Promise<BenchRow[]> {
  const server = engine === 'postgres' ? await startPostgres(owner, { durable: true }) : null;
  const outbox = server === null ? {} : { outbox: { postgres: (await server.database()).href } };
  const gate = await startPushGate(owner, outbox);
  const pushes = await startJobs<PushJob, PushDone>(owner, [], './push-process.ts');
  const rows: BenchRow[] = [];
  let first = 0;
  for (const { name, rate, most } of rates) {
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
        note: NOTES[engine],
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

/** A gate at which all that is pushed to is offered. @param relay - as {@link GateOptions.relay} */
export function startPushGate(owner: Owner, relay: Record<string, unknown> = {}): Promise<Gate> {
  return startGate(owner, {
    logLevel: 'info',
    relay,
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

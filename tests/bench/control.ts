/** How long it takes a push to be applied at the proxy, and the link's own pings, while bulk fills the link's stream lane. */
import { startGate } from '../fixtures/gate.ts';
import type { Gate, Owner } from '../fixtures/gate.ts';
import { pushAtRate } from './accept.ts';
import type { BulkDone, BulkJob } from './bulk-load.ts';
import { startJobs } from './jobs.ts';
import type { PushDone, PushJob } from './push-process.ts';
import { absoluteRow, median } from './rows.ts';
import type { BenchOptions, BenchRow } from './rows.ts';

const BENCH = 'control';
const SLOW = 50;
const NAME = `push → applied at the proxy beside ${SLOW} slow downloads and an upload, p99`;
const MOST_MS = 50;
const RATE = 50;
/** Least pushes of one round, so that its 99th percentile means something. */
const LEAST_PUSHES = 300;
const WARM_MS = 1_500;
const PATIENCE_MS = 20_000;

export async function run(owner: Owner, options: BenchOptions): Promise<BenchRow[]> {
  if (!options.wanted(BENCH, NAME)) return [];
  const load = await startJobs<BulkJob, BulkDone>(owner, [], './bulk-load.ts');
  const gate = await startGate(owner, {
    logLevel: 'info',
    proxy: {
      doors: ['wpi', 'bulk'].map((name) => ({ name, service: name, listen: '127.0.0.1:0', tls: 'relay' })),
      sites: [{ name: 'default', session_gap_s: 0, max_sessions: 1_000_000 }],
    },
    services: [{ name: 'bulk', kind: 'tcp', upstream: String(load.ready['upstream']) }],
  });
  const port = Number(gate.doors['bulk']?.split(':').at(-1));
  const pushes = await startJobs<PushJob, PushDone>(owner, [], './push-process.ts');
  const alone: PushDone[] = [];
  const beside: PushDone[] = [];
  const uploads: number[] = [];
  const roundTrips: number[] = [];
  let first = 0;
  const applied = async (): Promise<PushDone> => {
    const done = await pushAtRate(gate, pushes, {
      ...{ rate: RATE, pushes: LEAST_PUSHES, first, step: 1, untilOffered: false, applied: true },
    });
    first += LEAST_PUSHES;
    return done;
  };
  await applied();
  for (let round = 1; round <= options.rounds; round++) {
    options.progress(`round ${round} of ${options.rounds}`);
    alone.push(await applied());
    await load.run({ port, slow: SLOW, warmMs: WARM_MS }, PATIENCE_MS);
    beside.push(await applied());
    roundTrips.push(await roundTrip(gate));
    uploads.push((await load.run({ port: 0, slow: 0, warmMs: 0 }, PATIENCE_MS)).uploaded);
  }
  return [
    absoluteRow({
      ...{ bench: BENCH, name: NAME, unit: 'ms', goal: { most: MOST_MS } },
      ours: beside.map(({ pushed }) => pushed.p99),
      beside: {
        p50: median(beside.map(({ pushed }) => pushed.p50)),
        'without bulk, p50': median(alone.map(({ pushed }) => pushed.p50)),
        'without bulk, p99': median(alone.map(({ pushed }) => pushed.p99)),
        'round trip of a ping, ms': median(roundTrips),
        'upload, MB/s': median(uploads),
      },
      note: `${RATE} pushes a second with ?wait=proxy, the commit included; bulk through a sealed door and the tcp service; the load and its upstream share the machine`,
    }),
  ];
}

/** As the relay measured it last. */
async function roundTrip(gate: Gate): Promise<number> {
  const { body } = await gate.call('GET', '/v1/proxies');
  return (body['proxies'] as { round_trip_ms: number | null }[])[0]?.round_trip_ms ?? NaN;
}

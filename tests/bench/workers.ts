/**
 * The poll door with two workers beside itself with one. The load has the second core, too: what two workers gain on a machine
 * of two cores is what the load leaves of it. A session is resumed by either worker, whichever began it, or the row fails.
 */
import type { Owner } from '../fixtures/gate.ts';
import { certificate } from './certificate.ts';
import { pinned, requireTools } from './cores.ts';
import { startPollServer } from './peer.ts';
import type { Peer } from './peer.ts';
import { resumptions, wrk } from './poll-load.ts';
import { inTurn, pairedRow } from './rows.ts';
import type { BenchOptions, BenchRow } from './rows.ts';

const BENCH = 'workers';
const SERVER_CORES = [0, 1];
const MANY = 1_000_000;

const WORKS: {
  name: string;
  note: string;
  /** @returns how many polls were answered */
  load: (server: Peer, seconds: number) => Promise<number>;
}[] = [
  {
    name: 'polls, connections kept, two workers',
    note: 'wrk on the second core',
    load: ({ plain }, seconds) => wrk(plain, seconds, {}),
  },
  {
    name: 'polls, pipelined, two workers',
    note: 'the load that leaves most of its core to the second worker',
    load: ({ plain }, seconds) => wrk(plain, seconds, { pipelined: true }),
  },
  {
    name: 'polls, 1,000,000 devices known, two workers',
    note: 'wrk, kept connections, a random device each: one table for both',
    load: ({ plain }, seconds) => wrk(plain, seconds, { devices: MANY }),
  },
  {
    name: 'polls, a resumed TLS 1.3 session each, two workers',
    note: 'openssl s_time -reuse on the second core; every connection seen to be resumed, at whichever worker it came in',
    load: ({ tls }, seconds) => resumptions(tls, seconds),
  },
];

/** Measures what is wanted. @throws Error naming the tools that are missing */
export async function run(owner: Owner, options: BenchOptions): Promise<BenchRow[]> {
  const works = WORKS.filter(({ name }) => options.wanted(BENCH, name));
  if (works.length === 0) return [];
  requireTools({ wrk: 'wrk', openssl: 'openssl' });
  const tls = await certificate(owner);
  const start = (workers: number): Promise<Peer> =>
    startPollServer(owner, pinned(SERVER_CORES), { tls, known: MANY, workers });
  const servers = { two: await start(2), one: await start(1) };
  const rows: BenchRow[] = [];
  for (const { name, note, load } of works) {
    options.progress(name);
    const figures = await inTurn(['two', 'one'], options.rounds, async (which) => {
      const began = performance.now();
      const polls = await load(servers[which], options.seconds);
      return (polls * 1000) / (performance.now() - began);
    });
    const peer = options.peers ? { name: 'one worker', values: figures.one } : null;
    rows.push(
      pairedRow({
        ...{ bench: BENCH, name, unit: 'polls/s', more: true, goal: null, note },
        ...{ ours: figures.two, peer },
      }),
    );
  }
  return rows;
}

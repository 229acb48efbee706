/**
 * Polls of random devices where many are known, beside few: the marks no longer fit the processor's caches. Two controls
 * tell the marks' part from the load's: many devices known of which few poll, and few known of which many poll.
 */
import type { Owner } from '../fixtures/gate.ts';
import { pinned, requireTools } from './cores.ts';
import { cpuMs } from './cpu.ts';
import { startPollServer } from './peer.ts';
import type { Peer } from './peer.ts';
import { wrk } from './poll-load.ts';
import { inTurn, median, pairedRow } from './rows.ts';
import type { BenchOptions, BenchRow, Goal } from './rows.ts';

const BENCH = 'known';
const SERVER_CORES = [0];
const FEW = 1_000;
const MANY = 1_000_000;

/** What each poll costs in all, and the server's processor time of it, in microseconds. */
interface Figures {
  rate: number;
  cpuUs: number;
}

const CONTENDERS = {
  few: { known: FEW, polled: FEW },
  many: { known: MANY, polled: MANY },
  fewOfMany: { known: MANY, polled: FEW },
  manyOfFew: { known: FEW, polled: MANY },
} as const;

type Name = keyof typeof CONTENDERS;

const ROWS: { name: string; ours: Name; goal: Goal | null; note: string }[] = [
  {
    name: 'polls, 1,000,000 devices known, all of them poll',
    ours: 'many',
    goal: { ratio: 0.95 },
    note: 'wrk, kept connections, a random device each',
  },
  {
    name: 'polls, 1,000,000 devices known, 1,000 of them poll',
    ours: 'fewOfMany',
    goal: null,
    note: 'a control: a large table of which little is read',
  },
  {
    name: 'polls, 1,000 devices known, 1,000,000 poll',
    ours: 'manyOfFew',
    goal: null,
    note: 'a control: the load of many devices, but a small table; nearly all of them are unknown',
  },
];

export async function run(owner: Owner, options: BenchOptions): Promise<BenchRow[]> {
  const rows = ROWS.filter(({ name }) => options.wanted(BENCH, name));
  if (rows.length === 0) return [];
  requireTools({ wrk: 'wrk' });
  const start = (known: number): Promise<Peer> =>
    startPollServer(owner, pinned(SERVER_CORES), { tls: null, known });
  const servers = { [FEW]: await start(FEW), [MANY]: await start(MANY) };
  const names: Name[] = ['few', ...rows.map(({ ours }) => ours)];
  options.progress('polls of random devices');
  const figures = await inTurn(names, options.rounds, async (name): Promise<Figures> => {
    const { known, polled } = CONTENDERS[name];
    const { plain, pids } = servers[known];
    const before = cpuMs(pids());
    const began = performance.now();
    const polls = await wrk(plain, options.seconds, { devices: polled });
    const tookMs = performance.now() - began;
    return { rate: (polls * 1000) / tookMs, cpuUs: ((cpuMs(pids()) - before) * 1000) / polls };
  });
  const of = (name: Name, what: keyof Figures): number[] => figures[name].map((each) => each[what]);
  return rows.map(({ name, ours, goal, note }) =>
    pairedRow({
      ...{ bench: BENCH, name, unit: 'polls/s', more: true, goal, note },
      ours: of(ours, 'rate'),
      peer: options.peers ? { name: '1,000 known', values: of('few', 'rate') } : null,
      beside: {
        'µs CPU': median(of(ours, 'cpuUs')),
        'µs CPU, 1,000 known': median(of('few', 'cpuUs')),
      },
    }),
  );
}

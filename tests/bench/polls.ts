/**
 * Polls beside servers that could stand in the same place: each on one core with one thread, the load on another core,
 * the same requests, TLS version and certificate for all.
 */
import type { Owner } from '../fixtures/gate.ts';
import { certificate } from './certificate.ts';
import { hasTool, pinned, requireTools } from './cores.ts';
import { cpuMs } from './cpu.ts';
import { startHaproxy } from './haproxy.ts';
import { startNginx } from './nginx.ts';
import { KNOWN, startPollServer } from './peer.ts';
import type { Peer } from './peer.ts';
import { CONNECTIONS, handshakes, PIPELINED, resumptions, TLS_CLIENTS, wrk } from './poll-load.ts';
import { absentRow, inTurn, median, pairedRow } from './rows.ts';
import type { BenchOptions, BenchRow, Goal } from './rows.ts';
import { hasTomcat, startTomcat } from './tomcat.ts';

const BENCH = 'polls';
const SERVER_CORES = [0];
/** Tomcat's code is compiled while it runs. */
const WARM_SECONDS = 3;

const PEERS = {
  nginx: { needs: 'nginx-light', there: () => hasTool('nginx'), start: startNginx },
  haproxy: { needs: 'haproxy', there: () => hasTool('haproxy'), start: startHaproxy },
  tomcat: {
    needs: 'libtomcat10-java default-jdk-headless',
    there: () => hasTool('javac') && hasTomcat(),
    start: startTomcat,
  },
} as const;

type PeerName = keyof typeof PEERS;
type Name = 'ours' | PeerName;

interface Figures {
  rate: number;
  /** Processor time of the server for each poll, in microseconds. */
  cpuUs: number;
}

interface Work {
  name: string;
  goals: Partial<Record<PeerName, Goal>>;
  note: string;
  /** @returns how many polls were answered */
  load(server: Peer, seconds: number): Promise<number>;
}

const WORKS: Work[] = [
  {
    name: 'polls, a new connection each',
    goals: { nginx: { ratio: 1 }, haproxy: { ratio: 1 }, tomcat: { ratio: 1 } },
    note: `wrk, ${CONNECTIONS} connections, Connection: close`,
    load: ({ plain }, seconds) => wrk(plain, seconds, { close: true }),
  },
  {
    name: 'polls, connections kept',
    goals: { nginx: { ratio: 0.9 } },
    note: `wrk, ${CONNECTIONS} connections`,
    load: ({ plain }, seconds) => wrk(plain, seconds, {}),
  },
  {
    name: 'polls, pipelined',
    goals: { nginx: { ratio: 0.9 } },
    note: `wrk, ${CONNECTIONS} connections, ${PIPELINED} polls sent at a time`,
    load: ({ plain }, seconds) => wrk(plain, seconds, { pipelined: true }),
  },
  {
    name: 'polls, a full TLS 1.3 handshake each',
    goals: { nginx: { ratio: 0.9 } },
    note:
      `${TLS_CLIENTS} × openssl s_time -new, ECDSA P-256, no session reused; ` +
      'the clients are the slower end, so the ratio of processor time says more',
    load: ({ tls }, seconds) => handshakes(tls, seconds),
  },
  {
    name: 'polls, a resumed TLS 1.3 session each',
    goals: { nginx: { ratio: 0.8 } },
    note: `${TLS_CLIENTS} × openssl s_time -reuse, by ticket, every connection seen to be resumed; likewise`,
    load: ({ tls }, seconds) => resumptions(tls, seconds),
  },
];

/** Measures what is wanted. @throws Error naming the tools that are missing */
export async function run(owner: Owner, options: BenchOptions): Promise<BenchRow[]> {
  const works = WORKS.filter(({ name }) => options.wanted(BENCH, name));
  if (works.length === 0) return [];
  requireTools({ wrk: 'wrk', openssl: 'openssl' });
  const peers = options.peers ? (Object.keys(PEERS) as PeerName[]) : [];
  const there = peers.filter((name) => PEERS[name].there());

  const tls = await certificate(owner);
  const wrap = pinned(SERVER_CORES);
  const servers: Partial<Record<Name, Peer>> = {
    ours: await startPollServer(owner, wrap, { tls, known: KNOWN }),
  };
  for (const name of there) servers[name] = await PEERS[name].start(owner, wrap, tls);
  for (const name of there) await wrk(servers[name]!.plain, WARM_SECONDS, {});

  const rows: BenchRow[] = [];
  for (const work of works) {
    options.progress(work.name);
    const names: Name[] = ['ours', ...there];
    const figures = await inTurn(names, options.rounds, (name) =>
      measure(work, servers[name]!, options.seconds),
    );
    if (!options.peers) rows.push(rowOf(work, null, figures.ours, []));
    for (const peer of peers) {
      rows.push(
        there.includes(peer)
          ? rowOf(work, peer, figures.ours, figures[peer])
          : absentRow({
              ...{
                bench: BENCH,
                name: work.name,
                unit: 'polls/s',
                ours: figures.ours.map(({ rate }) => rate),
              },
              ...{ peer, absent: `${peer} is not installed (Debian: apt install ${PEERS[peer].needs})` },
              note: work.note,
            }),
      );
    }
  }
  return rows;
}

function rowOf(
  work: Work,
  peer: PeerName | null,
  ours: readonly Figures[],
  theirs: readonly Figures[],
): BenchRow {
  const cpu = (figures: readonly Figures[]): number => median(figures.map(({ cpuUs }) => cpuUs));
  return pairedRow({
    bench: BENCH,
    name: work.name,
    unit: 'polls/s',
    ours: ours.map(({ rate }) => rate),
    peer: peer === null ? null : { name: peer, values: theirs.map(({ rate }) => rate) },
    more: true,
    goal: (peer !== null && work.goals[peer]) || null,
    beside: {
      'µs CPU, ours': cpu(ours),
      'µs CPU, peer': cpu(theirs),
      'CPU ratio': median(theirs.map(({ cpuUs }, round) => cpuUs / (ours[round]?.cpuUs ?? NaN))),
    },
    note: work.note,
  });
}

async function measure(work: Work, server: Peer, seconds: number): Promise<Figures> {
  const pids = server.pids();
  const before = cpuMs(pids);
  const startedAt = performance.now();
  const polls = await work.load(server, seconds);
  const tookMs = performance.now() - startedAt;
  return { rate: (polls / tookMs) * 1000, cpuUs: ((cpuMs(pids) - before) * 1000) / polls };
}

/**
 * The tunnel beside `ssh -R`: the same load through either to the same upstream, all processes on the same two cores,
 * and without any tunnel for comparison.
 */
import { createAuthority } from '../fixtures/certificates.ts';
import { startGate } from '../fixtures/gate.ts';
import type { Owner } from '../fixtures/gate.ts';
import { startProcess } from '../fixtures/program.ts';
import { phoneDocument } from '../fixtures/wpi-documents.ts';
import { pinned, requireTools } from './cores.ts';
import { cpuMs } from './cpu.ts';
import type { LoadDone, LoadJob } from './load.ts';
import { startJobs } from './jobs.ts';
import { inTurn, median, pairedRow } from './rows.ts';
import type { BenchOptions, BenchRow, Goal } from './rows.ts';
import { startSshReverse } from './ssh-reverse.ts';

const BENCH = 'tunnel';
const CORES = [0, 1];
/** Before a measurement begins, so that connections stand and code is warm. */
const WARM_MS = 300;
/** Readers beside some rows that take what they get slowly, and the time until all buffers on their way are full. */
const SLOW = 50;
const SLOW_WARM_MS = 1_500;
/** What a job may take beyond its length. */
const PATIENCE_MS = 20_000;
/** Least ratio to `ssh -R` that is aimed at. */
const RATIO = { ratio: 1 };
const SESSIONS_RATIO = { ratio: 1.2 };
/** Most latency that the tunnel may add to a request on its own. */
const ADDED_MS = { most: 1.5 };

type WayName = 'direct' | 'ours' | 'ssh -R';

/** A way from the load to upstream. */
interface Way {
  port: number;
  /** The processes in between. */
  pids: () => number[];
}

/** Ways that lead to the same upstream. */
interface Route {
  service: 'tcp' | 'wpi';
  /** Whether the load speaks TLS. */
  tls: boolean;
  ways: Record<WayName, Way>;
}

interface Figures extends LoadDone {
  /** Processor time of the processes in between, in microseconds for each answer; for bulk each megabyte. */
  cpuUs: number;
}

interface Work {
  name: string;
  kind: LoadJob['kind'];
  width: number;
  /** Slow readers beside it, for the `tcp` service alone: they cost a measurement another second. */
  slow?: number;
  rows: (figures: Record<WayName, Figures[]>, name: string, note: string) => BenchRow[];
}

/** A row of rates. */
const rates =
  (unit: string, per: number, goal: Goal = RATIO) =>
  (figures: Record<WayName, Figures[]>, name: string, note: string): BenchRow[] => {
    const of = (way: WayName): number[] => figures[way].map(({ rate }) => rate / per);
    const cpu = (way: WayName): number => median(figures[way].map(({ cpuUs }) => cpuUs));
    return [
      pairedRow({
        bench: BENCH,
        name,
        unit,
        ours: of('ours'),
        peer: figures['ssh -R'].length === 0 ? null : { name: 'ssh -R', values: of('ssh -R') },
        more: true,
        goal,
        beside: {
          direct: median(of('direct')),
          'µs CPU, ours': cpu('ours'),
          'µs CPU, ssh -R': cpu('ssh -R'),
        },
        note,
      }),
    ];
  };

/** Rows of what the tunnel adds to the time of a request. */
const added = (figures: Record<WayName, Figures[]>, name: string, note: string): BenchRow[] =>
  (['p50', 'p99'] as const).map((share) => {
    const of = (way: WayName): number[] => figures[way].map((figure) => figure[share]);
    const direct = of('direct');
    const more = (way: WayName): number[] => of(way).map((ms, round) => ms - (direct[round] ?? NaN));
    return pairedRow({
      bench: BENCH,
      name: `${name}, ${share}`,
      unit: 'ms',
      ours: more('ours'),
      peer: { name: 'ssh -R', values: more('ssh -R') },
      more: false,
      goal: ADDED_MS,
      beside: { direct: median(direct) },
      note,
    });
  });

const WORKS: Work[] = [
  { name: 'small POSTs, 32 kept connections', kind: 'posts', width: 32, rows: rates('/s', 1) },
  { name: 'new sessions, 16 at a time', kind: 'sessions', width: 16, rows: rates('/s', 1, SESSIONS_RATIO) },
  { name: 'bulk, 1 stream', kind: 'bulk', width: 1, rows: rates('MB/s', 1e6) },
  { name: 'bulk, 8 streams', kind: 'bulk', width: 8, rows: rates('MB/s', 1e6) },
  { name: 'added latency, 1 request in flight', kind: 'posts', width: 1, rows: added },
  {
    name: `small POSTs beside ${SLOW} slow readers`,
    kind: 'posts',
    width: 32,
    slow: SLOW,
    rows: rates('/s', 1),
  },
  {
    name: `bulk, 1 stream beside ${SLOW} slow readers`,
    kind: 'bulk',
    width: 1,
    slow: SLOW,
    rows: rates('MB/s', 1e6),
  },
];

const SERVICES = ['tcp', 'wpi'] as const;

/** Measures all rows. @throws Error naming the tool that is missing */
export async function run(owner: Owner, options: BenchOptions): Promise<BenchRow[]> {
  const wanted = WORKS.some(({ name }) => SERVICES.some((each) => options.wanted(BENCH, `${name}, ${each}`)));
  if (!wanted) return [];
  requireTools({ ssh: 'openssh-client', 'ssh-keygen': 'openssh-client', '/usr/sbin/sshd': 'openssh-server' });
  const wrap = pinned(CORES);
  const { routes, ssh } = await build(owner, wrap);
  const load = await startJobs<LoadJob, LoadDone>(owner, wrap, './load.ts');
  const rows: BenchRow[] = [];
  for (const work of WORKS) {
    for (const { service, tls, ways } of routes) {
      const name = `${work.name}, ${service}`;
      if (work.slow !== undefined && service !== 'tcp') continue;
      if (!options.wanted(BENCH, name)) continue;
      options.progress(name);
      const contenders: WayName[] = options.peers ? ['direct', 'ours', 'ssh -R'] : ['ours'];
      const figures: Record<WayName, Figures[]> = { direct: [], ours: [], 'ssh -R': [] };
      const measured = await inTurn(contenders, options.rounds, async (way) => {
        const { port } = ways[way];
        const pids = ways[way].pids();
        const before = cpuMs(pids);
        const began = performance.now();
        const job = {
          ...{ kind: work.kind, width: work.width, port, tls, request: requestFor(work.kind) },
          ...{ ms: options.seconds * 1000, warmMs: work.slow === undefined ? WARM_MS : SLOW_WARM_MS },
          ...{ slow: work.slow ?? 0, slowRequest: requestFor('bulk') },
        };
        const done = await load.run(job, job.ms + job.warmMs + PATIENCE_MS);
        const answers = (done.rate * (performance.now() - began)) / 1000 / (work.kind === 'bulk' ? 1e6 : 1);
        return { ...done, cpuUs: ((cpuMs(pids) - before) * 1000) / answers };
      });
      Object.assign(figures, measured);
      rows.push(...work.rows(figures, name, `${NOTES[service]}; ${ssh}`));
    }
  }
  return rows;
}

const NOTES = {
  tcp: 'sealed door, tcp service: link TLS 1.3; the load speaks plain TCP into either tunnel',
  wpi: "sealed door, wpi service: also ends the phone's TLS and reads every message; ssh leads to upstream's own TLS",
};

function requestFor(kind: LoadJob['kind']): string {
  if (kind === 'bulk') return 'GET /image.bin HTTP/1.1\r\nHost: upstream\r\n\r\n';
  const body = phoneDocument();
  return (
    `POST /DLS HTTP/1.1\r\nHost: upstream\r\nContent-Type: text/xml\r\n` +
    `Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`
  );
}

async function build(owner: Owner, wrap: string[]): Promise<{ routes: Route[]; ssh: string }> {
  const authority = await createAuthority();
  const shown = await authority.issue(['localhost', '127.0.0.1']);
  const script = new URL('upstream.ts', import.meta.url).pathname;
  const upstream = await startProcess('upstream', [
    ...[...wrap, process.execPath, script],
    JSON.stringify(shown),
  ]);
  owner.teardown(() => upstream.stop());
  const plain = Number(upstream.ready['plain']);
  const secure = Number(upstream.ready['tls']);
  const gate = await startGate(owner, {
    logLevel: 'info',
    wrap: { proxy: wrap, relay: wrap },
    proxy: {
      doors: ['tcp', 'wpi'].map((name) => ({ name, service: name, listen: '127.0.0.1:0', tls: 'relay' })),
    },
    relay: {
      services: [
        { name: 'tcp', kind: 'tcp', upstream: `127.0.0.1:${plain}` },
        {
          name: 'wpi',
          kind: 'wpi',
          tls: { cert: '../shown.pem', key: '../shown.key' },
          upstream: `http://127.0.0.1:${plain}`,
        },
      ],
    },
  });
  const doors = gate.proxy.ready['doors'] as Record<'tcp' | 'wpi', string>;
  const ssh = await startSshReverse(owner, wrap, [plain, secure]);
  const ways = (service: 'tcp' | 'wpi', direct: number, forwarded = NaN): Record<WayName, Way> => ({
    direct: { port: direct, pids: () => [] },
    ours: { port: Number(doors[service].split(':').at(-1)), pids: () => [gate.proxy.pid, gate.relay.pid] },
    'ssh -R': { port: forwarded, pids: ssh.pids },
  });
  return {
    routes: [
      { service: 'tcp', tls: false, ways: ways('tcp', plain, ssh.ports[0]) },
      { service: 'wpi', tls: true, ways: ways('wpi', secure, ssh.ports[1]) },
    ],
    ssh: `${ssh.version}, ${ssh.cipher}`,
  };
}

/**
 * Polls beside nginx's `return 200`: either on one core with one thread, the load on another core. The kept and the new
 * connections are wrk's; full handshakes are openssl's, since wrk takes up its TLS sessions again.
 */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { createAuthority } from '../fixtures/certificates.ts';
import type { Owner } from '../fixtures/gate.ts';
import { startProcess } from '../fixtures/program.ts';
import { pinned, requireTools } from './cores.ts';
import { cpuMs } from './cpu.ts';
import { startNginx } from './nginx.ts';
import { inTurn, median, pairedRow } from './rows.ts';
import type { BenchOptions, BenchRow, Goal } from './rows.ts';

const BENCH = 'polls';
const SERVER_CORES = [0];
const LOAD_CORES = [1];
const KNOWN = 1_000;
const CONNECTIONS = 64;
/** openssl clients at once: one alone would measure its own turn-round times. */
const TLS_CLIENTS = 4;
const PATH = '/dcmp/contact-me?device-id=001ae8000001';

type Name = 'ours' | 'nginx';

interface Server {
  plain: number;
  tls: number;
  pids: () => number[];
}

interface Figures {
  rate: number;
  /** Processor time of the server for each poll, in microseconds. */
  cpuUs: number;
}

interface Work {
  name: string;
  goal: Goal;
  note: string;
  /** @returns how many polls were answered */
  load(server: Server): Promise<number>;
}

/** Measures what is wanted. @throws Error naming the tools that are missing */
export async function run(owner: Owner, options: BenchOptions): Promise<BenchRow[]> {
  const { seconds } = options;
  const all: Work[] = [
    {
      name: 'polls, a new connection each',
      goal: { ratio: 1 },
      note: `wrk, ${CONNECTIONS} connections, Connection: close`,
      load: (server) => wrk(server.plain, seconds, ['-H', 'Connection: close']),
    },
    {
      name: 'polls, connections kept',
      goal: { ratio: 0.8 },
      note: `wrk, ${CONNECTIONS} connections`,
      load: (server) => wrk(server.plain, seconds, []),
    },
    {
      name: 'polls, a full TLS 1.3 handshake each',
      goal: { ratio: 0.7 },
      note:
        `${TLS_CLIENTS} × openssl s_time -new, ECDSA P-256, no session reused; ` +
        'the clients are the slower end, so the ratio of processor time says more',
      load: (server) => handshakes(server.tls, seconds),
    },
  ];
  const works = all.filter(({ name }) => options.wanted(BENCH, name));
  if (works.length === 0) return [];
  requireTools({ nginx: 'nginx-light', wrk: 'wrk', openssl: 'openssl' });

  const tls = await certificate(owner);
  const wrap = pinned(SERVER_CORES);
  const servers: Record<Name, Server> = {
    ours: await startOurs(owner, wrap, tls),
    nginx: await startNginx(owner, wrap, tls),
  };
  const rows: BenchRow[] = [];
  for (const work of works) {
    options.progress(work.name);
    const figures = await inTurn(['ours', 'nginx'], options.rounds, (name) => measure(work, servers[name]));
    const cpuRatios = figures.nginx.map(({ cpuUs }, round) => cpuUs / (figures.ours[round]?.cpuUs ?? NaN));
    const rates = (name: Name): number[] => figures[name].map(({ rate }) => rate);
    rows.push(
      pairedRow({
        bench: BENCH,
        name: work.name,
        unit: 'polls/s',
        ours: rates('ours'),
        peer: { name: 'nginx', values: rates('nginx') },
        more: true,
        goal: work.goal,
        beside: {
          'CPU µs': median(figures.ours.map(({ cpuUs }) => cpuUs)),
          'nginx CPU µs': median(figures.nginx.map(({ cpuUs }) => cpuUs)),
          'CPU ratio': median(cpuRatios),
        },
        note: work.note,
      }),
    );
  }
  return rows;
}

async function measure(work: Work, server: Server): Promise<Figures> {
  const pids = server.pids();
  const before = cpuMs(pids);
  const startedAt = performance.now();
  const polls = await work.load(server);
  const tookMs = performance.now() - startedAt;
  return { rate: (polls / tookMs) * 1000, cpuUs: ((cpuMs(pids) - before) * 1000) / polls };
}

async function wrk(port: number, seconds: number, args: string[]): Promise<number> {
  const url = `http://127.0.0.1:${port}${PATH}`;
  const out = await load('wrk', ['-t1', `-c${CONNECTIONS}`, `-d${Math.ceil(seconds)}s`, ...args, url]);
  const refused = /Non-2xx or 3xx responses: (\d+)/.exec(out)?.[1];
  if (refused !== undefined) throw new Error(`${refused} polls of port ${port} were not answered 2xx`);
  return Number(/(\d+) requests in/.exec(out)?.[1] ?? 0);
}

/** Each handshake carries one poll. */
async function handshakes(port: number, seconds: number): Promise<number> {
  const args = ['s_time', '-new', '-tls1_3', '-time', `${Math.ceil(seconds)}`];
  const client = (): Promise<string> =>
    load('openssl', [...args, '-connect', `127.0.0.1:${port}`, '-www', PATH]);
  const outputs = await Promise.all(Array.from({ length: TLS_CLIENTS }, client));
  return outputs.reduce((sum, out) => sum + Number(/^(\d+) connections in/m.exec(out)?.[1] ?? 0), 0);
}

async function load(name: string, given: string[]): Promise<string> {
  const [command = '', ...args] = [...pinned(LOAD_CORES), name, ...given];
  return (await promisify(execFile)(command, args)).stdout;
}

async function startOurs(owner: Owner, wrap: string[], tls: { cert: string; key: string }): Promise<Server> {
  const script = join(import.meta.dirname, 'poll-server.ts');
  const given = JSON.stringify({ ...tls, known: KNOWN });
  const server = await startProcess('poll-server', [...wrap, process.execPath, script, given]);
  owner.teardown(() => server.stop());
  const [plain = 0, secure = 0] = server.ready['ports'] as number[];
  return { plain, tls: secure, pids: () => [server.pid] };
}

async function certificate(owner: Owner): Promise<{ cert: string; key: string }> {
  const dir = mkdtempSync(join(tmpdir(), 'poll-bench-'));
  owner.teardown(() => rmSync(dir, { recursive: true, force: true }));
  const issued = await (await createAuthority()).issue(['127.0.0.1']);
  const files = { cert: join(dir, 'cert.pem'), key: join(dir, 'key.pem') };
  writeFileSync(files.cert, issued.cert);
  writeFileSync(files.key, issued.key);
  return files;
}

if (import.meta.main) {
  const tasks: (() => unknown)[] = [];
  const [rounds = 5, seconds = 2] = process.argv.slice(2).map(Number);
  try {
    const progress = (text: string): void => void process.stderr.write(`… ${text}\n`);
    const rows = await run(
      { teardown: (task) => tasks.unshift(task) },
      { rounds, seconds, wanted: () => true, progress },
    );
    console.table(
      rows.map(({ name, ours, peer, ratio, spread, beside }) => ({
        name,
        ours,
        nginx: peer?.value,
        ratio,
        spread: spread.map((each) => each.toFixed(2)).join('–'),
        ...beside,
      })),
    );
  } finally {
    for (const task of tasks) await task();
  }
}

/**
 * Polls per second beside nginx's `return 200`: both servers on one core, one thread each, the load on another core,
 * in turn, round after round. `node tests/bench/polls.ts` prints the table.
 */
import { execFile, execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';

export interface PollBenchOptions {
  /** Pairs of measurements for each row; default 5. */
  rounds?: number;
  /** Length of one measurement; default 2. */
  seconds?: number;
}

export interface PollRow {
  name: string;
  unit: string;
  /** Median of ours and of the reference's. */
  ours: number;
  reference: number;
  /** Median of the rounds' ratios, then their least and greatest. */
  ratio: number;
  spread: [number, number];
  /**
   * The same of the processor time that the servers took for each poll (reference by ours; above 1 = we take less).
   * It holds where the load, not the server, was the slower end.
   */
  cpuRatio: number;
  cpuSpread: [number, number];
  /** What the ratio is to be at least. */
  floor: number;
  note: string;
}

interface Server {
  name: string;
  pid: number;
  plain: number;
  tls: number;
}

interface Measured {
  rate: number;
  cpuPerPoll: number;
}

const SERVER_CORE = 0;
const LOAD_CORE = 1;
const KNOWN = 1_000;
/** openssl clients at once: one alone would measure its own turn-round times. */
const CLIENTS = 4;
const PATH = '/dcmp/contact-me?device-id=001ae800000';

/** Measures all rows. @throws Error naming the tool that is missing */
export async function run(options: PollBenchOptions = {}): Promise<PollRow[]> {
  const rounds = options.rounds ?? 5;
  const seconds = options.seconds ?? 2;
  for (const tool of ['nginx', 'wrk', 'taskset', 'openssl']) requireTool(tool);
  if (availableParallelism() < 2)
    throw new Error('The poll benchmark needs two cores: one to serve, one for the load');
  const dir = mkdtempSync(join(tmpdir(), 'poll-bench-'));
  const children: ChildProcess[] = [];
  try {
    const cert = makeCertificate(dir);
    const nginx = await startNginx(dir, cert, children);
    const ours = await startOurs(cert, children);
    const url = (server: Server, tls: boolean, digit: number): string =>
      `${tls ? 'https' : 'http'}://127.0.0.1:${tls ? server.tls : server.plain}${PATH}${digit}`;
    const rows: PollRow[] = [];
    const row = async (
      name: string,
      floor: number,
      note: string,
      load: (server: Server) => number,
    ): Promise<void> => {
      rows.push(await compare({ name, floor, note, rounds, ours, reference: nginx, load }));
    };
    await row('polls, a new connection each', 1.0, 'wrk, 64 connections, Connection: close', (server) =>
      wrk(url(server, false, 0), seconds, 64, true),
    );
    await row('polls, connections kept', 0.8, 'wrk, 64 connections', (server) =>
      wrk(url(server, false, 0), seconds, 64, false),
    );
    await row(
      'polls, a full TLS 1.3 handshake each',
      0.7,
      `${CLIENTS} × openssl s_time -new, ECDSA P-256, no session reused; the load is the slower end, so see the CPU ratio`,
      (server) => handshakes(server.tls, seconds),
    );
    return rows;
  } finally {
    for (const child of children) child.kill('SIGTERM');
    await Promise.all(
      children.filter((child) => child.exitCode === null).map((child) => once(child, 'exit')),
    );
    rmSync(dir, { recursive: true, force: true });
  }
}

async function compare(of: {
  name: string;
  floor: number;
  note: string;
  rounds: number;
  ours: Server;
  reference: Server;
  load: (server: Server) => Promise<number>;
}): Promise<PollRow> {
  const measure = async (server: Server): Promise<Measured> => {
    const before = cpuSeconds(server.pid);
    const startedAt = performance.now();
    const polls = await of.load(server);
    const seconds = (performance.now() - startedAt) / 1000;
    return { rate: polls / seconds, cpuPerPoll: (cpuSeconds(server.pid) - before) / polls };
  };
  await measure(of.reference);
  await measure(of.ours);
  const pairs: { ours: Measured; reference: Measured }[] = [];
  for (let round = 0; round < of.rounds; round++) {
    // Whoever goes first in one round goes last in the next.
    const first = await measure(round % 2 === 0 ? of.reference : of.ours);
    const second = await measure(round % 2 === 0 ? of.ours : of.reference);
    pairs.push(round % 2 === 0 ? { reference: first, ours: second } : { ours: first, reference: second });
  }
  const ratios = pairs.map((pair) => pair.ours.rate / pair.reference.rate);
  const cpuRatios = pairs.map((pair) => pair.reference.cpuPerPoll / pair.ours.cpuPerPoll);
  return {
    name: of.name,
    unit: 'polls/s',
    ours: median(pairs.map((pair) => pair.ours.rate)),
    reference: median(pairs.map((pair) => pair.reference.rate)),
    ratio: median(ratios),
    spread: [Math.min(...ratios), Math.max(...ratios)],
    cpuRatio: median(cpuRatios),
    cpuSpread: [Math.min(...cpuRatios), Math.max(...cpuRatios)],
    floor: of.floor,
    note: of.note,
  };
}

function median(values: number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? 0;
}

/** @returns how many polls were answered */
async function wrk(url: string, seconds: number, connections: number, close: boolean): Promise<number> {
  const header = close ? ['-H', 'Connection: close'] : [];
  const args = ['-t1', `-c${connections}`, `-d${seconds}s`, ...header, url];
  const out = await underLoad('wrk', args);
  const bad = /Non-2xx or 3xx responses: (\d+)/.exec(out);
  if (bad !== null) throw new Error(`${bad[1]} polls of ${url} were not answered 2xx`);
  return Number(/(\d+) requests in/.exec(out)?.[1] ?? 0);
}

/** @returns how many handshakes were made, each with one poll */
async function handshakes(port: number, seconds: number): Promise<number> {
  const where = ['-connect', `127.0.0.1:${port}`, '-www', `${PATH}0`];
  const args = ['s_time', '-new', '-tls1_3', '-time', `${seconds}`, ...where];
  const outputs = await Promise.all(Array.from({ length: CLIENTS }, () => underLoad('openssl', args)));
  return outputs.reduce((sum, out) => sum + Number(/^(\d+) connections in/m.exec(out)?.[1] ?? 0), 0);
}

async function underLoad(command: string, args: string[]): Promise<string> {
  return (await promisify(execFile)('taskset', ['-c', `${LOAD_CORE}`, command, ...args])).stdout;
}

/** Processor time of a process and all its threads; the clock tick is 10 ms on Linux. */
function cpuSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
    .replace(/^.*\) /, '')
    .split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

async function startOurs(cert: { cert: string; key: string }, children: ChildProcess[]): Promise<Server> {
  const script = join(import.meta.dirname, 'poll-server.ts');
  const args = ['-c', `${SERVER_CORE}`, process.execPath, script, JSON.stringify({ ...cert, known: KNOWN })];
  const child = spawn('taskset', args, { stdio: ['ignore', 'pipe', 'inherit'] });
  children.push(child);
  const [line] = (await once(createInterface(child.stdout), 'line')) as [string];
  const { ports } = JSON.parse(line) as { ports: [number, number] };
  return { name: 'sallyport', pid: child.pid ?? 0, plain: ports[0], tls: ports[1] };
}

async function startNginx(
  dir: string,
  cert: { cert: string; key: string },
  children: ChildProcess[],
): Promise<Server> {
  const [plain, tls] = [freePort(), freePort()];
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];
  const config = `
    daemon off; worker_processes 1; pid ${dir}/nginx.pid; error_log ${dir}/error.log;
    events { worker_connections 4096; }
    http {
      access_log off; keepalive_requests 1000; ssl_session_cache off;
      ${temporary.map((name) => `${name}_temp_path ${dir}/${name};`).join(' ')}
      server {
        listen 127.0.0.1:${plain};
        listen 127.0.0.1:${tls} ssl;
        ssl_protocols TLSv1.3; ssl_certificate ${cert.cert}; ssl_certificate_key ${cert.key};
        location / { return 200; }
      }
    }`;
  writeFileSync(join(dir, 'nginx.conf'), config);
  const args = ['-c', `${SERVER_CORE}`, 'nginx', '-p', dir, '-c', join(dir, 'nginx.conf')];
  const child = spawn('taskset', args, { stdio: ['ignore', 'ignore', 'ignore'] });
  children.push(child);
  const deadline = performance.now() + 5_000;
  for (;;) {
    const worker = childrenOf(child.pid ?? 0)[0];
    if (worker !== undefined) return { name: 'nginx', pid: worker, plain, tls };
    if (performance.now() > deadline) {
      throw new Error(`nginx did not start: ${readFileSync(join(dir, 'error.log'), 'utf8')}`);
    }
    await new Promise((resolve) => setImmediate(resolve));
  }
}

function childrenOf(pid: number): number[] {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean).map(Number);
}

/** A port that was free a moment ago: nginx cannot choose one itself. */
function freePort(): number {
  const script =
    "const s=require('net').createServer().listen(0,'127.0.0.1',()=>{console.log(s.address().port);s.close()})";
  return Number(execFileSync(process.execPath, ['-e', script], { encoding: 'utf8' }));
}

function makeCertificate(dir: string): { cert: string; key: string } {
  const files = { cert: join(dir, 'c.pem'), key: join(dir, 'k.pem') };
  const curve = [
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:P-256',
    '-nodes',
    '-days',
    '2',
    '-subj',
    '/CN=localhost',
  ];
  execFileSync('openssl', ['req', '-x509', ...curve, '-keyout', files.key, '-out', files.cert], {
    stdio: 'ignore',
  });
  return files;
}

function requireTool(tool: string): void {
  try {
    execFileSync('sh', ['-c', `command -v ${tool}`], { stdio: 'ignore' });
  } catch (cause) {
    throw new Error(
      `The poll benchmark needs ${tool}; install it (Debian: nginx-light, wrk, util-linux, openssl)`,
      { cause },
    );
  }
}

if (import.meta.main) {
  const rows = await run({ rounds: Number(process.argv[2] ?? 5), seconds: Number(process.argv[3] ?? 2) });
  const two = (value: number): string => value.toFixed(2);
  console.table(
    rows.map((row) => ({
      row: row.name,
      ours: Math.round(row.ours),
      nginx: Math.round(row.reference),
      ratio: two(row.ratio),
      spread: row.spread.map(two).join('–'),
      'CPU ratio': two(row.cpuRatio),
      'CPU spread': row.cpuSpread.map(two).join('–'),
      floor: row.floor,
    })),
  );
  for (const row of rows) console.log(`${row.name}: ${row.note}`);
}

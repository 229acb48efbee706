import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import type { Owner } from '../fixtures/gate.ts';
import { startProcess } from '../fixtures/program.ts';
import { descendants } from './cpu.ts';

/** A server of polls that ours is held against, on one core. */
export interface Peer {
  /** Its ports, without and with TLS 1.3. */
  plain: number;
  tls: number;
  /** Its processes at this moment. */
  pids(): number[];
}

/** The certificate and key that every contender shows, as PEM files: the chain, the key, and both in one. */
export interface PeerTls {
  cert: string;
  key: string;
  both: string;
}

/** Devices that every contender knows, as phones write them; each second one has something pending. */
export const KNOWN = 1_000;
export const deviceOf = (n: number): string => `001ae8${n.toString(16).padStart(6, '0')}`;
export const isPending = (n: number): boolean => n % 2 === 0;
/** An idle device, so that every contender answers 200: wrk counts nothing else as an answer. */
export const POLL_PATH = `/dcmp/contact-me?device-id=${deviceOf(1)}`;

/** What bin/launch.sh gives a proxy. */
export const AS_LAUNCHED = { GLIBC_TUNABLES: 'glibc.malloc.hugetlb=1' };
const DEADLINE_MS = 30_000;
const BETWEEN_LOOKS_MS = 50;

/**
 * Waits until a started peer answers a poll, and has it end with `owner`.
 *
 * @param at - its addresses, `host:port`
 * @param said - what it has to say for itself where it doesn't
 */
export async function serving(
  owner: Owner,
  name: string,
  child: ChildProcess,
  at: { plain: string; secure: string },
  said: () => string,
): Promise<Peer> {
  let over = false;
  const exited = once(child, 'exit').finally(() => (over = true));
  owner.teardown(async () => {
    child.kill('SIGTERM');
    await exited;
  });
  const deadline = performance.now() + DEADLINE_MS;
  while (!(await answers(at.plain))) {
    if (over || performance.now() > deadline) throw new Error(`${name} did not start: ${said()}`);
    await new Promise((resolve) => setTimeout(resolve, BETWEEN_LOOKS_MS));
  }
  const port = (address: string): number => Number(address.split(':').at(-1));
  return { plain: port(at.plain), tls: port(at.secure), pids: () => descendants(child.pid ?? 0) };
}

/** Our poll door by itself, as a process. @param of - how many devices it knows, and its workers, default 1; without `tls` it has a plain port only */
export async function startPollServer(
  owner: Owner,
  wrap: string[],
  of: { tls: Pick<PeerTls, 'cert' | 'key'> | null; known: number; workers?: number },
): Promise<Peer> {
  const script = new URL('poll-server.ts', import.meta.url).pathname;
  const server = await startProcess(
    'poll-server',
    [...wrap, process.execPath, script, JSON.stringify({ workers: 1, ...of })],
    {
      env: AS_LAUNCHED,
    },
  );
  owner.teardown(() => server.stop());
  const [plain = 0, tls = 0] = server.ready['ports'] as number[];
  return { plain, tls, pids: () => [server.pid] };
}

function answers(address: string): Promise<boolean> {
  return fetch(`http://${address}${POLL_PATH}`).then(
    (response) => response.ok,
    () => false,
  );
}

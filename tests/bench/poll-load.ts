/** What loads poll doors: wrk for kept, new and pipelined connections, openssl for TLS handshakes, full and resumed. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { pinned } from './cores.ts';
import { POLL_PATH } from './peer.ts';

const LOAD_CORES = [1];
export const CONNECTIONS = 64;
/** Polls sent at a time where they are pipelined. */
export const PIPELINED = 16;
/** openssl clients at once: one alone would measure its own turn-round times. */
export const TLS_CLIENTS = 4;

const script = (name: string): string => new URL(name, import.meta.url).pathname;

/** How wrk asks: by default one device's poll after another on kept connections. */
export interface Asking {
  /** Each on a connection of its own. */
  close?: boolean;
  /** {@link PIPELINED} at a time. */
  pipelined?: boolean;
  /** Of random devices among so many. */
  devices?: number;
}

/** Answers that wrk counted. @throws Error when some were not 2xx */
export async function wrk(port: number, seconds: number, how: Asking): Promise<number> {
  const [lua, argument] =
    how.pipelined === true
      ? ['pipeline.lua', PIPELINED]
      : how.devices === undefined
        ? [null, 0]
        : ['devices.lua', how.devices];
  const out = await load('wrk', [
    ...['-t1', `-c${CONNECTIONS}`, `-d${Math.ceil(seconds)}s`],
    ...(how.close === true ? ['-H', 'Connection: close'] : []),
    ...(lua === null ? [] : ['-s', script(lua)]),
    `http://127.0.0.1:${port}${POLL_PATH}`,
    ...(lua === null ? [] : ['--', String(argument)]),
  ]);
  const refused = /Non-2xx or 3xx responses: (\d+)/.exec(out)?.[1];
  if (refused !== undefined) throw new Error(`${refused} polls of port ${port} were not answered 2xx`);
  return Number(/(\d+) requests in/.exec(out)?.[1] ?? 0);
}

/** Full handshakes; each carries one poll. */
export const handshakes = (port: number, seconds: number): Promise<number> => sTime(port, seconds, '-new');

/** Resumed sessions; each carries one poll. @throws Error when a connection was not resumed */
export const resumptions = (port: number, seconds: number): Promise<number> => sTime(port, seconds, '-reuse');

async function sTime(port: number, seconds: number, how: '-new' | '-reuse'): Promise<number> {
  const args = ['s_time', how, '-tls1_3', '-time', `${Math.ceil(seconds)}`];
  const client = (): Promise<string> =>
    load('openssl', [...args, '-connect', `127.0.0.1:${port}`, '-www', POLL_PATH]);
  const outputs = await Promise.all(Array.from({ length: TLS_CLIENTS }, client));
  return outputs.reduce((sum, out) => sum + connectionsIn(out, how === '-reuse'), 0);
}

/**
 * Connections that one s_time made. It prints a letter for each, `r` for a resumed one; with `-reuse` the first one is
 * what it then resumes, and is not counted.
 */
export function connectionsIn(out: string, resumed: boolean): number {
  const count = Number(/^(\d+) connections in/m.exec(out)?.[1] ?? 0);
  const letters = [...out.matchAll(/^[rt*]+$/gm)].at(-1)?.[0] ?? '';
  const reused = letters.replaceAll(/[^r]/g, '').length;
  if (resumed && reused < count) throw new Error(`only ${reused} of ${count} TLS sessions were resumed`);
  if (!resumed && reused > 0) throw new Error(`${reused} of ${count} TLS sessions were resumed`);
  return count;
}

async function load(name: string, given: string[]): Promise<string> {
  const [command = '', ...args] = [...pinned(LOAD_CORES), name, ...given];
  return (await promisify(execFile)(command, args, { maxBuffer: 16 * 2 ** 20 })).stdout;
}

/**
 * The load of the tunnel benchmark, as a process of its own: raw sockets, so that it costs as little as it can and the
 * same against whatever it is led to. Reads one {@link LoadJob} a line on standard input, answers each with a line.
 */
import { connect as connectTcp } from 'node:net';
import type { Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { readAnswer } from './http-bytes.ts';
import { serveJobs } from './jobs.ts';

export interface LoadJob {
  /**
   * `posts`: requests one after another on each of `width` kept connections. `sessions`: `width` clients that each
   * connect, ask once, and close, over and over. `bulk`: `width` connections that each take one long answer.
   */
  kind: 'posts' | 'sessions' | 'bulk';
  port: number;
  /** Whether to speak TLS; always a full handshake, any certificate. */
  tls: boolean;
  width: number;
  /** Length of the measurement, after `warmMs`. */
  ms: number;
  warmMs: number;
  /** The request, and for `bulk` the request of the long answer. */
  request: string;
  /** Connections beside it that take the long answer of `slowRequest`, some kilobytes at a time; 0 = none. */
  slow: number;
  slowRequest: string;
}

/** How often a slow reader reads: one piece of what has come. */
const SLOW_READ_MS = 100;

export interface LoadDone {
  /** Answers, or for `bulk` bytes, per second. */
  rate: number;
  /** Milliseconds from a request to its whole answer (`sessions`: from dialling); 0 for `bulk`. */
  p50: number;
  p99: number;
}

function dial(job: LoadJob, ready: () => void): Socket {
  const where = { host: '127.0.0.1', port: job.port };
  const socket: Socket = job.tls
    ? connectTls({ ...where, rejectUnauthorized: false, minVersion: 'TLSv1.3' }, ready)
    : connectTcp({ ...where, noDelay: true }, ready);
  socket.setNoDelay(true);
  return socket;
}

/** Runs one job; rejects on the first connection that fails. */
function run(job: LoadJob): Promise<LoadDone> {
  return new Promise((resolve, reject) => {
    const request = Buffer.from(job.request, 'latin1');
    const open = new Set<Socket>();
    const took: number[] = [];
    let count = 0;
    let measuring = false;
    let over = false;
    let began = 0;

    const finish = (error: Error | null): void => {
      if (over) return;
      over = true;
      const seconds = (performance.now() - began) / 1000;
      for (const socket of open) socket.destroy();
      if (error !== null) return reject(error);
      took.sort((a, b) => a - b);
      const at = (share: number): number => took[Math.floor((took.length - 1) * share)] ?? 0;
      resolve({ rate: count / seconds, p50: at(0.5), p99: at(0.99) });
    };
    const adopt = (socket: Socket, closedInOrder: () => boolean): void => {
      open.add(socket);
      socket.on('error', (error) => finish(error));
      socket.once('close', () => {
        open.delete(socket);
        if (!closedInOrder()) finish(new Error('a connection was closed early'));
      });
    };
    const answered = (since: number): void => {
      if (!measuring) return;
      count += 1;
      took.push(performance.now() - since);
    };

    function post(): void {
      let since = 0;
      let held: Buffer | null = null;
      const ask = (): void => {
        since = performance.now();
        socket.write(request);
      };
      const socket = dial(job, ask);
      adopt(socket, () => over);
      socket.on('data', (chunk) => {
        held = held === null ? chunk : Buffer.concat([held, chunk]);
        const answer = readAnswer(held);
        if (answer === 'more') return;
        if (answer === 'bad') return finish(new Error(`not a 200: ${held.toString('latin1', 0, 60)}`));
        held = null;
        answered(since);
        if (!over) ask();
      });
    }

    function session(): void {
      const since = performance.now();
      let held: Buffer | null = null;
      let ended = false;
      const socket = dial(job, () => void socket.write(request));
      adopt(socket, () => ended);
      socket.once('close', () => {
        if (!over) session();
      });
      socket.on('data', (chunk) => {
        held = held === null ? chunk : Buffer.concat([held, chunk]);
        const answer = readAnswer(held);
        if (answer === 'more') return;
        if (answer === 'bad') return finish(new Error(`not a 200: ${held.toString('latin1', 0, 60)}`));
        answered(since);
        ended = true;
        socket.end();
      });
    }

    function take(): void {
      const socket = dial(job, () => void socket.write(request));
      adopt(socket, () => over);
      socket.on('data', (chunk) => {
        if (measuring) count += chunk.length;
      });
    }

    function takeSlowly(): void {
      const socket = dial(job, () => void socket.write(job.slowRequest));
      adopt(socket, () => over);
      const again = setInterval(() => socket.resume(), SLOW_READ_MS);
      socket.once('close', () => clearInterval(again));
      socket.on('data', () => socket.pause());
    }

    for (let i = 0; i < job.slow; i++) takeSlowly();
    const start = { posts: post, sessions: session, bulk: take }[job.kind];
    for (let i = 0; i < job.width; i++) start();
    setTimeout(() => {
      measuring = true;
      began = performance.now();
      setTimeout(() => finish(null), job.ms);
    }, job.warmMs);
  });
}

serveJobs(run);

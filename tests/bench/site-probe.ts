/**
 * One site's phones, as a process of its own: polls and sessions at steady rates, each on a connection of its own and timed from
 * when it was due. Reads one {@link ProbeJob} a line on standard input, answers each with a line; fails where one is not served.
 */
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { phoneDocument } from '../fixtures/wpi-documents.ts';
import { messageSize } from './http-bytes.ts';
import { serveJobs } from './jobs.ts';
import { shares } from './shares.ts';

export interface ProbeJob {
  poll: number;
  door: number;
  /** Each a second. */
  polls: number;
  sessions: number;
  ms: number;
}

export interface ProbeDone {
  /** Milliseconds from when it was due to the whole answer. */
  poll: { p50: number; p99: number };
  session: { p50: number; p99: number };
}

const TICK_MS = 1;
const GIVE_UP_MS = 15_000;
const POLL = 'GET /dcmp/contact-me?device-id=nobody HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n';
const BODY = phoneDocument({ reason: 'start-up', items: [['mac-addr', '00:1A:E8:2E:00:01']] });
const SESSION =
  'POST /DeploymentService/LoginService HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: text/xml\r\n' +
  `Content-Length: ${Buffer.byteLength(BODY)}\r\n\r\n${BODY}`;

/** Resolves to the time of the whole answer. */
function ask(socket: Socket, request: string): Promise<number> {
  return new Promise((resolve, reject) => {
    let held: Buffer | null = null;
    const late = setTimeout(() => socket.destroy(new Error('no answer in time')), GIVE_UP_MS);
    socket.on('data', (chunk) => {
      held = held === null ? chunk : Buffer.concat([held, chunk]);
      const size = messageSize(held);
      if (size === null || held.length < size) return;
      const head = held.toString('latin1', 9, 10);
      if (head === '2') resolve(performance.now());
      else reject(new Error(`answered ${held.toString('latin1', 0, 30)}`));
      socket.destroy();
    });
    socket.on('error', reject);
    socket.once('close', () => {
      clearTimeout(late);
      reject(new Error('closed without an answer'));
    });
    socket.write(request);
  });
}

async function run(job: ProbeJob): Promise<ProbeDone> {
  const polls: Promise<number>[] = [];
  const sessions: Promise<number>[] = [];
  const began = performance.now();
  const since = async (due: number, asked: Promise<number>): Promise<number> => (await asked) - due;
  for (let at = 0; at < job.ms; at = performance.now() - began) {
    while (polls.length < (at * job.polls) / 1000) {
      const due = began + (polls.length * 1000) / job.polls;
      polls.push(since(due, ask(connect({ host: '127.0.0.1', port: job.poll }), POLL)));
    }
    while (sessions.length < (at * job.sessions) / 1000) {
      const due = began + (sessions.length * 1000) / job.sessions;
      const socket = connectTls({ host: '127.0.0.1', port: job.door, rejectUnauthorized: false });
      sessions.push(since(due, ask(socket, SESSION)));
    }
    await new Promise((resolve) => setTimeout(resolve, TICK_MS));
  }
  return { poll: shares(await Promise.all(polls)), session: shares(await Promise.all(sessions)) };
}

serveJobs(run);

/**
 * A flood of one site, as a process of its own: polls, connections at its session door and pushes, at steady rates, whether or
 * not they are refused. Reads one {@link FloodJob} a line on standard input, answers each with a line.
 */
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { serveJobs } from './jobs.ts';
import { deviceOf } from './peer.ts';
import { openWire } from './wire.ts';

export interface FloodJob {
  poll: number;
  door: number;
  api: number;
  /** Each a second. */
  polls: number;
  sessions: number;
  pushes: number;
  ms: number;
  first: number;
}

export interface FloodDone {
  polls: number;
  sessions: number;
  pushes: number;
}

/** How long a connection is held that nobody ends. */
const HOLD_MS = 2_000;
const TICK_MS = 5;

/** One whole poll and the beginning of another, so that the connection never idles. */
const POLL = 'GET /dcmp/contact-me?device-id=flood HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nGET /';

async function run(job: FloodJob): Promise<FloodDone> {
  const done: FloodDone = { polls: 0, sessions: 0, pushes: 0 };
  const open = new Set<Socket>();
  const api = openWire({ host: '127.0.0.1', port: job.api }, 16, Infinity);
  const dial = (port: number, text: string): void => {
    const socket = connect({ host: '127.0.0.1', port });
    open.add(socket);
    // To be refused is what it is there for.
    socket.on('error', () => undefined);
    socket.on('close', () => open.delete(socket));
    socket.resume();
    if (text !== '') socket.write(text);
    setTimeout(() => socket.destroy(), HOLD_MS);
  };
  const push = async (device: string): Promise<void> => {
    await api.ask(
      Buffer.from(
        `POST /v1/devices/${device}/messages HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}`,
      ),
    );
  };
  const pushing: Promise<void>[] = [];
  const began = performance.now();
  for (let at = 0; at < job.ms; at = performance.now() - began) {
    const due = (perSecond: number): number => Math.floor((at * perSecond) / 1000);
    for (; done.polls < due(job.polls); done.polls++) dial(job.poll, POLL);
    for (; done.sessions < due(job.sessions); done.sessions++) dial(job.door, '');
    for (; done.pushes < due(job.pushes); done.pushes++)
      pushing.push(push(deviceOf(job.first + done.pushes)));
    await new Promise((resolve) => setTimeout(resolve, TICK_MS));
  }
  await Promise.all(pushing);
  for (const socket of open) socket.destroy();
  api.close();
  return done;
}

serveJobs(run);

/**
 * Pushes at a steady rate, each followed by polls until one says 202, as a process of its own: `node push-process.ts`
 * reads one {@link PushJob} a line on standard input and answers each with a line.
 */
import { serveJobs } from './jobs.ts';
import { deviceOf } from './peer.ts';
import { openWire } from './wire.ts';
import { shares } from './shares.ts';

export interface PushJob {
  /** Ports of the relay's API and of the poll door, on loopback. */
  api: number;
  poll: number;
  /** Pushes a second, and how many in all. */
  rate: number;
  pushes: number;
  /** Device numbers: `first`, `first` + `step`, … */
  first: number;
  step: number;
  /** Beyond this number they begin from 0 again; missing = they never do. */
  among?: number;
  /** Whether to poll for the 202; else only the push itself is timed. */
  untilOffered: boolean;
  /** Whether the push is answered only once the proxy has applied it; missing = no. */
  applied?: boolean;
}

export interface PushDone {
  /** Milliseconds from a push to its answer, and to the first 202 to a poll. */
  pushed: { p50: number; p99: number };
  offered: { p50: number; p99: number };
  /** Pushes answered in a second, as it came out. */
  rate: number;
}

const WIDTH = 64;
/** Between a poll's answer and the next poll of the same device: by so much a 202 may be seen too late. */
const BETWEEN_POLLS_MS = 1;
const GIVE_UP_MS = 10_000;

const pushOf = (device: string, applied: boolean): Buffer =>
  Buffer.from(
    `POST /v1/devices/${device}/messages${applied ? '?wait=proxy' : ''} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}`,
  );
const pollOf = (device: string): Buffer =>
  Buffer.from(`GET /dcmp/contact-me?device-id=${device} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n`);

async function run(job: PushJob): Promise<PushDone> {
  const api = openWire({ host: '127.0.0.1', port: job.api }, WIDTH, Infinity);
  const polls = openWire({ host: '127.0.0.1', port: job.poll }, WIDTH);
  const pushed: number[] = [];
  const offered: number[] = [];

  async function one(device: string): Promise<void> {
    const began = performance.now();
    const status = await api.ask(pushOf(device, job.applied ?? false));
    if (status !== 201) throw new Error(`a push was answered ${status}`);
    pushed.push(performance.now() - began);
    if (!job.untilOffered) return;
    const poll = pollOf(device);
    while ((await polls.ask(poll)) !== 202) {
      if (performance.now() - began > GIVE_UP_MS) throw new Error(`no 202 within ${GIVE_UP_MS} ms of a push`);
      await new Promise((resolve) => setTimeout(resolve, BETWEEN_POLLS_MS));
    }
    offered.push(performance.now() - began);
  }

  const all: Promise<void>[] = [];
  const began = performance.now();
  while (all.length < job.pushes) {
    const due = Math.min(job.pushes, Math.floor(((performance.now() - began) * job.rate) / 1000));
    while (all.length < due)
      all.push(one(deviceOf((job.first + all.length * job.step) % (job.among ?? Infinity))));
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  try {
    await Promise.all(all);
  } finally {
    api.close();
    polls.close();
  }
  const rate = (job.pushes * 1000) / (performance.now() - began);
  return { pushed: shares(pushed), offered: shares(offered), rate };
}

serveJobs(run);

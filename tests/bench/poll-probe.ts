/**
 * Polls random devices at a steady rate, open loop, as a process of its own: `node poll-probe.ts '<json>'` with
 * `{ "port": 8080, "rate": 1000, "devices": 1000 }`. On a line `take` it tells what it measured since the last one.
 * A poll that is due is asked whether or not those before it were answered, so that a stall is seen at its whole length.
 */
import { createInterface } from 'node:readline';
import { deviceOf } from './peer.ts';
import { shares } from './shares.ts';
import { openWire } from './wire.ts';

export interface ProbeTold {
  polls: number;
  /** Milliseconds from when a poll was due to its answer. */
  p50: number;
  p99: number;
  most: number;
  /** Polls answered 202. */
  offered: number;
}

const WIDTH = 32;
const { port, rate, devices } = JSON.parse(process.argv[2] ?? '{}') as Record<
  'port' | 'rate' | 'devices',
  number
>;
const wire = openWire({ host: '127.0.0.1', port }, WIDTH);
let took: number[] = [];
let offered = 0;
let sent = 0;
const began = performance.now();

const say = (line: object): void => void process.stdout.write(`${JSON.stringify(line)}\n`);

function poll(due: number): void {
  const device = deviceOf(Math.floor(Math.random() * devices));
  const request = Buffer.from(`GET /dcmp/contact-me?device-id=${device} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n`);
  wire.ask(request).then(
    (status) => {
      took.push(performance.now() - due);
      if (status === 202) offered += 1;
    },
    (error: unknown) => {
      say({ msg: 'failed', why: String(error) });
      process.exit(1);
    },
  );
}

setInterval(() => {
  const due = Math.floor(((performance.now() - began) * rate) / 1000);
  for (; sent < due; sent++) poll(began + ((sent + 1) * 1000) / rate);
}, 1);

createInterface({ input: process.stdin }).on('line', () => {
  const { p50, p99 } = shares(took);
  say({
    msg: 'told',
    polls: took.length,
    p50,
    p99,
    most: took.reduce((most, ms) => Math.max(most, ms), 0),
    offered,
  });
  took = [];
  offered = 0;
});
process.once('SIGTERM', () => process.exit(0));
say({ msg: 'ready' });

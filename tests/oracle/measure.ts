import { randomFillSync } from 'node:crypto';
import { createMarks } from '../../proxy/marks.ts';
import { openMarks } from '../../proxy/marks-reader.ts';
import { answer } from '../../proxy/poll/answer.ts';
import { Connection, type ConnectionEvents } from '../../proxy/poll/connection.ts';
import { Connections } from '../../proxy/poll/connections.ts';
import { COUNTER_BYTES, openCounters } from '../../proxy/poll/counters.ts';
import { DEFAULT_POLL_LIMITS } from '../../proxy/poll/limits.ts';
import { createPollHandler } from '../../proxy/poll/poll-handler.ts';
import { createPollSecrets } from '../../proxy/poll/poll-secrets.ts';
import { createRoutes } from '../../proxy/poll/routes.ts';
import { createUnknownReports } from '../../proxy/poll/unknown-reports.ts';
import { systemClock } from '../../shared/clock.ts';
import type { DeviceId } from '../../shared/device-id.ts';
import { Moments, welchT } from './welch.ts';

/** What a polling device can be that is answered with 200. */
const CLASSES = ['unknown', 'idle', 'in session', 'not admitted'] as const;
const UNKNOWN = CLASSES.indexOf('unknown');
/** Devices of each class that poll in one round. */
const DEVICES = 1_000;
/**
 * Polls of a round; then other devices take over. How long an id takes to read depends on its digits, and of few ids
 * one class would have the slower ones by chance.
 */
const ROUND = 20_000;
/** Known devices that do not poll meanwhile. */
const OTHERS = 10_000;
/** Polls before the first that counts: until then code is still being compiled. */
const WARM_UP = 100_000;
/** Polls between two reports of unknown devices, which a worker makes each second. */
const SWEEP = 2_000;
/** The share of the times that is looked at, from the shortest: the longest are interrupts, not the handler. */
const KEPT = 0.9;
/** The largest |t| that counts as no difference, as is usual for leaks in time. */
export const SILENT_T = 4.5;

const NOBODY = '00:00:00:00:00:00' as DeviceId;
const requestOf = (device: DeviceId): Buffer =>
  Buffer.from(`GET /dcmp/contact-me?device-id=${device} HTTP/1.1\r\nHost: proxy.example\r\n\r\n`, 'latin1');

/** What the times of the classes tell. */
export interface OracleResult {
  /** Mean time of the handler in nanoseconds, by class. */
  means: Record<string, number>;
  /** Welch's t of each class of known devices against the unknown. */
  t: Record<string, number>;
  /** The largest |t|. */
  worst: number;
}

/** A connection without a socket, so that the handler alone is timed. */
class TimedConnection extends Connection {
  answered: Buffer | null = null;
  take: (bytes: Buffer) => void = () => undefined;

  start(events: ConnectionEvents): void {
    this.take = (bytes) => events.take(this, bytes);
  }
  send(answers: Buffer): void {
    this.answered = answers;
  }
  finish = unexpected;
  end = unexpected;
  destroy = unexpected;
  noDelay = (): void => undefined;
  backlog = (): number => 0;
  peer = (): string => '192.0.2.7';
}

function unexpected(): never {
  throw new Error('The handler ends the connection that it is timed on');
}

/**
 * Times the poll handler on real marks, in this process, with polls of all classes in random order.
 *
 * @param samples - polls to time, of all classes together
 * @param leak - is done besides, within the time, for polls of unknown devices: something that has to be found
 * @throws Error where a poll is not answered with the bytes of 200
 */
export function measureOracle(samples: number, leak?: (request: Buffer) => void): OracleResult {
  const { take, connection, newRound, sweep, close } = openHandler();
  let requests: Buffer[][] = [];
  const serve =
    leak === undefined
      ? take
      : (bytes: Buffer, kind: number): void => {
          if (kind === UNKNOWN) leak(bytes);
          take(bytes);
        };
  const ok = answer(200, 'stay');
  const input = requestOf(NOBODY);
  const random = new Uint32Array(SWEEP);
  const kinds = new Uint8Array(samples);
  const times = new Float64Array(samples);
  for (let i = -WARM_UP; i < samples; i++) {
    const turn = (i + WARM_UP) % SWEEP;
    if ((i + WARM_UP) % ROUND === 0) {
      requests = newRound();
      // Setting marks has brought those of the known into the processor's cache. Two polls of each device, of all
      // classes in turn, make up for that.
      for (let n = 0; n < 2 * DEVICES; n++) for (const polls of requests) take(polls[n % DEVICES] ?? input);
      sweep();
    }
    if (turn === 0) {
      sweep();
      randomFillSync(random);
    }
    const drawn = random[turn] ?? 0;
    const kind = drawn % CLASSES.length;
    const request = requests[kind]?.[Math.floor(drawn / CLASSES.length) % DEVICES];
    // All come from one place in memory, as they do in a worker.
    request?.copy(input);
    const begin = performance.now();
    serve(input, kind);
    const time = performance.now() - begin;
    if (connection.answered !== ok) throw new Error(`A poll (${CLASSES[kind]}) is not answered with 200`);
    connection.answered = null;
    if (i < 0) continue;
    kinds[i] = kind;
    times[i] = time * 1e6;
  }
  close();
  return compare(kinds, times);
}

/** A poll worker's inside with its marks. */
function openHandler() {
  const marks = createMarks({
    sites: ['default'],
    clock: systemClock,
    random: (bytes) => void randomFillSync(bytes),
  });
  // Nobody is admitted: what is pending and free otherwise is answered with 200 too.
  marks.site('default', { aliveUntil: Infinity, upstreamOk: true, admit: 0 });
  for (const device of randomIds(OTHERS)) {
    marks.set('default', device, { pending: false, generation: 1, notBefore: 0, expiry: 0 });
  }
  let polling: DeviceId[] = [];
  /** Polls of new devices by class, in whose place the former ones go. */
  const newRound = (): Buffer[][] => {
    for (const device of polling) marks.remove('default', device);
    polling = randomIds(CLASSES.length * DEVICES);
    const requests: Buffer[][] = CLASSES.map(() => []);
    for (const [i, device] of polling.entries()) {
      const kind = i % CLASSES.length;
      requests[kind]?.push(requestOf(device));
      if (kind === UNKNOWN) continue;
      const pending = CLASSES[kind] !== 'idle';
      marks.set('default', device, { pending, generation: 1, notBefore: 0, expiry: Infinity });
      if (CLASSES[kind] === 'in session') marks.quiet('default', device, Infinity);
    }
    return requests;
  };

  const limits = { ...DEFAULT_POLL_LIMITS, requestsPerConnection: Infinity };
  const counters = openCounters(new SharedArrayBuffer(COUNTER_BYTES));
  const offset = systemClock.monotonic() - performance.now();
  const now = (): number => performance.now() + offset;
  const connections = new Connections(limits, counters, now);
  const unknown = createUnknownReports(marks.sites, limits.unknownReports);
  const attachment = marks.attach();
  const reader = openMarks(attachment.seed);
  const routes = createRoutes([{ number: 0, prefixes: null, secret: false }]);
  const secrets = createPollSecrets();
  const handler = createPollHandler({
    connections,
    marks: reader,
    routes,
    secrets,
    limits,
    counters,
    unknown,
    now,
  });
  const connection = new TimedConnection(true);
  handler.serve(connection, null);
  return {
    take: connection.take,
    connection,
    newRound,
    sweep: () => void unknown.take(),
    close: () => marks.close(),
  };
}

function randomIds(count: number): DeviceId[] {
  const ids = new Set<DeviceId>();
  const bytes = Buffer.alloc(6);
  while (ids.size < count) {
    const hex = randomFillSync(bytes).toString('hex');
    ids.add(hex.replaceAll(/..(?=.)/g, '$&:') as DeviceId);
  }
  return [...ids];
}

function compare(kinds: Uint8Array, times: Float64Array): OracleResult {
  const limit = times.toSorted()[Math.floor(times.length * KEPT)] ?? Infinity;
  const moments = CLASSES.map(() => new Moments());
  times.forEach((time, i) => {
    if (time <= limit) moments[kinds[i] ?? 0]?.add(time);
  });
  const unknown = moments[UNKNOWN] ?? new Moments();
  const t = Object.fromEntries(
    CLASSES.flatMap((name, kind) => {
      const known = moments[kind];
      return kind === UNKNOWN || known === undefined ? [] : [[name, welchT(known, unknown)]];
    }),
  );
  const means = Object.fromEntries(CLASSES.map((name, kind) => [name, moments[kind]?.mean ?? NaN]));
  return { means, t, worst: Math.max(...Object.values(t).map(Math.abs)) };
}

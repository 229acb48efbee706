import { createSecretKey, randomBytes, randomFillSync } from 'node:crypto';
import { answer } from '../../proxy/poll/answer.ts';
import type { DeviceId } from '../../shared/device-id.ts';
import { pollPath, pollSecretOf, SITE_SECRET_BYTES } from '../../shared/poll-secret.ts';
import { classesOf, UNKNOWN } from './classes.ts';
import type { PolledClass } from './classes.ts';
import { openTimedHandler, OTHER_SITE, SITE } from './timed-handler.ts';
import { Moments, welchT } from './welch.ts';

/*
 * The method is written down in docs/threat-model.md ("How time differences are looked for"); what is here follows it and
 * is not to be changed to suit a result.
 */

/** Devices that poll in one round, each once: so that no two times share a device, and are independent. */
const ROUND = 4_000;
/** Polls before the first that counts: until then code is still being compiled. */
const WARM_UP = 100_000;
/** Polls between two reports of unknown devices, which a worker makes each second. */
const SWEEP = 2_000;
/** The share of the times that is looked at, from the shortest: the longest are interrupts, not the handler. */
const KEPT = 0.9;
/** The largest |t| that counts as no difference, as is usual for leaks in time. */
export const SILENT_T = 4.5;

export interface OracleOptions {
  /** Polls to time, of all classes together. */
  samples: number;
  /** Known devices that do not poll meanwhile; default 10 000. */
  devices?: number;
  /** Whether devices poll by a secret in their path; default `none`. */
  pollSecret?: 'none' | 'path';
  /** Default `up`. */
  link?: 'up' | 'down';
  /** Is done besides, within the time, for polls of unknown devices: something that has to be found. */
  leak?: (request: Buffer) => void;
}

/** What the times of the classes tell. */
export interface OracleResult {
  /** Mean time of the handler in nanoseconds, by class. */
  means: Record<string, number>;
  /** Welch's t against the unknown devices: of each other class, and of `all others` together. */
  t: Record<string, number>;
  /** The largest |t|. */
  worst: number;
}

/** What polls in one round, in the order in which it polls. */
interface Turn {
  kind: number;
  request: Buffer;
}

/**
 * Times the poll handler on real marks, in this process, with polls of all classes in random order.
 *
 * @throws Error where a poll is not answered with the bytes of 200
 */
export function measureOracle(options: OracleOptions): OracleResult {
  const { samples, devices = 10_000, pollSecret = 'none', link = 'up', leak } = options;
  const siteSecret = pollSecret === 'path' ? randomBytes(SITE_SECRET_BYTES) : null;
  const classes = classesOf({ pollSecret, link });
  const unknown = classes.findIndex(({ name }) => name === UNKNOWN);
  const { take, connection, marks, now, sweep, close } = openTimedHandler({
    siteSecret,
    link,
    devices: devices + ROUND,
  });
  for (const device of randomIds(devices)) {
    marks.set(SITE, device, { pending: false, generation: 1, notBefore: 0, expiry: 0 });
  }
  const serve =
    leak === undefined
      ? take
      : (bytes: Buffer, kind: number): void => {
          if (kind === unknown) leak(bytes);
          take(bytes);
        };
  const kinds = new Uint8Array(samples);
  const times = new Float64Array(samples);
  const ok = answer(200, 'stay');
  let polled: DeviceId[] = [];
  let turns: Turn[] = [];

  /** New devices poll, in whose place the former ones go. */
  function newRound(): void {
    for (const device of polled) for (const site of [SITE, OTHER_SITE]) marks.remove(site, device);
    polled = randomIds(ROUND);
    turns = polled.map((device, i): Turn => {
      // Every other device is unknown, and the rest are of the other classes in turn.
      const other = 1 + (Math.floor(i / 2) % (classes.length - 1));
      const kind = i % 2 === 0 ? unknown : (unknown + other) % classes.length;
      const polls = classes[kind]!;
      polls.bring({ marks, device, now: now() });
      return { kind, request: requestOf(device, polls, siteSecret) };
    });
    shuffle(turns);
    // Setting marks has brought those of the known into the processor's cache. Two polls of each device, of all classes
    // in turn, make up for that.
    for (let n = 0; n < 2; n++) for (const { request } of turns) take(request);
    shuffle(turns);
    sweep();
  }

  const input = Buffer.alloc(
    requestOf('00:00:00:00:00:00' as DeviceId, classes[unknown]!, siteSecret).length,
  );
  for (let i = -WARM_UP; i < samples; i++) {
    const turn = (i + WARM_UP) % ROUND;
    if (turn === 0) newRound();
    if (turn % SWEEP === 0) sweep();
    const { kind, request } = turns[turn]!;
    // All come from one place in memory, as they do in a worker.
    request.copy(input);
    const begin = performance.now();
    serve(input, kind);
    const time = performance.now() - begin;
    if (connection.answered !== ok)
      throw new Error(`A poll (${classes[kind]?.name}) is not answered with 200`);
    connection.answered = null;
    if (i < 0) continue;
    kinds[i] = kind;
    times[i] = time * 1e6;
  }
  close();
  return compare({ names: classes.map(({ name }) => name), unknown, kinds, times });
}

function requestOf(device: DeviceId, { shows }: PolledClass, siteSecret: Buffer | null): Buffer {
  const path =
    siteSecret === null
      ? `contact-me?device-id=${device}`
      : pollPath(shows(pollSecretOf(createSecretKey(siteSecret), device)), device);
  return Buffer.from(`GET /dcmp/${path} HTTP/1.1\r\nHost: proxy.example\r\n\r\n`, 'latin1');
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

/** Fisher and Yates' shuffle. */
function shuffle(items: unknown[]): void {
  const random = randomFillSync(new Uint32Array(items.length));
  for (let i = items.length - 1; i > 0; i--) {
    const j = (random[i] ?? 0) % (i + 1);
    [items[i], items[j]] = [items[j], items[i]];
  }
}

function compare(run: {
  names: string[];
  unknown: number;
  kinds: Uint8Array;
  times: Float64Array;
}): OracleResult {
  const { names, unknown, kinds, times } = run;
  const limit = times.toSorted()[Math.floor(times.length * KEPT)] ?? Infinity;
  const moments = names.map(() => new Moments());
  const others = new Moments();
  times.forEach((time, i) => {
    if (time > limit) return;
    const kind = kinds[i] ?? unknown;
    moments[kind]!.add(time);
    if (kind !== unknown) others.add(time);
  });
  const t: Record<string, number> = { 'all others': welchT(others, moments[unknown]!) };
  names.forEach((name, kind) => {
    if (kind !== unknown) t[name] = welchT(moments[kind]!, moments[unknown]!);
  });
  const means = Object.fromEntries(names.map((name, kind) => [name, moments[kind]!.mean]));
  return { means, t, worst: Math.max(...Object.values(t).map(Math.abs)) };
}

import { createSecretKey, randomBytes, randomFillSync } from 'node:crypto';
import { answer } from '../../proxy/poll/answer.ts';
import type { DeviceId } from '../../shared/device-id.ts';
import { pollPath, pollSecretOf, SITE_SECRET_BYTES } from '../../shared/poll-secret.ts';
import { classesOf, ELSEWHERE, STATES } from './classes.ts';
import type { PolledClass } from './classes.ts';
import { openTimedHandler, OTHER_SITE, SITE } from './timed-handler.ts';
import { Moments, welchT } from './welch.ts';

/*
 * The method is written down in docs/threat-model.md ("How time differences are looked for"); what is here follows it and
 * is not to be changed to suit a result.
 */

/** Devices that poll in one round, each timed once and never again: no two times share a device, and are independent. */
export const ROUND = 4_000;
/** Polls before the first that counts: until then code is still being compiled. */
const WARM_UP = 100_000;
/** The share of the times that is looked at, from the shortest: the longest are interrupts, not the handler. */
const KEPT = 0.9;
/** The largest |t| that counts as no difference, as is usual for leaks in time. */
export const SILENT_T = 4.5;

export interface OracleOptions {
  /** Polls to time, of all classes together. */
  samples: number;
  /** Devices that the marks have heard of, half of {@link ROUND} or more; default 10 000. */
  devices?: number;
  /** Whether devices poll by a secret in their path; default `none`. */
  pollSecret?: 'none' | 'path';
  /** Default `up`. */
  link?: 'up' | 'down';
  /** Whether the marks of who polls are written once more just before; default false. */
  fresh?: boolean;
  /** Polls between two reports of unknown devices, which a worker makes each second; default 2 000. */
  sweep?: number;
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
  /** Its poll, not timed, of the other site where that knows it: an entry that nobody polls would lie farther away. */
  elsewhere: Buffer | null;
}

/**
 * Times the poll handler on real marks, in this process, with polls of all classes in random order.
 *
 * @throws Error where a poll is not answered with the bytes of 200
 */
export function measureOracle(options: OracleOptions): OracleResult {
  const { samples, devices = 10_000, pollSecret = 'none', link = 'up' } = options;
  const { fresh = false, sweep = 2_000, leak } = options;
  const siteSecret = pollSecret === 'path' ? randomBytes(SITE_SECRET_BYTES) : null;
  const classes = classesOf({ pollSecret });
  const { take, connection, marks, now, report, close } = openTimedHandler({ siteSecret, link, devices });
  const serve =
    leak === undefined
      ? take
      : (bytes: Buffer, kind: number): void => {
          if (kind === 0) leak(bytes);
          take(bytes);
        };
  const kinds = new Uint8Array(samples);
  const times = new Float64Array(samples);
  const ok = answer(200, 'stay');
  let known: DeviceId[] = [];
  /** Those of them that have not been timed, by their state. */
  const untimed = new Map(Object.keys(STATES).map((state) => [state, [] as DeviceId[]]));
  let turns: Turn[] = [];

  /** Other devices are known than before. */
  function populate(): void {
    for (const device of known) for (const site of [SITE, OTHER_SITE]) marks.remove(site, device);
    // Now and not in between, where it would leave out who has been removed.
    marks.reserve(devices);
    known = randomIds(devices);
    const states = [...untimed.keys()];
    for (const state of states) untimed.set(state, []);
    known.forEach((device, i) => {
      const state = states[i % states.length]!;
      STATES[state]!({ marks, device, now: now() });
      untimed.get(state)!.push(device);
    });
    // Those written first are the first to poll, so that none polls when it has just been written.
    for (const devices of untimed.values()) devices.reverse();
  }

  /** Who polls next as one of a class. */
  function next({ state }: PolledClass): DeviceId {
    if (state === null) return randomIds(1)[0]!;
    const device = untimed.get(state)!.pop()!;
    if (fresh) STATES[state]!({ marks, device, now: now() });
    return device;
  }

  /** Chooses who polls next, and has each poll twice before it counts. */
  function newRound(): void {
    if ([...untimed.values()].some((devices) => devices.length < ROUND / 2 / untimed.size)) populate();
    turns = Array.from({ length: ROUND }, (_, i): Turn => {
      // Every other device is unknown, and the rest are of the other classes in turn.
      const kind = i % 2 === 0 ? 0 : 1 + (Math.floor(i / 2) % (classes.length - 1));
      const polls = classes[kind]!;
      const device = next(polls);
      const elsewhere = polls.state === ELSEWHERE ? requestTo(`other/contact-me?device-id=${device}`) : null;
      return { kind, request: requestOf(device, polls, siteSecret), elsewhere };
    });
    shuffle(turns);
    // What is looked up for the first time is farther from the processor than what others came by before. Two polls of
    // each device, of all classes in turn, make up for that.
    for (let n = 0; n < 2; n++) {
      for (const { request, elsewhere } of turns) {
        take(request);
        if (elsewhere !== null) take(elsewhere);
      }
    }
    shuffle(turns);
  }

  const input = Buffer.alloc(requestOf('00:00:00:00:00:00' as DeviceId, classes[0]!, siteSecret).length);
  for (let i = -WARM_UP; i < samples; i++) {
    const turn = (i + WARM_UP) % ROUND;
    if (turn === 0) newRound();
    if ((i + WARM_UP) % sweep === 0) report();
    const { kind, request, elsewhere } = turns[turn]!;
    // All come from one place in memory, as they do in a worker.
    request.copy(input);
    const begin = performance.now();
    serve(input, kind);
    const time = performance.now() - begin;
    if (connection.answered !== ok)
      throw new Error(`A poll (${classes[kind]?.name}) is not answered with 200`);
    if (elsewhere !== null) take(elsewhere);
    connection.answered = null;
    if (i < 0) continue;
    kinds[i] = kind;
    times[i] = time * 1e6;
  }
  close();
  return compare({ names: classes.map(({ name }) => name), kinds, times });
}

function requestOf(device: DeviceId, { shows }: PolledClass, siteSecret: Buffer | null): Buffer {
  const path =
    siteSecret === null
      ? `contact-me?device-id=${device}`
      : pollPath(shows(pollSecretOf(createSecretKey(siteSecret), device)), device);
  return requestTo(`dcmp/${path}`);
}

function requestTo(path: string): Buffer {
  return Buffer.from(`GET /${path} HTTP/1.1\r\nHost: proxy.example\r\n\r\n`, 'latin1');
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

/** @param run - `kinds`: of each time, the index of its class's name; the first is the one that all are held against */
function compare(run: { names: string[]; kinds: Uint8Array; times: Float64Array }): OracleResult {
  const { names, kinds, times } = run;
  const limit = times.toSorted()[Math.floor(times.length * KEPT)] ?? Infinity;
  const moments = names.map(() => new Moments());
  const others = new Moments();
  times.forEach((time, i) => {
    if (time > limit) return;
    const kind = kinds[i] ?? 0;
    moments[kind]!.add(time);
    if (kind !== 0) others.add(time);
  });
  const unknown = moments[0]!;
  const t: Record<string, number> = { 'all others': welchT(others, unknown) };
  names.forEach((name, kind) => {
    if (kind !== 0) t[name] = welchT(moments[kind]!, unknown);
  });
  const means = Object.fromEntries(names.map((name, kind) => [name, moments[kind]!.mean]));
  return { means, t, worst: Math.max(...Object.values(t).map(Math.abs)) };
}

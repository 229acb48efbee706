import type { Clock, Milliseconds } from '../shared/clock.ts';
import type { DeviceId } from '../shared/device-id.ts';
import { ADMISSION_WINDOW_MS } from './marks-decision.ts';
import { ADMIT_ALL } from './marks-layout.ts';

/**
 * The end of each window, in which nobody is told 202 unless there is room for all: who was told before has called by
 * the time at which the next window lets others in.
 */
export const ARRIVAL_MS: Milliseconds = 3_000;
/** Below this part of the sessions that were expected, more devices are admitted for each free place. */
const FEW = 0.7;
/** How much more; when more came than were expected it is half. */
const GROWTH = 1.5;
/** So many standard deviations fewer than {@link FEW} must have come: luck alone must not open the door wider. */
const CERTAIN = 2;
/** For so many windows after one in which about as many came as were expected, nothing grows: phones may poll in step. */
const IN_STEP_WINDOWS = 30;

/**
 * Which share of a site's pending devices may be told 202, so that sessions stay within bounds.
 *
 * A place is free when no session runs in it and nobody who was admitted in this window is still expected. Each free
 * place admits one device at first, as if each of them polled at once. But most poll seldom and some not at all: with
 * 100 000 pending and room for 200, hours pass with next to nobody in a session. So where few of those that were
 * admitted came, each free place admits more. Only what the relay says of its sessions counts: if polls did, forged
 * ones could hold work back.
 */
export interface Admission {
  /**
   * The share for now, from 0 (nobody) to {@link ADMIT_ALL}. To be asked at least once a second.
   *
   * @param sessions - running, as the relay told last
   * @param pending - devices with something pending, those in a session among them
   */
  share(sessions: number, pending: number): number;
  /** A device's session has begun. */
  arrived(device: DeviceId): void;
  /** The relay has told its sessions, so what arrived before is among them. */
  told(): void;
  /** Polls are 200 whatever is pending: that nobody comes says nothing about phones, and all may poll at once after it. */
  shut(): void;
}

/** @param most - sessions that may run at a time */
export function createAdmission(clock: Clock, most: number): Admission {
  /** Devices that are admitted for each free place. */
  let factor = 1;
  let window = windowOf(clock);
  /** Part of all tickets. */
  let open = 0;
  /** Devices that hold such tickets or held them in this window. */
  let issued = 0;
  let lastPending = 0;
  /** Sessions that should come of them within this window. Who is admitted late in it seldom polls in what is left. */
  let expected = 0;
  /** The most that were expected at a time. */
  let owed = 0;
  const came = new Set<DeviceId>();
  let sinceTold = 0;
  let growsAfter = -1;
  let seen = { expected: 0, came: 0 };

  function turn(sessions: number, pending: number): void {
    seen.expected += expected;
    seen.came += came.size;
    if (came.size > 0 && !clearlyFew(came.size, owed)) growsAfter = window + IN_STEP_WINDOWS;
    const many = came.size > expected + Math.sqrt(expected);
    const few = window > growsAfter && clearlyFew(seen.came, seen.expected);
    if (few) factor *= GROWTH;
    if (many) factor /= 2;
    factor = Math.min(Math.max(factor, 1), Math.max(1, pending / Math.max(1, most - sessions)));
    if (few || many || window <= growsAfter) seen = { expected: 0, came: 0 };
    open = 0;
    issued = 0;
    expected = 0;
    owed = 0;
    came.clear();
  }

  return {
    share(told, pending) {
      const sessions = told + sinceTold;
      const now = windowOf(clock);
      if (now !== window) turn(sessions, pending);
      window = now;
      issued += open * Math.max(0, pending - lastPending);
      lastPending = pending;
      const room = most - sessions;
      if (room > 0 && pending <= room) {
        open = 1;
        issued = came.size + Math.max(0, pending - sessions);
        return ADMIT_ALL;
      }
      const left = 1 - (clock.monotonic() % ADMISSION_WINDOW_MS) / (ADMISSION_WINDOW_MS - ARRIVAL_MS);
      if (left <= 0) return 0;
      const holders = Math.max(0, issued - came.size);
      const free = Math.max(0, room) - Math.max(0, issued / factor - came.size);
      if (free > 0) {
        const others = Math.max(1, pending - sessions - holders);
        const more = Math.min(free * factor, others);
        open += (1 - open) * (more / others);
        issued += more;
        expected += (more / factor) * left;
      } else if (holders > 0) {
        const fewer = Math.min(-free * factor, holders);
        open *= 1 - fewer / holders;
        issued -= fewer;
        expected = Math.max(0, expected - (fewer / factor) * left);
      }
      owed = Math.max(owed, issued / factor - came.size);
      return room > 0 ? Math.ceil(Math.min(1, open) * ADMIT_ALL) : 0;
    },
    arrived(device) {
      if (came.size < issued) came.add(device);
      sinceTold += 1;
    },
    told() {
      sinceTold = 0;
    },
    shut() {
      factor = 1;
      expected = 0;
      seen = { expected: 0, came: 0 };
      issued = Math.min(issued, came.size);
      open = 0;
    },
  };
}

const windowOf = (clock: Clock): number => Math.floor(clock.monotonic() / ADMISSION_WINDOW_MS);

const clearlyFew = (came: number, expected: number): boolean =>
  came < FEW * expected - CERTAIN * Math.sqrt(expected);

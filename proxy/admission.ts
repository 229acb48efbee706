import type { Clock, Milliseconds } from '../shared/clock.ts';
import { ADMISSION_WINDOW_MS, ADMIT_ALL } from './marks-layout.ts';

/** Below this share of the sessions that may run, more devices are admitted in the next window. */
const ROOM = 0.7;
/** Above this share, fewer are. */
const CROWDED = 0.9;
/** How much more are admitted after a window that left room; after a crowded one it is half. */
const GROWTH = 1.5;

/**
 * Which share of a site's pending devices may be told 202, so that sessions stay within bounds.
 *
 * It begins with as many devices as there is room for, as if each of them polled at once. But most poll seldom and
 * some not at all: with 100 000 pending and room for 200, one in 500 polls would be told 202, and hours pass with
 * next to nobody in a session. So the share grows with each window that left room, and halves after a crowded one.
 * Only what the relay says of its sessions counts: if polls did, forged ones could hold work back.
 */
export interface Admission {
  /**
   * The share for now, from 0 (nobody) to {@link ADMIT_ALL}. Never 0 while there is room for a session.
   *
   * @param sessions - running, as the relay told last
   * @param pending - devices with something pending
   */
  share(sessions: number, pending: number): number;
}

/** @param most - sessions that may run at a time */
export function createAdmission(clock: Clock, most: number): Admission {
  let factor = 1;
  let peak = 0;
  let windowEnds: Milliseconds = clock.monotonic() + ADMISSION_WINDOW_MS;

  return {
    share(sessions, pending) {
      peak = Math.max(peak, sessions);
      if (clock.monotonic() >= windowEnds) {
        if (peak < most * ROOM) factor *= GROWTH;
        else if (peak > most * CROWDED) factor /= 2;
        peak = sessions;
        windowEnds = clock.monotonic() + ADMISSION_WINDOW_MS;
      }
      const free = most - sessions;
      if (free <= 0) return 0;
      factor = Math.min(Math.max(factor, 1), Math.max(1, pending / free));
      return pending <= free ? ADMIT_ALL : Math.ceil(Math.min(1, (factor * free) / pending) * ADMIT_ALL);
    },
  };
}

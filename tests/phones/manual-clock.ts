/** A clock that stands still until it is moved. */
import type { PhoneClock } from './clock.ts';

export type ManualClock = PhoneClock & {
  /** Moves time on and runs what falls due on the way, in order. */
  advance(ms: number): void;
  /** Milliseconds until the next timer, or undefined. */
  nextIn(): number | undefined;
};

export function createManualClock(): ManualClock {
  const timers = new Map<number, { at: number; run: () => void }>();
  let now = 0;
  let handles = 0;
  const earliest = (): [number, { at: number; run: () => void }] | undefined =>
    [...timers].sort(([a, x], [b, y]) => x.at - y.at || a - b)[0];
  return {
    now: () => now,
    setTimeout(run, ms) {
      handles += 1;
      timers.set(handles, { at: now + Math.max(0, ms), run });
      return handles;
    },
    clearTimeout(handle) {
      timers.delete(handle as number);
    },
    advance(ms) {
      const end = now + ms;
      for (let due = earliest(); due && due[1].at <= end; due = earliest()) {
        timers.delete(due[0]);
        now = due[1].at;
        due[1].run();
      }
      now = end;
    },
    nextIn() {
      const next = earliest();
      return next && next[1].at - now;
    },
  };
}

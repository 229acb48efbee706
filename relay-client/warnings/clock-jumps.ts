import type { Clock, Milliseconds, Timer } from '../../shared/clock.ts';
import type { Warn } from './kinds.ts';

/** How far the wall clock may move against the monotonic one between two looks: NTP slews by far less. */
export const JUMP_MS: Milliseconds = 10_000;
const LOOK_MS: Milliseconds = 1_000;

/** Warns when the machine's clock is set, or the machine slept: times in logs and events are off then. */
export function watchClockJumps(clock: Clock, warn: Warn): Timer {
  let offset = clock.wall() - clock.monotonic();
  return clock.every(LOOK_MS, () => {
    const now = clock.wall() - clock.monotonic();
    const by = now - offset;
    offset = now;
    if (Math.abs(by) > JUMP_MS) warn('clock-jump', { device: null, by_s: Math.round(by / 1000) });
  });
}

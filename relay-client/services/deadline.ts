import type { Clock, Milliseconds, Timer } from '../../shared/clock.ts';

/** One wait at a time, moved often and reached seldom. */
export interface Deadline {
  /** Calls `task` in `delay` unless set again or stopped before; replaces what was set. */
  set(delay: Milliseconds, task: () => void): void;
  /** Moves what is set to `delay` from now; nothing when nothing is set. */
  extend(delay: Milliseconds): void;
  /** There is nothing to wait for just now. */
  stop(): void;
  /** There will be nothing to wait for any more: lets go of the timer, too. */
  close(): void;
}

/**
 * A deadline that costs no timer when it moves later, or is stopped for a while: the running timer looks, when it fires,
 * whether it's time yet. An exchange moves its deadline six times, and timers took one hundredth of all it costs each time.
 */
export function createDeadline(clock: Clock): Deadline {
  let task: (() => void) | null = null;
  let due = 0;
  let timer: Timer | null = null;
  let timerDue = 0;

  const arm = (now: Milliseconds): void => {
    timer?.cancel();
    timerDue = due;
    timer = clock.after(due - now, fire);
  };
  const fire = (): void => {
    timer = null;
    if (task === null) return;
    const now = clock.monotonic();
    // Half a millisecond of grace: timers count whole ones and may come a touch early.
    if (due - now > 0.5) return arm(now);
    const reached = task;
    task = null;
    reached();
  };
  const set = (delay: Milliseconds, next: () => void): void => {
    const now = clock.monotonic();
    task = next;
    due = now + delay;
    if (timer === null || timerDue > due) arm(now);
  };
  return {
    set,
    extend(delay) {
      if (task !== null) set(delay, task);
    },
    stop() {
      task = null;
    },
    close() {
      task = null;
      timer?.cancel();
      timer = null;
    },
  };
}

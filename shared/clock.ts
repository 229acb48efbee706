/** Milliseconds, as a plain number. */
export type Milliseconds = number;

/** A timer that can be cancelled. Cancelling a fired or cancelled timer does nothing. */
export interface Timer {
  cancel(): void;
}

/**
 * Time, handed in to every part that needs it, so that a simulation can own it.
 *
 * Decisions use {@link Clock.monotonic}; {@link Clock.wall} is for people's eyes and for what must survive
 * a restart.
 */
export interface Clock {
  /** Milliseconds since some fixed past moment; never goes back, and is the same in all threads. */
  monotonic(): Milliseconds;
  /** Milliseconds since 1970-01-01 UTC; may jump either way. */
  wall(): Milliseconds;
  /** Runs `task` once after `delay` (0 = as soon as possible). The timer keeps the process alive. */
  after(delay: Milliseconds, task: () => void): Timer;
  /** Runs `task` each `period` (> 0). The timer does not keep the process alive. */
  every(period: Milliseconds, task: () => void): Timer;
}

/** setTimeout holds its delay in 31 bits; a longer wait is made of several. */
const LONGEST_TIMEOUT_MS = 2 ** 31 - 1;

/**
 * Of all clocks `performance.now` is read quickest. How far it is from CLOCK_MONOTONIC never changes within a thread. The
 * greatest of some tries is the nearest: a thread may have to wait for the processor between the two readings.
 */
const SINCE_BOOT_MS: Milliseconds = Math.max(
  ...Array.from({ length: 5 }, () => Number(process.hrtime.bigint()) / 1e6 - performance.now()),
);

/** The clock of the machine. Its monotonic time is CLOCK_MONOTONIC, hence comparable across threads. */
export const systemClock: Clock = {
  monotonic: () => performance.now() + SINCE_BOOT_MS,
  wall: () => Date.now(),
  after(delay, task) {
    let handle: NodeJS.Timeout;
    const arm = (left: Milliseconds): void => {
      const step = Math.min(left, LONGEST_TIMEOUT_MS);
      handle = setTimeout(() => (left > step ? arm(left - step) : task()), step);
    };
    arm(Math.max(0, delay));
    return { cancel: () => clearTimeout(handle) };
  },
  every(period, task) {
    const handle = setInterval(task, period);
    handle.unref();
    return { cancel: () => clearInterval(handle) };
  },
};

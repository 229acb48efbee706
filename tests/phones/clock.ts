/** Time as the simulator sees it; hand in a fake to move it by hand. */
export type PhoneClock = {
  /** Monotonic milliseconds. */
  now(): number;
  setTimeout(run: () => void, ms: number): unknown;
  clearTimeout(handle: unknown): void;
};

/** Real time. The global timers are looked up at each call, so that a replaced global takes effect. */
export const realClock: PhoneClock = {
  now: () => performance.now(),
  setTimeout: (run, ms) => globalThis.setTimeout(run, ms),
  clearTimeout: (handle) => globalThis.clearTimeout(handle as NodeJS.Timeout),
};

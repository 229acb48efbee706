import type { Clock, Milliseconds } from '../../shared/clock.ts';
import type { Now } from './ledger.ts';

/** No run of this program was earlier: a wall clock that says so has never been set. */
export const EARLIEST_WALL: Milliseconds = Date.UTC(2026, 0, 1);

/** What a store remembers of time, as of its last commit. */
export interface KeptTime {
  /** See {@link Now.at}; 0 = a fresh store. */
  storeTime: Milliseconds;
  /** See {@link Now.ahead}. */
  wallAhead: Milliseconds;
}

/**
 * The time by which a store lives, whichever engine keeps it. It runs by the monotonic clock; how long the relay was
 * stopped is reckoned by the wall clock, from the latest wall time that there can have been at the last commit. So a clock
 * that is wrong, or is set right while we run, ends nothing, and one that was set back gives no time back. Where the clock
 * had never been set, nobody knows how long the stop was: it counts for nothing.
 */
export function createStoreTime(clock: Clock, kept: KeptTime): () => Now {
  const startedAt = clock.monotonic();
  const wall = (): Milliseconds => Math.floor(clock.wall());
  const known = kept.storeTime + kept.wallAhead >= EARLIEST_WALL;
  const startTime = known ? Math.max(kept.storeTime, wall() - kept.wallAhead) : kept.storeTime;
  let ahead = kept.wallAhead;
  return () => {
    const now = { at: startTime + Math.floor(clock.monotonic() - startedAt), wall: wall() };
    ahead = Math.max(ahead, now.wall - now.at);
    return { ...now, ahead };
  };
}

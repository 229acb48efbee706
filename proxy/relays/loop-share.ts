import type { Clock, Milliseconds } from '../../shared/clock.ts';

/** So much at a stretch, then all else that waits has its turn: phones' connections, other relays, timers. */
const TURN_MS: Milliseconds = 10;
/** So many seconds' worth can be saved up: at the usual limit half a minute, several times what a million devices take. */
const SAVED_S = 120;
/** The longest that a lane is left unread: its beats have to be heard. */
const LONGEST_HOLD_MS: Milliseconds = 2_000;
/** It is told once in such a time while it lasts. */
const TOLD_EACH_MS: Milliseconds = 60_000;

/**
 * What frames of one relay may take of the main thread, over all its links: those of control lanes have one, those of stream
 * lanes another. Their number says little: a frame may
 * tell of one device or of two thousand, and the last part of a snapshot writes all marks. So it is their time that counts.
 * Nobody is cut for it: the lane is read more slowly, and the relay has to wait.
 */
export interface LoopShare {
  /**
   * A frame took so long; less than nothing where it made good for others.
   *
   * @param atAStretch - of it, what counts until all else has its turn
   * @returns how long no more are to be read: 0 = until all else has had its turn, null = go on
   */
  spent(ms: Milliseconds, atAStretch?: Milliseconds): Milliseconds | null;
  /** In all, since the proxy started: what its frames took, and how long they were not read because they took too much. */
  total(): { busyMs: Milliseconds; heldBackMs: Milliseconds };
}

/**
 * @param msPerSecond - of each second, in the long run; what was not used is saved up
 * @param onHeldBack - told when the relay begins to wait, and each minute while it goes on
 */
export function createLoopShare(options: {
  msPerSecond: number;
  clock: Clock;
  onHeldBack: () => void;
}): LoopShare {
  const { msPerSecond, clock } = options;
  const most = SAVED_S * msPerSecond;
  let left = most;
  let filledAt = clock.monotonic();
  let turn = 0;
  let toldAt = -Infinity;
  /** Until when the relay waits: frames that had been read by then change nothing about it. */
  let heldUntil = 0;
  const sum = { busyMs: 0, heldBackMs: 0 };

  return {
    spent(ms, atAStretch = ms) {
      const now = clock.monotonic();
      left = Math.min(most, left + ((now - filledAt) * msPerSecond) / 1_000) - ms;
      filledAt = now;
      if (ms > 0) sum.busyMs += ms;
      if (atAStretch > 0) turn += atAStretch;
      if (left < 0) {
        turn = 0;
        // Its other lanes wait with it.
        if (now < heldUntil) return heldUntil - now;
        const hold = Math.min((-left / msPerSecond) * 1_000, LONGEST_HOLD_MS);
        heldUntil = now + hold;
        sum.heldBackMs += hold;
        if (now - toldAt >= TOLD_EACH_MS) {
          toldAt = now;
          options.onHeldBack();
        }
        return hold;
      }
      if (turn < TURN_MS) return null;
      turn = 0;
      return 0;
    },
    total: () => ({ ...sum }),
  };
}

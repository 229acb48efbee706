import type { Clock, Milliseconds, Timer } from '../../shared/clock.ts';
import type { Flow } from '../../shared/splice.ts';

/** What one flow is given at its turn. */
export const TURN_BYTES = 65_536;
/** A flow that has moved no more than this within {@link SMALL_MS} waits for no turn: sessions are that small. */
export const SMALL_BYTES = 65_536;
export const SMALL_MS: Milliseconds = 1_000;
/** How often turns are given while any flow waits. */
const TICK_MS: Milliseconds = 10;
/** The most that an idle site saves up, as a part of a second. */
const SAVED_S = 0.1;

/** Holds all flows of one site, in one direction, to a rate. */
export interface Pace {
  /** For one connection. */
  flow(): Flow;
}

/**
 * A token bucket whose tokens are dealt out in turn, so that each of many bulk flows gets the same. What has passed is
 * paid afterwards: whoever owes waits until turns have paid for him. Small flows pay too, and never wait, so what they
 * move is taken from bulk; the rate is exceeded only where small flows alone exceed it.
 *
 * @param bytesPerSecond - above 0
 */
export function createPace(bytesPerSecond: number, clock: Clock): Pace {
  const most = Math.max(TURN_BYTES, bytesPerSecond * SAVED_S);
  /** In the order of their turns, with what is paid ahead (negative: what is owed). */
  const waiting = new Set<Waiter>();
  let tokens = most;
  let filledAt = clock.monotonic();
  let timer: Timer | null = null;

  function fill(): void {
    const now = clock.monotonic();
    tokens = Math.min(most, tokens + ((now - filledAt) / 1_000) * bytesPerSecond);
    filledAt = now;
  }

  function turn(): void {
    timer = null;
    fill();
    while (tokens > 0 && waiting.size > 0) {
      const [next] = waiting;
      if (next === undefined) break;
      waiting.delete(next);
      tokens -= TURN_BYTES;
      next.paid += TURN_BYTES;
      if (next.paid > 0) next.resume();
      else waiting.add(next);
    }
    if (waiting.size > 0) timer ??= clock.after(TICK_MS, turn);
  }

  return {
    flow() {
      const own: Waiter = { paid: 0, resume: () => undefined };
      let recent = 0;
      let since = clock.monotonic();
      return {
        passed(bytes, resume) {
          const now = clock.monotonic();
          if (now - since >= SMALL_MS) {
            recent = 0;
            since = now;
          }
          recent += bytes;
          own.paid -= bytes;
          if (own.paid >= 0) return true;
          if (recent <= SMALL_BYTES && !waiting.has(own)) {
            fill();
            tokens += own.paid;
            own.paid = 0;
            return true;
          }
          own.resume = resume;
          waiting.add(own);
          timer ??= clock.after(TICK_MS, turn);
          return false;
        },
        over() {
          waiting.delete(own);
          // What it still owes, the others pay for.
          tokens += Math.min(0, own.paid);
          own.paid = 0;
        },
      };
    },
  };
}

interface Waiter {
  /** Bytes paid ahead; negative: owed. */
  paid: number;
  resume: () => void;
}

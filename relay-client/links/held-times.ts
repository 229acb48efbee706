import type { Clock, Milliseconds } from '../../shared/clock.ts';

/**
 * When the proxies held what: the wall time at which the last linked one had applied a sequence. In memory only, for
 * people: to write it down would cost each push a second commit.
 */
export interface HeldTimes {
  /** All linked proxies have applied everything up to `seq`. */
  reached(seq: number): void;
  /** When `seq` was reached, or at most {@link STEP_MS} later; null = not yet, or so long ago that it is forgotten. */
  at(seq: number): Milliseconds | null;
  /** The outbox counts anew. */
  forget(): void;
}

/** Steps that are remembered: a day and more of a push each two seconds, ten minutes of pushes without a pause. */
export const STEPS = 65_536;
/** Whatever is reached within so long is one step. */
export const STEP_MS: Milliseconds = 10;

export function createHeldTimes(clock: Clock): HeldTimes {
  const seqs = new Float64Array(STEPS);
  const times = new Float64Array(STEPS);
  /** Steps ever made; the last {@link STEPS} of them are there. */
  let count = 0;
  /** What was reached before the first one that is there. */
  let floor = -1;
  let begun = -Infinity;
  const place = (n: number): number => n % STEPS;

  return {
    reached(seq) {
      const last = count === 0 ? floor : (seqs[place(count - 1)] ?? -1);
      if (seq <= last) return;
      const now = clock.monotonic();
      if (count === 0 && floor < 0) {
        // What was there at the first sight of it came no one knows when.
        floor = seq;
        return;
      }
      if (count > 0 && now - begun < STEP_MS) {
        seqs[place(count - 1)] = seq;
        times[place(count - 1)] = clock.wall();
        return;
      }
      if (count >= STEPS) floor = seqs[place(count)] ?? floor;
      seqs[place(count)] = seq;
      times[place(count)] = clock.wall();
      begun = now;
      count++;
    },
    at(seq) {
      if (count === 0 || seq <= floor || seq > (seqs[place(count - 1)] ?? -1)) return null;
      let [low, high] = [Math.max(0, count - STEPS), count - 1];
      while (low < high) {
        const middle = (low + high) >> 1;
        if ((seqs[place(middle)] ?? 0) >= seq) high = middle;
        else low = middle + 1;
      }
      return times[place(low)] ?? null;
    },
    forget() {
      count = 0;
      floor = -1;
    },
  };
}

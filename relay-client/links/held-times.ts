import type { Clock, Milliseconds } from '../../shared/clock.ts';

/** Since when a proxy holds something. */
export interface Held {
  /** Wall time. */
  since: Milliseconds;
  /** False: it holds it since then or longer. */
  exact: boolean;
}

/**
 * When one proxy held what: the wall time at which it had applied a sequence. In memory only, for people: to write it down
 * would cost each push a second commit. What a proxy held before anybody looked it holds since then at the latest.
 */
export interface HeldTimes {
  /** A link was made, and the proxy holds everything up to `seq` from before; null = nothing. */
  linked(seq: number | null): void;
  /** It has applied everything up to `seq`. */
  reached(seq: number): void;
  /** Since when it holds `seq`, exact to {@link STEP_MS}; null = it does not, as far as it has said. */
  at(seq: number): Held | null;
  /** The outbox counts anew. */
  forget(): void;
}

/** Steps that are remembered: a day and more of a push each two seconds, ten minutes of pushes without a pause. */
export const STEPS = 65_536;
/** Whatever is reached within so long is one step. */
export const STEP_MS: Milliseconds = 10;

export function createHeldTimes(clock: Clock): HeldTimes {
  const seqs = new Float64Array(STEPS);
  /** Below 0: the step was reached by then at the latest. */
  const times = new Float64Array(STEPS);
  /** Steps ever made; the last {@link STEPS} of them are there. */
  let count = 0;
  /** What was reached before the first one that is there, and by when; -1 = nothing. */
  let floor = -1;
  let floorAt = 0;
  let begun = -Infinity;
  const place = (n: number): number => n % STEPS;
  const last = (): number => (count === 0 ? floor : (seqs[place(count - 1)] ?? -1));

  function step(seq: number, exact: boolean): void {
    if (count >= STEPS) {
      floor = seqs[place(count)] ?? floor;
      floorAt = Math.abs(times[place(count)] ?? floorAt);
    }
    seqs[place(count)] = seq;
    times[place(count)] = exact ? clock.wall() : -clock.wall();
    count++;
  }

  function startAt(seq: number): void {
    count = 0;
    floor = seq;
    floorAt = clock.wall();
    begun = -Infinity;
  }

  return {
    linked(seq) {
      const held = seq ?? -1;
      // What it has lost since it holds anew once it is told.
      if (last() === -1 || held < last()) return startAt(held);
      if (held === last()) return;
      // Another relay has told it more.
      step(held, false);
      begun = -Infinity;
    },
    reached(seq) {
      if (seq <= last()) return;
      const now = clock.monotonic();
      if (count > 0 && now - begun < STEP_MS) {
        seqs[place(count - 1)] = seq;
        times[place(count - 1)] = clock.wall();
        return;
      }
      begun = now;
      step(seq, true);
    },
    at(seq) {
      if (seq > last()) return null;
      if (seq <= floor) return { since: floorAt, exact: false };
      let [low, high] = [Math.max(0, count - STEPS), count - 1];
      while (low < high) {
        const middle = (low + high) >> 1;
        if ((seqs[place(middle)] ?? 0) >= seq) high = middle;
        else low = middle + 1;
      }
      const time = times[place(low)] ?? 0;
      return { since: Math.abs(time), exact: time > 0 };
    },
    forget: () => startAt(-1),
  };
}

import type { Clock, Milliseconds } from '../../shared/clock.ts';
import { describeError, isSallyportError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { PollRate } from './proxy-figures.ts';

/** The last hour in steps, so that whoever opens the dashboard sees what came before. A restart forgets it. */
export interface Series {
  /** Oldest first, those after `after` (wall time). */
  points(after: Milliseconds): readonly SeriesPoint[];
  /** A phone has come for work that could be offered to it for `waited`. */
  pickedUp(waited: Milliseconds): void;
  sessionEnded(): void;
  /** The pick-ups of the last {@link PICKUPS_MS}; null = there were none. */
  pickups(): Pickups | null;
  close(): void;
}

/** What a step came to; its end is at `at`, wall time. */
export interface SeriesPoint {
  at: Milliseconds;
  /** Polls per second that all linked proxies told of; null = none did. */
  polls: PollRate | null;
  /** Messages held at its end; null where the outbox gave no answer. */
  held: number | null;
  /** Sessions running at its end. */
  sessions: number;
  /** Sessions that ended in it. */
  ended: number;
  /** Of the phones that came in it; null = none came. */
  pickups: Pickups | null;
}

export interface Pickups {
  count: number;
  median: Milliseconds;
  longest: Milliseconds;
}

/** A step of the series. */
export const STEP_MS: Milliseconds = 10_000;
/** Points that are kept: an hour. */
export const POINTS = 360;
/** For how long pick-ups are summed up as "now". */
export const PICKUPS_MS: Milliseconds = 10 * 60_000;
/** Pick-ups remembered for that, and in one step; the oldest go first. */
const MOST_PICKUPS = 1_000;

export interface SeriesParts {
  polls: () => PollRate | null;
  held: () => Promise<number>;
  sessions: () => number;
  clock: Clock;
  log: Log;
}

export function createSeries({ polls, held, sessions, clock, log }: SeriesParts): Series {
  const points: SeriesPoint[] = [];
  const recent: { at: Milliseconds; waited: Milliseconds }[] = [];
  let step: Milliseconds[] = [];
  let ended = 0;
  let taking = false;

  async function take(): Promise<void> {
    const point = { polls: polls(), sessions: sessions(), ended, pickups: sumUp(step) };
    step = [];
    ended = 0;
    const messages = await held().catch((error: unknown) => {
      if (!isSallyportError(error, 'CLOSED'))
        log.warn('the outbox gave no figures for the dashboard', { error: describeError(error) });
      return null;
    });
    points.push({ ...point, at: clock.wall(), held: messages });
    if (points.length > POINTS) points.shift();
  }

  const timer = clock.every(STEP_MS, () => {
    // An outbox that hangs makes a gap, not a heap of questions.
    if (taking) return;
    taking = true;
    void take().finally(() => (taking = false));
  });

  return {
    points: (after) => points.filter(({ at }) => at > after),
    pickedUp(waited) {
      step.push(waited);
      recent.push({ at: clock.monotonic(), waited });
      if (step.length > MOST_PICKUPS) step.shift();
      if (recent.length > MOST_PICKUPS) recent.shift();
    },
    sessionEnded: () => void ended++,
    pickups() {
      const since = clock.monotonic() - PICKUPS_MS;
      return sumUp(recent.filter(({ at }) => at >= since).map(({ waited }) => waited));
    },
    close: () => timer.cancel(),
  };
}

function sumUp(waited: readonly Milliseconds[]): Pickups | null {
  const sorted = waited.toSorted((a, b) => a - b);
  const median = sorted[Math.floor((sorted.length - 1) / 2)];
  const longest = sorted.at(-1);
  if (median === undefined || longest === undefined) return null;
  return { count: sorted.length, median, longest };
}

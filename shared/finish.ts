import type { Clock, Milliseconds } from './clock.ts';

const LOOK_MS: Milliseconds = 50;

/**
 * How long phones without a connection are waited for, though their session runs: some open one for each message. Who
 * does not come back within this will not.
 */
export const AWAY_MS: Milliseconds = 2_000;

/** From the proxies' hearing that we go away to the first word on the last connection that they have led here. */
export const LAST_WORD_MS: Milliseconds = 1_000;

/** What runs, as far as the end waits for it. */
export interface Unfinished {
  /** Those of the sessions waited for that still run. */
  sessions(): number;
  connections(): number;
}

/** Resolves once no session runs, or nobody is there any more who could end one, or at `until`. */
export function sessionsFinished(parts: Unfinished, clock: Clock, until: Milliseconds): Promise<void> {
  let seenAt = clock.monotonic();
  return waitFor(clock, until, (now) => {
    if (parts.connections() > 0) seenAt = now;
    return parts.sessions() === 0 || now - seenAt >= AWAY_MS;
  });
}

/**
 * Resolves once what began just before has been told of, and is finished. A relay tells of a session on a lane of its own, so
 * a phone may have its first answer, and be about to open its next connection, before the proxy has heard that it has one.
 */
export async function toldOnesFinished(parts: Unfinished, clock: Clock, until: Milliseconds): Promise<void> {
  await waitFor(clock, Math.min(until, clock.monotonic() + LAST_WORD_MS), () => false);
  await sessionsFinished(parts, clock, until);
}

/** Resolves once those who came last have had the time to begin, and what they began is finished. */
export async function lastOnesFinished(parts: Unfinished, clock: Clock, until: Milliseconds): Promise<void> {
  const begun = Math.min(until, clock.monotonic() + LAST_WORD_MS);
  await waitFor(clock, begun, () => parts.connections() === 0);
  await sessionsFinished(parts, clock, until);
}

function waitFor(clock: Clock, until: Milliseconds, holds: (now: Milliseconds) => boolean): Promise<void> {
  const over = (): boolean => {
    const now = clock.monotonic();
    return holds(now) || now >= until;
  };
  return new Promise((resolve) => {
    if (over()) return resolve();
    const timer = clock.every(LOOK_MS, () => {
      if (!over()) return;
      timer.cancel();
      resolve();
    });
  });
}

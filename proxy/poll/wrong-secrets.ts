import type { Clock, Milliseconds, Timer } from '../../shared/clock.ts';
import type { Log } from '../../shared/log.ts';

/** However many there are, one line tells of them in this time. */
const TELL_MS: Milliseconds = 60_000;

/**
 * Logs how many polls came without the right secret, at most once a minute. It goes by counters that are read apart from the polls, so
 * nothing that a poll does takes longer for it; ids are not told, since a guess is no device's doing.
 *
 * @param count - of such polls since the start
 */
export function watchWrongSecrets(parts: { count: () => number; clock: Clock; log: Log }): Timer {
  let told = parts.count();
  return parts.clock.every(TELL_MS, () => {
    const total = parts.count();
    if (total > told) parts.log.warn('polls without the right secret', { polls: total - told, total });
    told = total;
  });
}

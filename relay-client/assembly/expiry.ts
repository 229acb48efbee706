import type { Clock, Milliseconds, Timer } from '../../shared/clock.ts';
import { describeError, isSallyportError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { Outbox } from '../outbox/outbox.ts';

/** How often messages past their time are ended. Polls do not wait for it: marks expire by themselves. */
const EXPIRY_CHECK_MS: Milliseconds = 1_000;

/** Ends what is past its time, until it is cancelled. */
export function startExpiry({ outbox, clock, log }: { outbox: Outbox; clock: Clock; log: Log }): Timer {
  async function look(): Promise<void> {
    const next = await outbox.nextExpiry();
    if (next !== null && next <= 0) await outbox.expire();
  }
  return clock.every(EXPIRY_CHECK_MS, () => {
    look().catch((error: unknown) => {
      if (isSallyportError(error, 'OUTBOX_UNAVAILABLE')) return;
      log.error('expiry failed', { why: describeError(error) });
    });
  });
}

import type { Clock, Milliseconds } from '../shared/clock.ts';

/** Phones' connections that wait for the next link of a site, as its last one was lost just now. */
export interface LinkWait {
  /** A link serves the site: nobody waits any longer. */
  served(): void;
  /** The last link was lost: who comes soon after may wait for the next one. */
  lost(): void;
  /**
   * Resolves to true once a link serves, to false when none does within `withinMs` of the loss of the last one. So nobody
   * waits for a relay that is gone for good.
   */
  until(withinMs: Milliseconds): Promise<boolean>;
}

export function createLinkWait(clock: Clock): LinkWait {
  let lostAt = clock.monotonic();
  const waiting = new Set<() => void>();

  return {
    served() {
      for (const wake of [...waiting]) wake();
    },
    lost() {
      lostAt = clock.monotonic();
    },
    until(withinMs) {
      const left = lostAt + withinMs - clock.monotonic();
      if (left <= 0) return Promise.resolve(false);
      return new Promise((resolve) => {
        const settle = (found: boolean) => (): void => {
          waiting.delete(wake);
          late.cancel();
          resolve(found);
        };
        const wake = settle(true);
        const late = clock.after(left, settle(false));
        waiting.add(wake);
      });
    },
  };
}

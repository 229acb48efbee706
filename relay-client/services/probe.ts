import type { Clock, Milliseconds } from '../../shared/clock.ts';
import { describeError } from '../../shared/errors.ts';
import type { ServiceHealth } from './service.ts';

/** Knows whether upstream can be reached, from its own tries and from what sessions meet. */
export interface Probe {
  health(): ServiceHealth;
  /** Calls back on each change of health. Returns the way to stop. */
  onHealth(listener: (health: ServiceHealth) => void): () => void;
  /** A session reached upstream: it's up, at once. */
  succeeded(): void;
  /** A session could not reach upstream: it's down, at once. */
  failed(error: unknown): void;
  close(): void;
}

/**
 * Tries upstream at once and then each `periodMs`, except when a session has just reached it. Down until the first
 * success. A try is over within the dial's own time limit, and there's one at a time.
 *
 * @param attempt - one try; returns the way to give it up
 */
export function createProbe(options: {
  clock: Clock;
  periodMs: Milliseconds;
  attempt: (done: (error: Error | null) => void) => () => void;
}): Probe {
  const { clock, periodMs, attempt } = options;
  const listeners = new Set<(health: ServiceHealth) => void>();
  let health: ServiceHealth = { up: false, why: 'not tried yet', since: clock.wall() };
  let lastSuccess = -Infinity;
  let giveUp: (() => void) | null = null;
  let closed = false;

  const become = (up: boolean, why: string | null): void => {
    if (closed || (health.up === up && health.why === why)) return;
    const turned = health.up !== up;
    health = { up, why, since: turned ? clock.wall() : health.since };
    for (const listener of [...listeners]) listener(health);
  };
  const succeeded = (): void => {
    lastSuccess = clock.monotonic();
    become(true, null);
  };
  const failed = (error: unknown): void => {
    lastSuccess = -Infinity;
    become(false, describeError(error));
  };
  const tick = (): void => {
    if (giveUp !== null || clock.monotonic() - lastSuccess < periodMs) return;
    let over = false;
    const stop = attempt((error) => {
      over = true;
      giveUp = null;
      if (error === null) succeeded();
      else failed(error);
    });
    if (!over) giveUp = stop;
  };

  const timer = clock.every(periodMs, tick);
  tick();
  return {
    health: () => health,
    onHealth(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    succeeded,
    failed,
    close() {
      closed = true;
      timer.cancel();
      giveUp?.();
      giveUp = null;
      listeners.clear();
    },
  };
}

import type { Clock, Milliseconds } from '../../shared/clock.ts';
import type { WarningEvent } from './warnings.ts';

/** A warning of one kind and device, with how often it came since it was first remembered. */
export interface RecentWarning extends WarningEvent {
  /** Wall time of the last one that was told. */
  readonly at: Milliseconds;
}

/** The newest warnings of the whole relay, newest first. A restart forgets them. */
export interface RecentWarnings {
  add(warning: WarningEvent): void;
  list(): readonly RecentWarning[];
}

/** Warnings that are remembered; the one that came longest ago is forgotten. */
export const RECENT_WARNINGS = 200;

export function createRecentWarnings(clock: Clock): RecentWarnings {
  /** The one that came longest ago first. */
  const kept = new Map<string, RecentWarning>();
  return {
    add(warning) {
      const key = `${warning.what} ${warning.device ?? ''}`;
      const before = kept.get(key)?.count ?? 0;
      kept.delete(key);
      kept.set(key, { ...warning, count: before + warning.count, at: clock.wall() });
      const [oldest] = kept.keys();
      if (kept.size > RECENT_WARNINGS && oldest !== undefined) kept.delete(oldest);
    },
    list: () => [...kept.values()].reverse(),
  };
}

import { LRUCache } from 'lru-cache';
import type { Clock, Milliseconds } from '../../shared/clock.ts';
import type { DeviceId } from '../../shared/device-id.ts';
import type { Log } from '../../shared/log.ts';
import { describeWarning } from './kinds.ts';
import type { Warn, Warning, WarningFacts } from './kinds.ts';

/** What a device was warned about, of one kind. */
export interface DeviceWarning {
  readonly what: Warning;
  /** How often since it was first remembered. */
  readonly count: number;
  /** Wall time of the last one. */
  readonly at: Milliseconds;
  /** The last one, in one line. */
  readonly sentence: string;
}

/** A warning as it is told to whoever follows events. */
export interface WarningEvent {
  readonly device: DeviceId | null;
  readonly what: Warning;
  readonly sentence: string;
  readonly facts: Readonly<Record<string, string | number | boolean | null>>;
  /** How many of this kind and device came since the last one that was told, this one included. */
  readonly count: number;
}

export interface WarningsOptions {
  clock: Clock;
  log: Log;
  /** Every single one is counted. */
  count: (what: Warning) => void;
  /** Told at most once in {@link TOLD_MS} for each kind and device. */
  tell: (event: WarningEvent) => void;
}

/** Gathers what is warned of: counts it, logs it, tells it, and remembers it for `why`. A restart forgets it. */
export interface Warnings {
  readonly warn: Warn;
  /** Of one device, the newest first; at most one for each kind. */
  of(device: DeviceId): DeviceWarning[];
}

/** Within this time a warning of one kind is logged once, and told once for each device. */
export const TOLD_MS: Milliseconds = 60_000;

/** Devices whose warnings are remembered; the one not warned of for longest is forgotten. */
export const WARNED_DEVICES = 20_000;

interface Seen {
  count: number;
  at: Milliseconds;
  facts: WarningFacts;
  toldAt: Milliseconds;
  untold: number;
}

/** Devices and what stands for "no device". */
type Key = DeviceId | '';

export function createWarnings({ clock, log, count, tell }: WarningsOptions): Warnings {
  const seen = new LRUCache<Key, Map<Warning, Seen>>({ max: WARNED_DEVICES });
  const logged = new Map<Warning, { at: Milliseconds; unlogged: number }>();

  const write = (what: Warning, facts: WarningFacts, now: Milliseconds): void => {
    const last = logged.get(what);
    if (last !== undefined && now - last.at < TOLD_MS) {
      last.unlogged += 1;
      return;
    }
    logged.set(what, { at: now, unlogged: 0 });
    log.warn('something deserves a look', { what, ...facts, unlogged_before: last?.unlogged ?? 0 });
  };

  return {
    warn(what, facts) {
      count(what);
      const now = clock.monotonic();
      write(what, facts, now);
      const key: Key = facts.device ?? '';
      const kinds = seen.get(key) ?? new Map<Warning, Seen>();
      seen.set(key, kinds);
      const one = kinds.get(what) ?? { count: 0, at: 0, facts, toldAt: -Infinity, untold: 0 };
      kinds.set(what, one);
      one.count += 1;
      one.at = clock.wall();
      one.facts = facts;
      one.untold += 1;
      if (now - one.toldAt < TOLD_MS) return;
      const { device, ...rest } = facts;
      const sentence = describeWarning(what, facts);
      const event = { device, what, sentence, facts: rest, count: one.untold };
      one.toldAt = now;
      one.untold = 0;
      tell(event);
    },
    of(device) {
      const kinds = [...(seen.peek(device) ?? [])];
      return kinds
        .map(([what, { count: times, at, facts }]) => ({
          what,
          count: times,
          at,
          sentence: describeWarning(what, facts),
        }))
        .sort((a, b) => b.at - a.at);
    },
  };
}

import { LRUCache } from 'lru-cache';
import type { Clock, Milliseconds } from '../../shared/clock.ts';
import type { DeviceId } from '../../shared/device-id.ts';
import type { Warn } from './kinds.ts';

export interface ArrivalsOptions {
  clock: Clock;
  /** How long a phone that was told 202 may take. */
  within: Milliseconds;
  /** Whether something is still pending for the device. */
  pending: (device: DeviceId) => boolean;
  warn: Warn;
}

/** Watches whether phones that were told 202 come. */
export interface Arrivals {
  /** A proxy has answered a poll, so long ago. */
  polled(device: DeviceId, status: 200 | 202, agoMs: Milliseconds): void;
  /** A session of the device began. */
  came(device: DeviceId): void;
  close(): void;
}

/** Phones waited for; beyond it the one waited for longest is let go. */
export const AWAITED_DEVICES = 100_000;
/** Phones whose last session is remembered: polls are told up to a second late, so a session may come first. */
const RECENT_DEVICES = 20_000;
const LOOK_MS: Milliseconds = 1_000;

export function createArrivals({ clock, within, pending, warn }: ArrivalsOptions): Arrivals {
  /** Since when each is waited for, the longest first. */
  const awaited = new Map<DeviceId, Milliseconds>();
  const sessions = new LRUCache<DeviceId, Milliseconds>({ max: RECENT_DEVICES });

  const look = (): void => {
    const due = clock.monotonic() - within;
    for (const [device, since] of awaited) {
      if (since > due) break;
      awaited.delete(device);
      if (pending(device)) warn('not-coming', { device, waited_s: Math.round(within / 1000) });
    }
  };
  const timer = clock.every(LOOK_MS, look);

  return {
    polled(device, status, agoMs) {
      if (status !== 202 || awaited.has(device)) return;
      const since = clock.monotonic() - agoMs;
      if ((sessions.get(device) ?? -Infinity) >= since) return;
      awaited.set(device, since);
      if (awaited.size <= AWAITED_DEVICES) return;
      for (const oldest of awaited.keys()) {
        awaited.delete(oldest);
        break;
      }
    },
    came(device) {
      awaited.delete(device);
      sessions.set(device, clock.monotonic());
    },
    close: () => timer.cancel(),
  };
}

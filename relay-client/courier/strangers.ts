import { LRUCache } from 'lru-cache';
import type { Clock, Milliseconds } from '../../shared/clock.ts';
import type { DeviceId } from '../../shared/device-id.ts';

/** How long secrets are put off once a phone came that is not proven; each time twice as long, up to the longest. */
const FIRST_WAIT_MS: Milliseconds = 60_000;
const LONGEST_WAIT_MS: Milliseconds = 3_600_000;
/** Devices remembered, of either kind; one that is forgotten begins anew. */
const DEVICES = 100_000;

/**
 * For how long what a phone may not be told is not offered to it: a 202 says that a session could succeed. Anybody can come
 * in a phone's name, so the wait is bounded, and there is none for a device that has proven itself.
 */
export interface Strangers {
  /** Somebody came in the device's name and is not proven. @returns how long secrets are put off; 0 = they are not */
  refused(device: DeviceId): Milliseconds;
  /** The phone itself has come. @returns whether anything was put off for it */
  proven(device: DeviceId): boolean;
}

export function createStrangers(clock: Clock): Strangers {
  const waits = new LRUCache<DeviceId, { times: number; until: Milliseconds }>({ max: DEVICES });
  const known = new LRUCache<DeviceId, true>({ max: DEVICES });
  return {
    refused(device) {
      if (known.get(device) === true) return 0;
      const now = clock.monotonic();
      const last = waits.get(device);
      // What falls due in the wait, or is pushed in it, waits as long as the rest.
      if (last !== undefined && now < last.until) return last.until - now;
      const times = last?.times ?? 0;
      const wait = Math.min(FIRST_WAIT_MS * 2 ** times, LONGEST_WAIT_MS);
      waits.set(device, { times: Math.min(times + 1, 16), until: now + wait });
      return wait;
    },
    proven(device) {
      known.set(device, true);
      return waits.delete(device);
    },
  };
}

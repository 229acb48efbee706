import { LRUCache } from 'lru-cache';
import type { Clock, Milliseconds } from '../../shared/clock.ts';
import type { DeviceId } from '../../shared/device-id.ts';
import type { Warn } from './kinds.ts';

/** Devices whose last contact is remembered. */
const CONTACTED_DEVICES = 20_000;

/**
 * Warns of services that contact a phone twice within `gap`: here it costs nothing, but the phone itself might not
 * survive it, and the service will contact others that way too.
 *
 * @returns what is to be called at each contact
 */
export function createContactCheck(options: {
  clock: Clock;
  gap: Milliseconds;
  warn: Warn;
}): (device: DeviceId) => void {
  const { clock, gap, warn } = options;
  const last = new LRUCache<DeviceId, Milliseconds>({ max: CONTACTED_DEVICES });
  return (device) => {
    const now = clock.monotonic();
    const after = now - (last.get(device) ?? -Infinity);
    last.set(device, now);
    if (after < gap) warn('contacted-often', { device, after_s: Math.floor(after / 1000) });
  };
}

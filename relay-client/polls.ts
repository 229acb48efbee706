import { LRUCache } from 'lru-cache';
import type { Clock } from '../shared/clock.ts';
import type { DeviceId } from '../shared/device-id.ts';
import type { PollSeen, UnknownDevice } from './desk.ts';
import type { PollsFrame } from '../shared/protocol.ts';

/** Devices of which the last poll is remembered; those that polled longest ago are forgotten first. */
const DEVICES = 1_000_000;
/** Unknown devices that are remembered. */
const UNKNOWN = 1_000;

/** What proxies told of polls. It is for people: nothing is decided by it, and a restart forgets it. */
export interface Polls {
  take(proxy: string, frame: PollsFrame): void;
  last(device: DeviceId): PollSeen | null;
  unknown(): UnknownDevice[];
  /** The outbox has heard of this device now. */
  forgetUnknown(device: DeviceId): void;
}

export function createPolls(clock: Clock): Polls {
  // A Map keeps the order of insertion, and unlike the cache it takes no room before it is filled.
  const seen = new Map<DeviceId, PollSeen>();
  const unknown = new LRUCache<string, UnknownDevice>({ max: UNKNOWN });
  return {
    take(proxy, frame) {
      const now = clock.wall();
      for (const { device, agoMs, status } of frame.polls) {
        const id = device as DeviceId;
        const at = now - agoMs;
        // Several proxies may tell of one device, and not in order.
        if ((seen.get(id)?.at ?? 0) > at) continue;
        seen.delete(id);
        seen.set(id, { device: id, at, status, proxy });
        unknown.delete(device);
      }
      for (const oldest of seen.keys()) {
        if (seen.size <= DEVICES) break;
        seen.delete(oldest);
      }
      for (const { device, agoMs, address } of frame.unknown) {
        unknown.set(device, { device, at: now - agoMs, address, proxy });
      }
    },
    last: (device) => seen.get(device) ?? null,
    unknown: () => [...unknown.values()],
    forgetUnknown: (device) => void unknown.delete(device),
  };
}

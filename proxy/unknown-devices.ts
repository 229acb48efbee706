import { LRUCache } from 'lru-cache';
import type { Milliseconds } from '../shared/clock.ts';
import type { DeviceId } from '../shared/device-id.ts';

/** How many unknown devices are remembered of each site; the one heard of longest ago makes room. */
export const UNKNOWN_DEVICES = 1_000;

/** A device id that polls and has no mark: most often a mistyped MAC. */
export interface UnknownDevice {
  site: string;
  device: DeviceId;
  /** When it polled last, `clock.monotonic()`. */
  at: Milliseconds;
  /** Where that poll came from; null where the socket could not tell. */
  address: string | null;
  /** How many of its polls were noticed; under a flood of unknown ids not all are. */
  polls: number;
}

/** What polled lately without being known. It serves support only: no decision reads it. */
export interface UnknownDevices {
  note(seen: UnknownDevice): void;
  /** Of each site the latest first. */
  list(site?: string): UnknownDevice[];
  /** Those of a site that have polled since they were last asked for by this call. */
  news(site: string): UnknownDevice[];
  /** Takes a device off the list once it is known. */
  forget(site: string, device: DeviceId): void;
}

/** @param limit - how many to remember of each site, so that no site's flood pushes out another's; default {@link UNKNOWN_DEVICES} */
export function createUnknownDevices(limit: number = UNKNOWN_DEVICES): UnknownDevices {
  // Whether one is news does not go by its time: workers tell of a poll up to a second after it came.
  type Ring = LRUCache<DeviceId, { seen: UnknownDevice; told: boolean }>;
  const rings = new Map<string, Ring>();
  const ringOf = (site: string): Ring => {
    const ring = rings.get(site) ?? new LRUCache({ max: limit });
    rings.set(site, ring);
    return ring;
  };
  return {
    note(seen) {
      const ring = ringOf(seen.site);
      const polls = (ring.peek(seen.device)?.seen.polls ?? 0) + seen.polls;
      ring.set(seen.device, { seen: { ...seen, polls }, told: false });
    },
    list: (site) =>
      [...rings]
        .filter(([name]) => site === undefined || name === site)
        .flatMap(([, ring]) => [...ring.values()].map(({ seen }) => seen)),
    news(site) {
      const news = [...ringOf(site).values()].filter(({ told }) => !told);
      for (const each of news) each.told = true;
      return news.map(({ seen }) => seen);
    },
    forget: (site, device) => void rings.get(site)?.delete(device),
  };
}

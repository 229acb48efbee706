import type { Milliseconds } from '../../shared/clock.ts';
import type { DeviceId } from '../../shared/device-id.ts';
import type { UnknownDevice } from '../unknown-devices.ts';

/**
 * Gathers polls of unknown devices between two reports, one entry for each device. Whoever floods the door with
 * made-up ids fills the report and no more; the rest is only counted.
 */
export interface UnknownReports {
  note(site: number, device: string, address: string | undefined): void;
  /** What has been gathered; the next report begins empty. */
  take(): UnknownDevice[];
}

/** @param limit - devices in one report */
export function createUnknownReports(
  siteNames: readonly string[],
  limit: number,
  now: () => Milliseconds,
): UnknownReports {
  let gathered = new Map<string, UnknownDevice>();
  return {
    note(site, device, address) {
      const key = `${site}/${device}`;
      const before = gathered.get(key);
      if (before !== undefined) {
        before.at = now();
        before.polls++;
      } else if (gathered.size < limit) {
        gathered.set(key, {
          site: siteNames[site] ?? '',
          device: device as DeviceId,
          at: now(),
          address: address ?? null,
          polls: 1,
        });
      }
    },
    take() {
      const taken = [...gathered.values()];
      gathered = new Map();
      return taken;
    },
  };
}

import type { Milliseconds } from '../../shared/clock.ts';
import type { DeviceId } from '../../shared/device-id.ts';
import type { UnknownDevice } from '../unknown-devices.ts';

/**
 * Gathers polls of unknown devices between two reports, one entry for each device. Whoever floods the door with
 * made-up ids fills the report and no more; the rest is only counted.
 */
export interface UnknownReports {
  /** Whether nothing more will be taken until the next report. */
  readonly full: boolean;
  note(site: number, device: string, address: string | null, at: Milliseconds): void;
  /** What has been gathered; the next report begins empty. */
  take(): UnknownDevice[];
}

/** @param limit - devices in one report */
export function createUnknownReports(siteNames: readonly string[], limit: number): UnknownReports {
  let gathered = new Map<string, UnknownDevice>();
  return {
    get full() {
      return gathered.size >= limit;
    },
    note(site, device, address, at) {
      const key = `${site}/${device}`;
      const before = gathered.get(key);
      const polls = (before?.polls ?? 0) + 1;
      if (before === undefined && gathered.size >= limit) return;
      gathered.set(key, { site: siteNames[site] ?? '', device: device as DeviceId, at, address, polls });
    },
    take() {
      const taken = [...gathered.values()];
      gathered = new Map();
      return taken;
    },
  };
}

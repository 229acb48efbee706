import { plainAddress } from '../../shared/address.ts';
import type { Milliseconds } from '../../shared/clock.ts';
import { DEVICE_ID_LIMIT, type DeviceId } from '../../shared/device-id.ts';
import { SITE_BYTES } from '../marks-layout.ts';
import type { UnknownDevice } from '../unknown-devices.ts';

/** Polls of unknown devices that a worker keeps of each site between two reports; later ones are only counted. */
export const UNKNOWN_RECORDS = 1_024;

/** A poll as {@link RequestReader} has read it. */
export interface NotedPoll {
  /** The site's number. */
  readonly site: number;
  /** The device id's canonical bytes, between {@link SITE_BYTES} and {@link keyEnd}. */
  readonly key: Uint8Array;
  readonly keyEnd: number;
}

/**
 * Gathers polls of unknown devices between two reports, one entry for each device. Whoever floods the door with
 * made-up ids fills the report and no more; the rest is only counted.
 */
export interface UnknownReports {
  /**
   * To be called for every poll: each is written down by the same work, and that of a known device is written over
   * by the next.
   *
   * @param known - 1 for a known device, which is not reported, else 0
   */
  note(poll: NotedPoll, address: string | null, at: Milliseconds, known: number): void;
  /** What has been gathered; the next report begins empty. */
  take(): UnknownDevice[];
}

/** @param limit - devices of one site in one report */
export function createUnknownReports(siteNames: readonly string[], limit: number): UnknownReports {
  // One place more than is kept: it takes the polls that are not.
  const places = UNKNOWN_RECORDS + 1;
  const all = places * Math.max(1, siteNames.length);
  const ids = Buffer.alloc(all * DEVICE_ID_LIMIT);
  const lengths = new Uint8Array(all);
  const times = new Float64Array(all);
  const addresses = new Array<string | null>(all).fill(null);
  /** By the site's number. */
  const kept = new Uint16Array(Math.max(1, siteNames.length));
  return {
    note(poll, address, at, known) {
      const { key, keyEnd, site } = poll;
      const before = kept[site] ?? 0;
      const place = site * places + before;
      const id = place * DEVICE_ID_LIMIT - SITE_BYTES;
      for (let i = SITE_BYTES; i < keyEnd; i++) ids[id + i] = key[i] ?? 0;
      lengths[place] = keyEnd - SITE_BYTES;
      times[place] = at;
      addresses[place] = address;
      // No Math.min: it branches, and with the places full, where it equals the limit for known devices only, the
      // processor guesses wrong for those.
      const free = (before - UNKNOWN_RECORDS) >>> 31;
      kept[site] = before + (free & (1 - known));
    },
    take() {
      const reports = siteNames.map((site, number) => {
        const gathered = new Map<DeviceId, UnknownDevice>();
        const first = number * places;
        for (let i = first; i < first + (kept[number] ?? 0); i++) {
          const id = i * DEVICE_ID_LIMIT;
          const device = ids.toString('latin1', id, id + (lengths[i] ?? 0)) as DeviceId;
          const polls = (gathered.get(device)?.polls ?? 0) + 1;
          if (polls === 1 && gathered.size >= limit) continue;
          const peer = addresses[i] ?? null;
          const address = peer === null ? null : plainAddress(peer);
          gathered.set(device, { site, device, at: times[i] ?? 0, address, polls });
        }
        return [...gathered.values()];
      });
      kept.fill(0);
      addresses.fill(null);
      return reports.flat();
    },
  };
}

import { LRUCache } from 'lru-cache';
import type { Clock, Milliseconds } from '../shared/clock.ts';
import type { DeviceId } from '../shared/device-id.ts';
import type { PollQuery, PolledDevice, UnknownDevice } from './desk.ts';
import { compareRanks } from './device-order.ts';
import { deviceMatcher } from './outbox/device-search.ts';
import type { DeviceRank } from './outbox/outbox.ts';
import type { PollsFrame } from '../shared/protocol.ts';

/** Devices of which the last poll is remembered; those that polled longest ago are forgotten first. */
const DEVICES = 1_000_000;
/** Unknown devices that are remembered. */
const UNKNOWN = 1_000;

/** Polls closer together than this are one: a phone that asks twice in a breath. */
const BREATH_MS: Milliseconds = 500;

/** Learns the usual wait quickly from shorter ones and slowly from longer ones, among which are missed polls. */
function learn(usual: Milliseconds | null, waited: Milliseconds): Milliseconds | null {
  if (waited < BREATH_MS) return usual;
  if (usual === null) return waited;
  return waited < usual ? usual + (waited - usual) / 2 : usual + Math.min(waited - usual, usual) / 8;
}

/** A poll is told up to so much later. */
const TELLING_MS: Milliseconds = 5_000;

/** Polls that a device should have made since its last one and did not; null = it isn't known how often it polls. */
export function missedPolls({ at, usual }: PolledDevice, now: Milliseconds): number | null {
  if (usual === null) return null;
  // A quarter is let pass: phones are no clocks.
  return Math.max(0, Math.floor((now - at - TELLING_MS - usual / 4) / usual));
}

/** What proxies told of polls. It is for people: nothing is decided by it, and a restart forgets it. */
export interface Polls {
  take(proxy: string, frame: PollsFrame): void;
  last(device: DeviceId): PolledDevice | null;
  /** `held`: whether something is held for a device. */
  rank(
    query: PollQuery,
    held: (device: DeviceId) => boolean,
  ): { devices: DeviceId[]; next: DeviceRank | null };
  /** How many devices have polled since the start, and how many of them not for so long. */
  late(than: Milliseconds): { heard: number; late: number };
  unknown(): UnknownDevice[];
  /** The outbox has heard of this device now. */
  forgetUnknown(device: DeviceId): void;
}

export function createPolls(clock: Clock): Polls {
  // A Map keeps the order of insertion, and unlike the cache it takes no room before it is filled.
  const seen = new Map<DeviceId, PolledDevice>();
  const unknown = new LRUCache<string, UnknownDevice>({ max: UNKNOWN });
  return {
    take(proxy, frame) {
      const now = clock.wall();
      for (const { device, agoMs, status } of frame.polls) {
        const id = device as DeviceId;
        const at = now - agoMs;
        const before = seen.get(id);
        // Several proxies may tell of one device, and not in order.
        if ((before?.at ?? 0) > at) continue;
        seen.delete(id);
        seen.set(id, {
          device: id,
          at,
          status,
          proxy,
          calledAt: status === 202 ? at : (before?.calledAt ?? null),
          usual: before === undefined ? null : learn(before.usual, at - before.at),
        });
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
    rank(query, held) {
      const { limit, newestFirst, after, among, state, q = '' } = query;
      const matches = deviceMatcher(q);
      const most = limit + 1;
      let best: DeviceRank[] = [];
      for (const { device, at } of seen.values()) {
        if (among !== undefined && !among.has(device)) continue;
        const rank = { score: newestFirst ? -at : at, device };
        if (after !== undefined && compareRanks(rank, after) <= 0) continue;
        if ((state === 'pending' || state === 'idle') && held(device) !== (state === 'pending')) continue;
        if (!matches(device)) continue;
        best.push(rank);
        // Sorted now and then, so that it stays short whatever the number of devices.
        if (best.length >= 4 * most) best = best.sort(compareRanks).slice(0, most);
      }
      best = best.sort(compareRanks).slice(0, most);
      const page = best.slice(0, limit);
      return {
        devices: page.map(({ device }) => device),
        next: best.length > limit ? (page.at(-1) ?? null) : null,
      };
    },
    late(than) {
      const since = clock.wall() - than;
      let late = 0;
      // Who polled last stands last, so the late ones come first.
      for (const { at } of seen.values()) {
        if (at >= since) break;
        late += 1;
      }
      return { heard: seen.size, late };
    },
    unknown: () => [...unknown.values()],
    forgetUnknown: (device) => void unknown.delete(device),
  };
}

import type { DeviceId } from '../../shared/device-id.ts';
import { compareRanks, rankOf } from '../device-order.ts';
import { createDeviceIndex } from './device-index.ts';
import type { DeviceIndex } from './device-index.ts';
import type { RankQuery } from './ledger.ts';
import type { DeviceQuery, DeviceRecord } from './outbox.ts';
import { deviceRecord } from './rules/rows.ts';
import type { DeviceRow } from './rules/rows.ts';

/** Devices that fit a search and are looked up one by one; where more fit, going through all finds a page of them soon. */
const FEW = 1_000;

/** Devices that one step of learning reads. */
const LEARN_STEP = 5_000;

/** A page of devices, as a ledger gives it. */
type Page = { devices: DeviceRecord[]; next: DeviceId | null };

/**
 * Searches for devices by a part of their ids, without going through the rows of all: whoever asks first does so still,
 * and has the ids read into memory meanwhile, some 32 bytes of each.
 */
export interface SqliteSearch {
  /** Null = not from here: the rows are to be gone through. */
  scan(query: DeviceQuery): Page | null;
  /** As `scan`, in an order. */
  rank(query: RankQuery): Page | null;
  /** A device was written; it counts once it is committed. */
  added(device: DeviceId): void;
  committed(): void;
  rolledBack(): void;
  /** Reads some more devices, if somebody has searched. True = there are more. */
  learn(): boolean;
}

export function createSqliteSearch(rows: {
  /** Devices after one, in order. */
  page: (after: string, limit: number) => { device: DeviceId }[];
  device: (device: DeviceId) => DeviceRow | undefined;
}): SqliteSearch {
  /** Null before the first search. */
  let index: DeviceIndex | null = null;
  /** Up to where the rows were read; null = all were. */
  let learned: DeviceId | '' | null = '';
  let fresh: DeviceId[] = [];

  /** All that fit but for their place in the order; null = it is not for the index to say. */
  function fitting({ q = '', state }: Pick<DeviceQuery, 'q' | 'state'>): DeviceRecord[] | null {
    // What this very transaction has added is in the rows alone.
    if (q === '' || fresh.length > 0) return null;
    index ??= createDeviceIndex();
    if (learned !== null) return null;
    const found = index.find(q, FEW);
    return (
      found?.flatMap((device) => {
        const row = rows.device(device as DeviceId);
        return row !== undefined && isIn(row, state) ? [deviceRecord(row)] : [];
      }) ?? null
    );
  }

  return {
    scan({ cursor = '', limit, ...query }) {
      const all = fitting(query);
      if (all === null) return null;
      const after = all.filter(({ device }) => device > cursor);
      const devices = after.sort((a, b) => (a.device < b.device ? -1 : 1)).slice(0, limit);
      return { devices, next: after.length > limit ? (devices.at(-1)?.device ?? null) : null };
    },
    rank({ order, after, limit, cursor, ...query }) {
      // Who has begun to go through the rows goes on with it.
      const all = cursor === undefined ? fitting(query) : null;
      if (all === null) return null;
      const ranked = all
        .map((record) => ({ record, rank: rankOf(order, record) }))
        .filter(({ rank }) => after === undefined || compareRanks(rank, after) > 0)
        .sort((a, b) => compareRanks(a.rank, b.rank));
      return { devices: ranked.slice(0, limit).map(({ record }) => record), next: null };
    },
    added(device) {
      if (index !== null) fresh.push(device);
    },
    committed() {
      for (const device of fresh) index?.add(device);
      fresh = [];
    },
    rolledBack() {
      fresh = [];
    },
    learn() {
      if (index === null || learned === null) return false;
      const some = rows.page(learned, LEARN_STEP);
      for (const { device } of some) index.add(device);
      learned = some.length < LEARN_STEP ? null : (some.at(-1)?.device ?? null);
      return learned !== null;
    },
  };
}

const isIn = ({ pending, dead }: DeviceRow, state: DeviceQuery['state']): boolean =>
  state === undefined || (state === 'dead' ? dead > 0 : pending > 0 === (state === 'pending'));

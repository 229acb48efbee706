import type { DeviceId } from '../../shared/device-id.ts';
import { compareRanks, rankOf } from '../device-order.ts';
import type { CallLedger } from './front-calls.ts';
import type { RankQuery } from './ledger.ts';
import type { DeviceQuery, DeviceRecord } from './outbox.ts';
import { clampLimit } from './push-request.ts';

/** Devices on one page, at most. */
const PAGE_LIMIT = 1000;

interface DevicesPage {
  devices: DeviceRecord[];
  next: DeviceId | null;
}

/** Finds a page of devices step by step, so that pushes pass between. */
export async function devicesPage(call: CallLedger, query: DeviceQuery): Promise<DevicesPage> {
  const limit = Math.min(clampLimit(query.limit), PAGE_LIMIT);
  const { order } = query;
  return order === undefined ? scanned(call, { ...query, limit }) : ranked(call, { ...query, order, limit });
}

/** By id: reads on until the page is full. */
async function scanned(call: CallLedger, query: DeviceQuery): Promise<DevicesPage> {
  const { limit } = query;
  const devices: DeviceRecord[] = [];
  let cursor: DeviceId | null | undefined = query.cursor;
  do {
    const step = {
      ...query,
      limit: limit - devices.length,
      ...(cursor === undefined ? {} : { cursor }),
    };
    const found: DevicesPage = await call('scanDevices', [step]);
    devices.push(...found.devices);
    cursor = found.next;
  } while (cursor !== null && devices.length < limit);
  return { devices, next: cursor };
}

/** The best of each step, merged: nothing is sorted that isn't shown. */
async function ranked(call: CallLedger, query: RankQuery): Promise<DevicesPage> {
  const { limit, order } = query;
  // One more than wanted tells whether there is more.
  const most = limit + 1;
  let best: DeviceRecord[] = [];
  let cursor: DeviceId | null = null;
  do {
    const step: RankQuery = { ...query, limit: most, ...(cursor === null ? {} : { cursor }) };
    const found: DevicesPage = await call('rankDevices', [step]);
    best = [...best, ...found.devices]
      .sort((a, b) => compareRanks(rankOf(order, a), rankOf(order, b)))
      .slice(0, most);
    cursor = found.next;
  } while (cursor !== null);
  const devices = best.slice(0, limit);
  return { devices, next: best.length > limit ? (devices.at(-1)?.device ?? null) : null };
}

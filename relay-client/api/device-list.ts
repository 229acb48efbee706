import { parseDeviceId } from '../../shared/device-id.ts';
import type { DeviceId } from '../../shared/device-id.ts';
import type { RelayView } from '../desk.ts';
import { rankOf } from '../device-order.ts';
import type { DeviceOrder, DeviceRank, DeviceRecord, Outbox } from '../outbox/outbox.ts';
import { ApiError } from './errors.ts';
import type { DevicesQuery } from './shapes/requests.ts';

/** Pages of devices, in whatever order they are asked for. */

export interface DeviceListPage {
  devices: DeviceRecord[];
  /** For the next page; null = this was the last. */
  next: string | null;
}

type Parts = { outbox: Outbox; view: RelayView };

/** @throws ApiError `REQUEST_INVALID` where the cursor is none of this order */
export async function listDevices(
  { outbox, view }: Parts,
  { sort = 'device', state, q, cursor }: DevicesQuery,
  limit: number,
): Promise<DeviceListPage> {
  const filter = {
    limit,
    ...(state === undefined ? {} : { state }),
    ...(q === undefined ? {} : { q: q.toLowerCase() }),
  };
  if (sort === 'device') {
    const after = cursor === undefined ? undefined : parseDeviceId(cursor);
    if (after === null) throw badCursor();
    return outbox.devices({ ...filter, ...(after === undefined ? {} : { cursor: after }) });
  }
  const after = cursor === undefined ? undefined : readRank(cursor);
  if (sort === 'last_poll' || sort === '-last_poll') {
    const dead = state === 'dead' ? await allDead(outbox) : null;
    const ranked = view.devicesByPoll({
      ...filter,
      newestFirst: sort === '-last_poll',
      ...(after === undefined ? {} : { after }),
      ...(dead === null ? {} : { among: dead }),
    });
    const devices = await Promise.all(
      ranked.devices.map(async (device) => (await outbox.device(device)) ?? stranger(device)),
    );
    return { devices, next: ranked.next === null ? null : writeRank(ranked.next) };
  }
  const order: DeviceOrder = sort;
  const page = await outbox.devices({ ...filter, order, ...(after === undefined ? {} : { after }) });
  const last = page.devices.at(-1);
  return {
    devices: page.devices,
    next: page.next === null || last === undefined ? null : writeRank(rankOf(order, last)),
  };
}

/** A device that polls and that the outbox has forgotten or never heard of. */
export const stranger = (device: DeviceId): DeviceRecord => ({
  device,
  generation: 0,
  pending: 0,
  dead: 0,
  lastSession: null,
});

async function allDead(outbox: Outbox): Promise<Set<DeviceId>> {
  const all = new Set<DeviceId>();
  let cursor: DeviceId | null = null;
  do {
    const page: { devices: DeviceRecord[]; next: DeviceId | null } = await outbox.devices({
      state: 'dead',
      limit: 1000,
      ...(cursor === null ? {} : { cursor }),
    });
    for (const { device } of page.devices) all.add(device);
    cursor = page.next;
  } while (cursor !== null);
  return all;
}

const writeRank = ({ score, device }: DeviceRank): string => `${score}~${device}`;

function readRank(cursor: string): DeviceRank {
  const mark = cursor.indexOf('~');
  const score = Number(cursor.slice(0, mark));
  const device = parseDeviceId(cursor.slice(mark + 1));
  if (mark < 1 || !Number.isFinite(score) || device === null) throw badCursor();
  return { score, device };
}

function badCursor(): ApiError {
  return new ApiError(
    'REQUEST_INVALID',
    'query field cursor: expected `next` of the answer before, with the same sort',
    {
      field: 'cursor',
    },
  );
}

import type { DeviceOrder, DeviceRank, DeviceRecord } from './outbox/outbox.ts';

/** The place of a device in an order. */
export function rankOf(order: DeviceOrder, { device, pending, lastSession }: DeviceRecord): DeviceRank {
  const { by, sign } = readOrder(order);
  return { score: sign * (by === 'pending' ? pending : (lastSession?.at ?? 0)), device };
}

/** What an order goes by, and 1 = upwards, -1 = downwards. */
export function readOrder(order: DeviceOrder): { by: 'pending' | 'last_session'; sign: 1 | -1 } {
  return order.startsWith('-')
    ? { by: order.slice(1) as 'pending' | 'last_session', sign: -1 }
    : { by: order as 'pending' | 'last_session', sign: 1 };
}

export function compareRanks(a: DeviceRank, b: DeviceRank): number {
  return a.score - b.score || (a.device < b.device ? -1 : a.device > b.device ? 1 : 0);
}

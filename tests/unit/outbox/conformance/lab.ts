import type { Test } from 'tap';
import { isSallyportError } from '../../../../shared/errors.ts';
import type { ErrorCode } from '../../../../shared/errors.ts';
import { parseDeviceId } from '../../../../shared/device-id.ts';
import type { DeviceId } from '../../../../shared/device-id.ts';
import type {
  Message,
  Outbox,
  OutboxCounts,
  OutboxLimits,
  Push,
} from '../../../../relay-client/outbox/outbox.ts';
import type { FakeClock } from '../../../fixtures/fake-clock.ts';

/** One place where an engine keeps a store, and the clock by which it lives. */
export interface Lab {
  clock: FakeClock;
  /** Opens what is stored; close it before opening it again. */
  open(limits?: Partial<OutboxLimits>): Promise<Outbox>;
}

export type MakeLab = (t: Test) => Lab;

export const MINUTE = 60_000;
export const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;

/** The n-th phone. */
export function phone(n: number): DeviceId {
  const id = parseDeviceId(`001ae8${n.toString(16).padStart(6, '0')}`);
  if (id === null) throw new Error(`no device id for ${n}`);
  return id;
}

export function contactMe(device: DeviceId, more: Partial<Push> = {}): Push {
  return { device, kind: 'contact-me', ttl: 7 * DAY, delay: 0, ...more };
}

export function dls(device: DeviceId, actions: string, more: Partial<Push> = {}): Push {
  return { device, kind: 'dls', ttl: 7 * DAY, delay: 0, actions, ...more };
}

export async function hold(outbox: Outbox, push: Push): Promise<Message> {
  return (await outbox.push(push)).message;
}

/** Checks that `promise` rejects with `code`. */
export async function refuses(
  t: Test,
  promise: Promise<unknown>,
  code: ErrorCode,
  pattern = /./,
): Promise<void> {
  const error: unknown = await promise.then(
    () => null,
    (reason: unknown) => reason,
  );
  t.ok(isSallyportError(error, code), `is refused with ${code}`, { found: error });
  t.match(error, { message: pattern });
}

/** Checks that every message is accounted for, and gives the counts. */
export async function audit(t: Test, outbox: Outbox): Promise<OutboxCounts> {
  const counts = await outbox.counts();
  const ended = Object.values(counts.ended).reduce((sum, count) => sum + count, 0);
  t.equal(counts.accepted, ended + counts.held, 'accepted = ended + held', { found: counts });
  return counts;
}

import { SallyportError } from '../../shared/errors.ts';
import type { ErrorCode } from '../../shared/errors.ts';
import type { DeviceId } from '../../shared/device-id.ts';
import type { Refusal } from './ledger.ts';
import { ACTIONS_LIMIT_BYTES, RESULTS_LIMIT_BYTES } from './outbox.ts';
import type { Message, MessageId, OutboxLimits } from './outbox.ts';

/** What a limit bounds, in words. */
const BOUNDS: Record<keyof OutboxLimits, string> = {
  messages: 'messages held in all',
  perDevice: 'messages held for one device',
  bytes: 'bytes of held actions',
  resultBytes: 'bytes of results',
  waiting: 'operations waiting',
  history: 'history entries',
  ended: 'ended messages, whose keys must still be remembered',
  devices: 'devices ever pushed to',
  strangers: 'devices never pushed to',
};

export function full(device: DeviceId, limits: OutboxLimits, limit: keyof OutboxLimits): SallyportError {
  return new SallyportError(
    'OUTBOX_FULL',
    `The push to ${device} is refused: the outbox is at its limit of ${limits[limit]} ${BOUNDS[limit]} ` +
      `(${limit}). Nothing held was dropped; clear some, let some expire, or raise the limit.`,
  );
}

export function tooLarge(device: DeviceId, bytes: number): SallyportError {
  return new SallyportError(
    'TOO_LARGE',
    `The push to ${device} has actions of ${bytes} bytes; at most ${ACTIONS_LIMIT_BYTES} are taken. Split it up.`,
  );
}

export function resultsTooLarge(id: MessageId, bytes: number): SallyportError {
  return new SallyportError(
    'TOO_LARGE',
    `The results of message ${id} have ${bytes} bytes; at most ${RESULTS_LIMIT_BYTES} are kept.`,
  );
}

export function busy(limit: number): SallyportError {
  return new SallyportError(
    'OUTBOX_BUSY',
    `The outbox has ${limit} operations or too many bytes waiting for the disk. Try again in a moment.`,
  );
}

export function pushesWait(where: string, detail: string): SallyportError {
  return new SallyportError(
    'OUTBOX_BUSY',
    `The outbox at PostgreSQL ${where} is held up by another relay or session (${detail}). Nothing was changed; try again in a moment.`,
  );
}

export function keyReused(device: DeviceId, key: string, id: MessageId): SallyportError {
  return new SallyportError(
    'KEY_REUSED',
    `The key ${JSON.stringify(key)} was used for message ${id} to ${device} with other content. Use another key, or push the same content.`,
  );
}

export function unknownMessage(id: MessageId): SallyportError {
  return new SallyportError('NOT_FOUND', `The outbox knows no message ${id}; it may have ended long ago.`);
}

export function notDead(message: Pick<Message, 'id' | 'state'>): SallyportError {
  return new SallyportError(
    'REQUEST_INVALID',
    `Message ${message.id} is ${message.state}; only a dead message can be re-driven.`,
  );
}

export function closed(): SallyportError {
  return new SallyportError('CLOSED', 'The outbox is closed.');
}

export function noRoom(where: string, detail: string): SallyportError {
  return new SallyportError(
    'OUTBOX_STORAGE',
    `The outbox in ${where} has no room on its disk (${detail}). Nothing was changed; make room and try again.`,
  );
}

/** Makes the error again that a ledger threw in another thread. */
export function revive(refusal: Refusal): SallyportError {
  return new SallyportError(refusal.code as ErrorCode, refusal.message);
}

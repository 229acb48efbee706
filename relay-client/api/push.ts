import { createHash } from 'node:crypto';
import type { Milliseconds } from '../../shared/clock.ts';
import type { DeviceId } from '../../shared/device-id.ts';
import { ActionFault, readActions } from '../courier/actions.ts';
import type { HeldAction } from '../courier/actions.ts';
import type { RelayView } from '../desk.ts';
import type { Push } from '../outbox/outbox.ts';
import { ApiError } from './errors.ts';
import type { PushDefaults } from './limits.ts';
import type { PushBody } from './shapes/requests.ts';

export interface PushSurroundings {
  /** Wall time. */
  now: Milliseconds;
  defaults: PushDefaults;
  /** Over how long a bulk push is spread; 0 = not. */
  spread: Milliseconds;
  campaign: string | null;
  /** Whether the relay has a service through which it can deliver actions. */
  courier: boolean;
}

/** Whether a relay can deliver actions: it does so in sessions that it can read. */
export function deliversActions(view: Pick<RelayView, 'services'>): boolean {
  return view.services().some(({ kind }) => kind === 'wpi');
}

/**
 * What the outbox is to hold for a caller's request.
 *
 * @throws ApiError `REQUEST_INVALID` with the field that makes no sense
 */
export function toPush(device: DeviceId, body: PushBody, around: PushSurroundings): Push {
  const actions = actionsOf(body);
  if (actions !== null && !around.courier) {
    throw new ApiError(
      'REQUEST_INVALID',
      'Actions are delivered in sessions of a service of kind wpi, and this relay has none',
      { field: 'kind' },
    );
  }
  const ttl = body.ttl_s === undefined ? around.defaults.ttl : body.ttl_s * 1000;
  if (ttl > around.defaults.longestTtl) {
    throw new ApiError('REQUEST_INVALID', `ttl_s is over ${around.defaults.longestTtl / 1000}`, {
      field: 'ttl_s',
    });
  }
  const date = body.not_before === undefined ? null : wallTime(body.not_before);
  const notBefore = date === null ? 0 : Math.max(0, date - around.now);
  if (notBefore + around.spread >= ttl) {
    const field = body.not_before === undefined ? 'ttl_s' : 'not_before';
    throw new ApiError(
      'REQUEST_INVALID',
      `It would expire ${ttl / 1000} s from now, before it may be offered; give a longer ttl_s`,
      { field },
    );
  }
  return {
    device,
    kind: body.kind ?? 'contact-me',
    ttl,
    delay:
      notBefore + (around.spread === 0 ? 0 : Math.floor(around.spread * placeOf(device, around.campaign))),
    // The delay until a date is another at each try; the date is the same.
    ...(body.key === undefined ? {} : { key: body.key, content: JSON.stringify([ttl, date, around.spread]) }),
    ...(actions === null ? {} : { actions: JSON.stringify(actions) }),
    ...(body.replace === undefined ? {} : { replace: body.replace }),
    ...(around.campaign === null ? {} : { campaign: around.campaign }),
  };
}

/** What a dls message is to do, checked; null for a contact-me. */
function actionsOf({ kind, actions }: PushBody): HeldAction[] | null {
  if (kind !== 'dls') {
    if (actions === undefined) return null;
    throw new ApiError('REQUEST_INVALID', 'actions belong to kind dls; a contact-me message carries none', {
      field: 'actions',
    });
  }
  try {
    return readActions(actions);
  } catch (error) {
    if (!(error instanceof ActionFault)) throw error;
    throw new ApiError('REQUEST_INVALID', error.message, { field: error.field });
  }
}

function wallTime(notBefore: number | string): Milliseconds {
  return typeof notBefore === 'number' ? notBefore * 1000 : Date.parse(notBefore);
}

/** Where in a spread a device stands, from 0 up to 1: always the same place, so that a repeated bulk push moves nobody. */
function placeOf(device: DeviceId, campaign: string | null): number {
  const hash = createHash('sha256')
    .update(`${campaign ?? ''}\n${device}`)
    .digest();
  return hash.readUInt32BE(0) / 2 ** 32;
}

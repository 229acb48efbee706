import type { DeviceId } from '../../../shared/device-id.ts';
import { withoutSeparators } from '../device-search.ts';
import { FORGET_PER_PUSH } from '../ledger.ts';
import type { Now, PushRequest } from '../ledger.ts';
import type { Accepted, OutboxLimits } from '../outbox.ts';
import { keyReused, notDead, unknownMessage } from '../refusals.ts';
import type { Bookkeeping, Writer } from './bookkeeping.ts';
import type { ContentsOfRows } from './contents.ts';
import type { Room } from './room.ts';
import { freshMessage, messageOf } from './rows.ts';
import type { DeviceRow, MessageRow } from './rows.ts';
import { ask, askFirst } from './work.ts';
import type { LedgerWork, Work } from './work.ts';

/** What a push depends on. */
export interface Found {
  /** The newest message of the device under the push's key. */
  known: MessageRow | undefined;
  owner: DeviceRow | undefined;
  /** Held messages of the device, where the push ends some. */
  held: MessageRow[];
}

/** How messages come to be held, and devices to be known. */
export interface Pushing extends Pick<LedgerWork, 'redrive' | 'note'> {
  /** Makes a push of which is known what it depends on. */
  accept(now: Now, request: PushRequest, found: Found): Work<Accepted>;
}

/** Whether a push ends what is held of its device and kind. */
export const supersedes = ({ kind, replace }: PushRequest): boolean => kind === 'contact-me' || replace;

export function createPushing(
  writer: Writer,
  limits: OutboxLimits,
  contents: ContentsOfRows,
  keeping: Bookkeeping,
  room: Room,
): Pushing {
  function* accept(now: Now, request: PushRequest, { known, owner, held }: Found): Work<Accepted> {
    const { device, key } = request;
    if (key !== null && known !== undefined && (known.held === 1 || now.at < (known.forget_at ?? 0))) {
      if (!contents.isSame(known, request)) throw keyReused(device, key, known.id);
      return { message: contents.shown(known, now), known: true };
    }

    const superseded = held.filter((row) => row.kind === request.kind);
    room.check(device, owner, request.bytes, superseded);
    const firstPush = (owner?.generation ?? 0) === 0;
    if (firstPush) room.checkDevices(device);
    if (key !== null) yield* room.checkKeys(now, device);

    const row = freshRow(now, request, (owner?.generation ?? 0) + 1);
    const { books } = keeping;
    if (owner === undefined) {
      addDevice(device, 1);
    } else {
      writer.write('pushDevice', 1 - superseded.length, device);
      if (firstPush) books.strangers--;
    }
    writer.addMessage(row);
    books.accepted++;
    books.held++;
    books.held_bytes += row.bytes;
    keeping.record(now, row, 'accepted', row.kind, row.campaign === null ? {} : { campaign: row.campaign });
    // The new one is held before the old ones end, so that no reader of changes sees the device without work.
    for (const old of superseded) keeping.finish(now, old, 'superseded', 'newer push');
    yield* room.forget(now, FORGET_PER_PUSH);
    return { message: freshMessage(now, request, row.generation), known: false };
  }

  function freshRow(now: Now, request: PushRequest, generation: number): MessageRow {
    const { id, device, kind, ttl, delay, key, campaign, bytes, parked } = request;
    return {
      n: 0,
      id,
      device,
      held: 1,
      generation,
      kind,
      state: 'held',
      accepted_wall: now.wall,
      ended_wall: null,
      ended_by: null,
      ttl,
      due_at: now.at + (parked ? ttl : delay),
      expires_at: now.at + ttl,
      forget_at: null,
      fruitless: 0,
      key,
      campaign,
      bytes,
      ...contents.sealed(request),
      results: null,
      result_bytes: 0,
      awaited_until: null,
      parked_due: parked ? now.at + delay : null,
      failed: 0,
    };
  }

  /** @param pushes - made to it with this; 0 = it is a stranger */
  function addDevice(device: DeviceId, pushes: 0 | 1): void {
    writer.write('addDevice', device, withoutSeparators(device), pushes, pushes);
    keeping.books.devices++;
    if (pushes === 0) keeping.books.strangers++;
  }

  return {
    accept,
    *redrive(now, id) {
      const row = yield* askFirst<MessageRow>('messageById', id);
      if (row === undefined) throw unknownMessage(id);
      if (row.state !== 'dead') throw notDead(row);
      const opened = contents.open(row);
      const owner = yield* askFirst<DeviceRow>('device', row.device);
      const superseded =
        row.kind === 'contact-me'
          ? (yield* ask<MessageRow>('heldOfDevice', row.device)).filter(({ kind }) => kind === 'contact-me')
          : [];
      room.check(row.device, owner, row.bytes, superseded);
      Object.assign(row, { held: 1, state: 'held', ended_wall: null, ended_by: null, forget_at: null });
      row.generation = (owner?.generation ?? 0) + 1;
      row.due_at = now.at;
      row.expires_at = now.at + row.ttl;
      row.fruitless = 0;
      row.awaited_until = null;
      row.parked_due = null;
      writer.changeMessage('redrive', row, row.generation, row.due_at, row.expires_at);
      writer.write('pushDevice', 1 - superseded.length, row.device);
      writer.write('countDevice', 0, -1, row.device);
      const { books } = keeping;
      books.dead--;
      books.kept--;
      books.held++;
      books.held_bytes += row.bytes;
      keeping.record(now, row, 'redriven', row.kind);
      for (const old of superseded) keeping.finish(now, old, 'superseded', 'newer push');
      return messageOf(row, now, opened);
    },
    *note(now, device, what, facts, session) {
      const owner = yield* askFirst<DeviceRow>('device', device);
      if (owner === undefined) {
        if (keeping.books.strangers >= limits.strangers) return;
        addDevice(device, 0);
      }
      if (session) {
        const outcome = typeof facts['outcome'] === 'string' ? facts['outcome'] : what;
        writer.write('session', now.wall, outcome, device);
      }
      keeping.record(now, { device, generation: owner?.generation ?? 0, id: null }, 'note', what, facts);
    },
  };
}

import type { DeviceId } from '../../../shared/device-id.ts';
import { readOrder } from '../../device-order.ts';
import { searchNeedle } from '../device-search.ts';
import { HOLDING, SCAN_STEP } from '../ledger.ts';
import type { LookingMethod, Now } from '../ledger.ts';
import type { Change } from '../outbox.ts';
import type { Bookkeeping } from './bookkeeping.ts';
import type { ContentsOfRows } from './contents.ts';
import { deviceRecord, historyEntry, messageOf, pendingOf } from './rows.ts';
import type { ChangeRow, DeviceRow, HistoryRow, MessageRow, PendingRow } from './rows.ts';
import { ask, askFirst, askTogether, question } from './work.ts';
import type { LedgerWork } from './work.ts';

/** The calls that change nothing, but for those about campaigns. */
export type Looking = Pick<LedgerWork, LookingMethod>;

type HeldRow = PendingRow & Pick<MessageRow, 'n'>;

export function createLooking(contents: ContentsOfRows, keeping: Bookkeeping): Looking {
  const asFarAsReadable = (rows: MessageRow[], now: Now) =>
    rows.map((row) => messageOf(row, now, contents.readable(row)));

  return {
    *nextExpiry(now) {
      const first = yield* askFirst<{ at: number | null }>('nextExpiry');
      return first?.at == null ? null : Math.max(0, first.at - now.at);
    },
    *message(now, id) {
      const row = yield* askFirst<MessageRow>('messageById', id);
      return row === undefined ? null : contents.shown(row, now);
    },
    *nextActions(now, device) {
      const row = yield* askFirst<MessageRow>('nextActions', device, now.at);
      return row === undefined ? null : contents.shown(row, now);
    },
    *awaited(now, device) {
      return asFarAsReadable(yield* ask<MessageRow>('awaited', device), now);
    },
    *overdue(now, limit) {
      return asFarAsReadable(yield* ask<MessageRow>('overdue', now.at, limit), now);
    },
    *device(_now, device) {
      const row = yield* askFirst<DeviceRow>('device', device);
      return row === undefined ? null : deviceRecord(row);
    },
    *messages(now, device, limit) {
      const [held, ended] = yield* askTogether(
        question<MessageRow>('newestOfDevice', device, 1, limit),
        question<MessageRow>('newestOfDevice', device, 0, limit),
      );
      return [...held, ...ended]
        .sort((a, b) => b.generation - a.generation)
        .slice(0, limit)
        .map((row) => contents.shown(row, now));
    },
    *deviceIds(_now, after, limit) {
      return (yield* ask<{ device: DeviceId }>('deviceIds', after, limit)).map(({ device }) => device);
    },
    *scanDevices(_now, { state, q, cursor, limit }) {
      const { within, text } = searchNeedle(q ?? '');
      const after = cursor ?? '';
      const rows =
        state === 'dead'
          ? yield* ask<DeviceRow>('scanDead', after, within, text, limit)
          : yield* ask<DeviceRow>('scan', after, SCAN_STEP, state ?? '', within, text, limit);
      const last = rows.at(-1)?.device as DeviceId | undefined;
      let next = rows.length === limit && last !== undefined ? last : null;
      if (next === null && state !== 'dead') {
        const end = yield* askFirst<{ device: DeviceId }>('scanEnd', after, SCAN_STEP - 1);
        next = end?.device ?? null;
      }
      return { devices: rows.map(deviceRecord), next };
    },
    *rankDevices(_now, { state, q, cursor, limit, order, after }) {
      const { within, text } = searchNeedle(q ?? '');
      const { by, sign } = readOrder(order);
      const from = cursor ?? '';
      const filter = [state ?? '', within, text];
      const rank = [after?.score ?? -Number.MAX_VALUE, after?.device ?? ''];
      const [rows, [end]] = yield* askTogether(
        question<DeviceRow>('rank', sign, by, from, SCAN_STEP, ...filter, ...rank, limit),
        question<{ device: DeviceId }>('scanEnd', from, SCAN_STEP - 1),
      );
      return { devices: rows.map(deviceRecord), next: end?.device ?? null };
    },
    *history(_now, { after, limit, device }) {
      const from = Math.max(after, keeping.floor());
      const rows =
        device === undefined
          ? yield* ask<HistoryRow>('history', from, limit)
          : yield* ask<HistoryRow>('historyOf', device, from, limit);
      return rows.map(historyEntry);
    },
    *recentHistory(_now, device, limit) {
      return (yield* ask<HistoryRow>('recentHistory', device, keeping.floor(), limit)).map(historyEntry);
    },
    *counts() {
      const { devices, held, held_bytes: heldBytes, accepted } = keeping.books;
      const { cleared, superseded, expired, cancelled, dead } = keeping.books;
      return { devices, held, heldBytes, accepted, ended: { cleared, superseded, expired, cancelled, dead } };
    },
    *changes(now, after, limit) {
      if (after < keeping.floor() || after > keeping.books.seq) return null;
      const rows = yield* ask<ChangeRow>('changes', after, limit);
      const changes = rows.flatMap((row): Change[] => {
        const { seq, event, message: id, device, generation } = row;
        if (event === 'note' || id === null) return [];
        if (!HOLDING.has(event)) return [{ op: 'end', seq, id, device, generation }];
        // What has ended since needn't be held for a moment: its end comes later in the same history.
        if (row.kind === null) return [];
        return [{ op: 'hold', seq, ...pendingOf({ ...row, id, kind: row.kind }, now) }];
      });
      return { changes, seq: rows.at(-1)?.seq ?? after };
    },
    *held(now, cursor, limit) {
      const rows = yield* ask<HeldRow>('heldPage', cursor?.expiresAt ?? -1, cursor?.n ?? 0, limit);
      const last = rows.at(-1);
      return {
        seq: keeping.books.seq,
        entries: rows.map((row) => pendingOf(row, now)),
        cursor: last === undefined || rows.length < limit ? null : { expiresAt: last.expires_at, n: last.n },
      };
    },
  };
}

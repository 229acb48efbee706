import type { DeviceId } from '../../../shared/device-id.ts';
import { DROP_PER_END } from '../ledger.ts';
import type { Now } from '../ledger.ts';
import { ENDED_MEMORY_MS } from '../outbox.ts';
import type { OutboxLimits } from '../outbox.ts';
import { full } from '../refusals.ts';
import type { Bookkeeping, Writer } from './bookkeeping.ts';
import type { DeviceRow, MessageRow } from './rows.ts';
import { ask, askFirst } from './work.ts';
import type { Work } from './work.ts';

/** Keeps the store within its limits: refuses what is new, and lets go of what has ended. */
export interface Room {
  /** Refuses what would go past a limit once `leaving` have left. */
  check(device: DeviceId, owner: DeviceRow | undefined, bytes: number, leaving: readonly MessageRow[]): void;
  /** Refuses a device that was never pushed to, where there are as many as may be. */
  checkDevices(device: DeviceId): void;
  /** Refuses a key where those of ended messages leave no room for one more. */
  checkKeys(now: Now, device: DeviceId): Work<void>;
  /** Forgets at most `most` ended messages: those past their memory, and the oldest of those beyond the limit. */
  forget(now: Now, most: number): Work<void>;
  /** Where there are too many bytes of results, those of the messages that ended first go. */
  dropResults(now: Now): Work<void>;
  /** Takes back what is known of the store's messages: other ones may be there now. */
  lookAgain(): void;
}

type EndedRow = Pick<MessageRow, 'n' | 'device' | 'state' | 'forget_at' | 'result_bytes'>;

export function createRoom(writer: Writer, limits: OutboxLimits, keeping: Bookkeeping): Room {
  /** Until then no ended message is past its memory, so that a push needn't look for one. */
  let nothingPastUntil = 0;

  return {
    check(device, owner, bytes, leaving) {
      const { books } = keeping;
      const leavingBytes = leaving.reduce((sum, row) => sum + row.bytes, 0);
      if (books.held - leaving.length >= limits.messages) throw full(device, limits, 'messages');
      if ((owner?.pending ?? 0) - leaving.length >= limits.perDevice) throw full(device, limits, 'perDevice');
      if (bytes > 0 && books.held_bytes - leavingBytes + bytes > limits.bytes)
        throw full(device, limits, 'bytes');
    },
    checkDevices(device) {
      const { devices, strangers } = keeping.books;
      if (devices - strangers >= limits.devices) throw full(device, limits, 'devices');
    },
    *checkKeys(now, device) {
      if (keeping.books.kept < limits.ended) return;
      const oldest = yield* askFirst<{ at: number | null }>('nextForgetting');
      if ((oldest?.at ?? Infinity) > now.at) throw full(device, limits, 'ended');
    },
    *forget(now, most) {
      const { books } = keeping;
      const surplus = Math.max(0, books.kept - limits.ended);
      const wanted = now.at < nothingPastUntil ? Math.min(most, surplus) : most;
      if (wanted === 0) return;
      const rows = yield* ask<EndedRow>('forgettable', now.at, wanted);
      for (const row of rows) {
        const pastAt = (row.forget_at ?? 0) + ENDED_MEMORY_MS;
        if (now.at < pastAt && books.kept <= limits.ended) {
          nothingPastUntil = pastAt;
          return;
        }
        writer.write('forget', row.n);
        books.result_bytes -= row.result_bytes;
        if (row.state === 'dead') writer.write('countDevice', 0, -1, row.device);
        books.kept--;
        keeping.changed(now);
      }
      // Whatever ends from now on is remembered at least that long.
      if (rows.length === 0) nothingPastUntil = now.at + ENDED_MEMORY_MS;
    },
    *dropResults(now) {
      for (let i = 0; i < DROP_PER_END && keeping.books.result_bytes > limits.resultBytes; i++) {
        const oldest = yield* askFirst<MessageRow>('oldestResults');
        if (oldest === undefined) return;
        keeping.keepResults(oldest, '');
        writer.changeMessage('dropResults', oldest);
        keeping.changed(now);
      }
    },
    lookAgain() {
      nothingPastUntil = 0;
    },
  };
}

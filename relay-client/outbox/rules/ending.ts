import { EXPIRE_STEP } from '../ledger.ts';
import type { Now } from '../ledger.ts';
import type { EndState, Message } from '../outbox.ts';
import { unknownMessage } from '../refusals.ts';
import type { Bookkeeping, EndMore, Writer } from './bookkeeping.ts';
import type { ContentsOfRows } from './contents.ts';
import type { Room } from './room.ts';
import { messageOf } from './rows.ts';
import type { MessageRow } from './rows.ts';
import { ask, askFirst } from './work.ts';
import type { LedgerWork, Work } from './work.ts';

/** How messages go on and end. */
export interface Ending extends Pick<LedgerWork, 'clear' | 'end' | 'advance' | 'fruitless' | 'expire'> {
  /** Ends held messages, and gives them as they are then. */
  finishAll(now: Now, rows: MessageRow[], state: EndState, by: string, more?: EndMore): Work<Message[]>;
}

export function createEnding(
  writer: Writer,
  contents: ContentsOfRows,
  keeping: Bookkeeping,
  room: Room,
): Ending {
  function* finishAll(
    now: Now,
    rows: MessageRow[],
    state: EndState,
    by: string,
    more?: EndMore,
  ): Work<Message[]> {
    const dead = state === 'dead' ? 1 : 0;
    for (const row of rows) {
      keeping.finish(now, row, state, by, more);
      writer.write('countDevice', -1, dead, row.device);
    }
    yield* room.dropResults(now);
    return rows.map((row) => messageOf(row, now, contents.readable(row)));
  }

  return {
    finishAll,
    *clear(now, device, { state, by, generation = Infinity, kind }) {
      const rows = (yield* ask<MessageRow>('heldOfDevice', device)).filter(
        (row) => row.generation <= generation && (kind === undefined || row.kind === kind),
      );
      return yield* finishAll(now, rows, state, by);
    },
    *end(now, id, { state, by, ...more }) {
      const row = yield* askFirst<MessageRow>('messageById', id);
      if (row === undefined) throw unknownMessage(id);
      if (row.held === 1) yield* finishAll(now, [row], state, by, more);
      return messageOf(row, now, contents.readable(row));
    },
    *advance(now, id, { results, wait }) {
      const row = yield* askFirst<MessageRow>('messageById', id);
      if (row === undefined) throw unknownMessage(id);
      if (row.held === 0) return contents.shown(row, now);
      const { actions } = contents.open({ ...row, results: null });
      keeping.keepResults(row, results);
      const moved = wait > 0 || row.awaited_until !== null;
      if (moved) row.due_at = row.parked_due === null ? now.at + wait : row.expires_at;
      row.awaited_until = wait > 0 ? now.at + wait : null;
      writer.changeMessage('advance', row, row.results, row.result_bytes, row.due_at, row.awaited_until);
      keeping.changed(now);
      if (moved) keeping.record(now, row, 'deferred', wait > 0 ? 'awaited' : 'due');
      return messageOf(row, now, { actions, results });
    },
    *fruitless(now, device, generation, limit, kind) {
      const rows = (yield* ask<MessageRow>('heldOfDevice', device)).filter(
        (row) =>
          row.generation <= generation && row.due_at <= now.at && (kind === undefined || row.kind === kind),
      );
      for (const row of rows) {
        row.fruitless++;
        writer.changeMessage('fruitless', row, row.fruitless);
        keeping.changed(now);
      }
      const dead = rows.filter((row) => limit > 0 && row.fruitless >= limit);
      return yield* finishAll(now, dead, 'dead', 'fruitless sessions');
    },
    *expire(now) {
      const rows = yield* ask<MessageRow>('expired', now.at, EXPIRE_STEP);
      const ended = yield* finishAll(now, rows, 'expired', 'time');
      yield* room.forget(now, EXPIRE_STEP);
      return ended;
    },
  };
}

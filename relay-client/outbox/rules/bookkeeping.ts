import type { EndRequest, Now } from '../ledger.ts';
import { HOLDING } from '../ledger.ts';
import { KEY_MEMORY_MS } from '../outbox.ts';
import type { EndState, HistoryEntry, OutboxLimits, Sequence } from '../outbox.ts';
import type { RecordedChange } from '../recent-changes.ts';
import type { ContentsOfRows } from './contents.ts';
import type { Books, HistoryRow, MessageRow, Value } from './rows.ts';
import type { MessageChange, Writing } from './statements.ts';

/** How a ledger writes. What is written is there for whatever is asked next, and durable once its owner has committed. */
export interface Writer {
  write(statement: Writing, ...values: Value[]): void;
  addHistory(row: HistoryRow): void;
  addMessage(row: MessageRow): void;
  /** @param row - the message as it is from now on; `values` are the statement's but for its number */
  changeMessage(statement: MessageChange, row: MessageRow, ...values: Value[]): void;
}

export type EndMore = Pick<EndRequest, 'results' | 'facts' | 'failed'>;

/** Whom an entry of the history is about; `id` null = no message. */
type Subject = MessageRow | { device: string; generation: number; id: null };

/**
 * The counters, and how they change together with the rows: whatever a ledger does to a message goes through here, so that
 * accepted = ended + held stays true.
 */
export interface Bookkeeping {
  readonly books: Books;
  /** Changed rows since `begin`, roughly; 0 = nothing was changed. */
  readonly weight: number;
  /** What was recorded since `begin`, for those who follow. */
  readonly recorded: readonly RecordedChange[];
  /** The newest history entry that is no longer kept. */
  floor(): Sequence;
  /** Goes on with what the store says, and counts anew. */
  begin(found: Books): void;
  /** How accepted = ended + held was broken since this was last asked; null = it was not. */
  miscount(): string | null;
  /** To be called before a commit: keeps the history within its limit. */
  trim(): void;

  /** Something was changed. */
  changed(now: Now): void;
  record(
    now: Now,
    row: Subject,
    event: HistoryEntry['event'],
    what: string,
    facts?: HistoryEntry['facts'],
  ): void;
  /** Ends a held message, and tells the row in memory as well as the stored one. Its device is the caller's to count. */
  finish(now: Now, row: MessageRow, state: EndState, by: string, more?: EndMore): void;
  /** Tells the row in memory only; whoever calls it writes the row. */
  keepResults(row: MessageRow, results: string): void;
}

/** History rows that are deleted with one commit, beyond twice those it added: a lowered limit takes several. */
const TRIM_STEP = 1000;

export function createBookkeeping(
  writer: Writer,
  limits: OutboxLimits,
  contents: ContentsOfRows,
  found: Books,
): Bookkeeping {
  let books = found;
  let weight = 0;
  let added = 0;
  let recorded: RecordedChange[] = [];
  /** Accepted messages that are neither held nor ended: none, or there is a fault in here. */
  let balance = 0;

  const floor = (): Sequence => Math.max(0, books.seq - limits.history);

  function changed(now: Now): void {
    books.store_time = Math.max(books.store_time, now.at);
    books.wall_ahead = Math.max(books.wall_ahead, now.ahead);
    weight++;
  }

  function record(
    now: Now,
    row: Subject,
    event: HistoryEntry['event'],
    what: string,
    facts: HistoryEntry['facts'] = {},
  ): void {
    const seq = ++books.seq;
    const { device, id: message, generation } = row;
    const text = Object.keys(facts).length === 0 ? null : JSON.stringify(facts);
    writer.addHistory({ seq, wall: now.wall, device, message, generation, event, what, facts: text });
    if (row.id !== null) recorded.push(recordedChange(seq, row, event));
    changed(now);
    added++;
  }

  function keepResults(row: MessageRow, results: string): void {
    books.result_bytes += contents.putResults(row, results);
  }

  return {
    get books() {
      return books;
    },
    get weight() {
      return weight;
    },
    get recorded() {
      return recorded;
    },
    floor,
    begin(next) {
      books = next;
      weight = 0;
      added = 0;
      recorded = [];
    },
    miscount() {
      const { accepted, held, cleared, superseded, expired, cancelled, dead } = books;
      const missing = accepted - held - cleared - superseded - expired - cancelled - dead;
      // Told when it comes about, not at each commit from then on.
      const wrong = missing !== balance;
      balance = missing;
      return wrong ? `of ${accepted} accepted messages ${missing} are neither held nor ended` : null;
    },
    trim() {
      if (floor() > 0 && added > 0) writer.write('trimHistory', floor(), added * 2 + TRIM_STEP);
    },
    changed,
    record,
    finish(now, row, state, by, { results, facts, failed = false } = {}) {
      if (results !== undefined) keepResults(row, results);
      const forgetAt = now.at + (row.key === null ? 0 : KEY_MEMORY_MS);
      row.held = 0;
      row.failed = failed ? 1 : 0;
      row.state = state;
      row.ended_wall = now.wall;
      row.ended_by = by;
      row.forget_at = forgetAt;
      // What a phone was sent, or never will be, is nobody's business any more; a dead one may be re-driven.
      if (state !== 'dead') row.actions = null;
      const end = [now.wall, by, forgetAt];
      if (state === 'dead') writer.changeMessage('endDead', row, ...end);
      else writer.changeMessage('end', row, state, ...end, row.results, row.result_bytes, row.failed);
      books.held--;
      books.held_bytes -= row.bytes;
      books[state]++;
      books.kept++;
      record(now, row, state, by, facts);
    },
    keepResults,
  };
}

function recordedChange(seq: Sequence, row: MessageRow, event: HistoryEntry['event']): RecordedChange {
  const { id, device, generation, kind } = row;
  if (!HOLDING.has(event)) return { op: 'end', seq, id, device, generation };
  return { op: 'hold', seq, id, device, kind, generation, dueAt: row.due_at, expiresAt: row.expires_at };
}

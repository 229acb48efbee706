import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { storeSum } from './row-sums.ts';
import { FRESH_COLUMNS, HISTORY_COLUMNS } from './rules/rows.ts';
import type { StoreRow } from './rules/rows.ts';
import { MESSAGE_CHANGE_TEXTS, PENDING_COLUMNS, readingTexts, WRITING_TEXTS } from './rules/statements.ts';
import type { MessageChange } from './rules/statements.ts';
import { MARK_CHARACTERS } from './sealer.ts';

/** The store's one row, for which there must be a table. */
export function readStore(db: DatabaseSync): StoreRow {
  return { ...(db.prepare('SELECT * FROM store').get() as unknown as StoreRow) };
}

/** What names the keys of everything in the store that is sealed; see the sealer. */
export function readSealMarks(db: DatabaseSync): string[] {
  const rows = db
    .prepare(
      `SELECT substr(actions, 1, ${MARK_CHARACTERS}) AS mark FROM messages WHERE actions IS NOT NULL
       UNION SELECT substr(results, 1, ${MARK_CHARACTERS}) FROM messages WHERE results <> ''
       UNION SELECT substr(content, 1, ${MARK_CHARACTERS}) FROM messages WHERE content GLOB 'digest-1.*'`,
    )
    .all() as { mark: string }[];
  return rows.map(({ mark }) => mark);
}

/** Writes the store's one row, with its sum. */
export function writeStore(db: DatabaseSync, row: StoreRow): void {
  const { one: _one, sum: _sum, ...values } = row;
  const columns = Object.keys(values).map((name) => `${name} = ?`);
  db.prepare(`UPDATE store SET ${columns.join(', ')}, sum = ?`).run(...Object.values(values), storeSum(row));
}

/** Every statement that the ledger makes, prepared. Where a row has a sum, it is the first parameter. */
export function prepareStatements(db: DatabaseSync) {
  const columns = Object.keys(readStore(db)).filter((name) => name !== 'one');
  const summedChanges = Object.fromEntries(
    Object.entries(MESSAGE_CHANGE_TEXTS).map(([name, text]) => [
      name,
      text.replace('UPDATE messages SET ', 'UPDATE messages SET sum = ?, '),
    ]),
  ) as Record<MessageChange, string>;
  const texts = {
    ...readingTexts('instr'),
    ...WRITING_TEXTS,
    ...summedChanges,
    addMessage: `INSERT INTO messages (sum, held, state, ${FRESH_COLUMNS.join(', ')})
      VALUES (?, 1, 'held', ${FRESH_COLUMNS.map(() => '?').join(', ')})`,
    addHistory: `INSERT INTO history (sum, ${HISTORY_COLUMNS.join(', ')})
      VALUES (?, ${HISTORY_COLUMNS.map(() => '?').join(', ')})`,
    heldAlike: `SELECT ${PENDING_COLUMNS} FROM messages WHERE held = 1 AND expires_at = ? AND n > ? ORDER BY n LIMIT ?`,
    heldLater: `SELECT ${PENDING_COLUMNS} FROM messages WHERE held = 1 AND expires_at > ? ORDER BY expires_at, n LIMIT ?`,
    pageDevices: 'SELECT device FROM devices WHERE device > ? ORDER BY device LIMIT ?',
    saveStore: `UPDATE store SET ${columns.map((name) => `${name} = ?`).join(', ')}`,
  };
  const entries = Object.entries(texts).map(([name, text]) => [name, db.prepare(text)]);
  return Object.fromEntries(entries) as Record<keyof typeof texts, StatementSync>;
}

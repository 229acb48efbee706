import { BOOKS, FRESH_COLUMNS, MESSAGE_COLUMNS } from './rules/rows.ts';
import {
  MESSAGE,
  MESSAGE_CHANGE_TEXTS,
  PENDING_COLUMNS,
  readingTexts,
  WRITING_TEXTS,
} from './rules/statements.ts';
import { MARK_CHARACTERS } from './sealer.ts';

const texts = {
  ...readingTexts('strpos'),
  ...WRITING_TEXTS,
  ...MESSAGE_CHANGE_TEXTS,
  addMessage: `INSERT INTO messages (held, state, ${FRESH_COLUMNS.join(', ')})
    VALUES (1, 'held', ${FRESH_COLUMNS.map(() => '?').join(', ')})`,
  addHistory: 'INSERT INTO history VALUES (?, ?, ?, ?, ?, ?, ?, ?)',
  heldPage: `SELECT ${PENDING_COLUMNS} FROM messages WHERE held = 1 AND (expires_at, n) > (?, ?)
    ORDER BY expires_at, n LIMIT ?`,

  lockStore: `SELECT ${BOOKS.join(', ')} FROM store FOR UPDATE`,
  readStore: `SELECT ${BOOKS.join(', ')} FROM store`,
  saveStore: `UPDATE store SET ${BOOKS.map((name) => `${name} = ?`).join(', ')}`,
  keepBatch: `INSERT INTO writers (id, relay, batch, wall) VALUES (?, ?, ?, ?)
    ON CONFLICT (id) DO UPDATE SET batch = excluded.batch, wall = excluded.wall`,
  notify: 'SELECT pg_notify(?, ?)',

  devicesIn: 'SELECT * FROM devices WHERE device = ANY (ARRAY(SELECT json_array_elements_text(?::json)))',
  messagesByKeys: `SELECT DISTINCT ON (device, key) ${MESSAGE_COLUMNS.map((name) => `m.${name}`).join(', ')}
    FROM json_to_recordset(?::json) AS r(device text, key text)
    JOIN messages AS m ON m.device = r.device COLLATE "C" AND m.key = r.key COLLATE "C"
    ORDER BY device, key, generation DESC`,
  heldOfDevices: `${MESSAGE} WHERE device = ANY (ARRAY(SELECT json_array_elements_text(?::json))) AND held = 1
    ORDER BY generation`,

  sealMarks: `SELECT substr(actions, 1, ${MARK_CHARACTERS}) AS mark FROM messages WHERE actions IS NOT NULL
    UNION SELECT substr(results, 1, ${MARK_CHARACTERS}) FROM messages WHERE results <> ''
    UNION SELECT substr(content, 1, ${MARK_CHARACTERS}) FROM messages WHERE content LIKE 'digest-1.%'`,
};

export type StatementName = keyof typeof texts;

/** Every statement of a ledger, its parameters numbered as PostgreSQL wants them. */
export const STATEMENTS = Object.fromEntries(
  Object.entries(texts).map(([name, text]) => {
    let n = 0;
    return [name, text.replaceAll('?', () => `$${++n}`)];
  }),
) as Record<StatementName, string>;

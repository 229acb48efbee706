import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { storeSum } from './row-sums.ts';
import { MARK_CHARACTERS } from './sealer.ts';
import { MESSAGE_COLUMNS } from './sqlite-rows.ts';
import type { StoreRow } from './sqlite-rows.ts';

const PENDING_COLUMNS = 'n, id, device, kind, generation, due_at, expires_at';

const MESSAGE = `SELECT ${MESSAGE_COLUMNS} FROM messages`;

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

export type Statements = ReturnType<typeof prepareStatements>;

/** Every statement that the ledger makes, prepared. */
export function prepareStatements(db: DatabaseSync) {
  const matches = "(instr(device, ?) > 0 OR (? <> '' AND instr(plain, ?) > 0))";
  const columns = Object.keys(readStore(db)).filter((name) => name !== 'one');
  const texts = {
    saveStore: `UPDATE store SET ${columns.map((name) => `${name} = ?`).join(', ')}`,
    addHistory: 'INSERT INTO history VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)',
    trimHistory:
      'DELETE FROM history WHERE seq IN (SELECT seq FROM history WHERE seq <= ? ORDER BY seq LIMIT ?)',
    changes: `SELECT h.seq, h.event, h.message, h.device, h.generation, m.kind, m.due_at, m.expires_at
      FROM history AS h LEFT JOIN messages AS m
      ON m.id = h.message AND m.held = 1 AND m.generation = h.generation
      WHERE h.seq > ? ORDER BY h.seq LIMIT ?`,
    history: 'SELECT * FROM history WHERE seq > ? ORDER BY seq LIMIT ?',
    historyOf: 'SELECT * FROM history WHERE device = ? AND seq > ? ORDER BY seq LIMIT ?',
    recentHistory: 'SELECT * FROM history WHERE device = ? AND seq > ? ORDER BY seq DESC LIMIT ?',

    device: 'SELECT * FROM devices WHERE device = ?',
    addDevice: 'INSERT INTO devices (device, plain, generation, pending, dead) VALUES (?, ?, ?, ?, 0)',
    pushDevice: 'UPDATE devices SET generation = generation + 1, pending = pending + ? WHERE device = ?',
    countDevice: 'UPDATE devices SET pending = pending + ?, dead = dead + ? WHERE device = ?',
    session: 'UPDATE devices SET session_wall = ?, outcome = ? WHERE device = ?',
    scan: `SELECT * FROM (SELECT * FROM devices WHERE device > ? ORDER BY device LIMIT ?)
      WHERE CASE ? WHEN 'pending' THEN pending > 0 WHEN 'idle' THEN pending = 0 ELSE 1 END AND ${matches}
      ORDER BY device LIMIT ?`,
    rank: `SELECT * FROM (SELECT *, ? * CASE ? WHEN 'pending' THEN pending ELSE ifnull(session_wall, 0) END AS score
        FROM (SELECT * FROM devices WHERE device > ? ORDER BY device LIMIT ?))
      WHERE CASE ? WHEN 'pending' THEN pending > 0 WHEN 'idle' THEN pending = 0 WHEN 'dead' THEN dead > 0 ELSE 1 END
        AND ${matches} AND (score, device) > (?, ?) ORDER BY score, device LIMIT ?`,
    scanEnd: 'SELECT device FROM devices WHERE device > ? ORDER BY device LIMIT 1 OFFSET ?',
    scanDead: `SELECT * FROM devices WHERE dead > 0 AND device > ? AND ${matches} ORDER BY device LIMIT ?`,

    addMessage: `INSERT INTO messages (id, device, held, generation, kind, state, accepted_wall, ttl, due_at,
      expires_at, key, content, campaign, bytes, actions, parked_due, sum)
      VALUES (?, ?, 1, ?, ?, 'held', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    end: `UPDATE messages SET held = 0, state = ?, ended_wall = ?, ended_by = ?, forget_at = ?, actions = NULL,
      results = ?, result_bytes = ?, failed = ?, sum = ? WHERE n = ?`,
    advance:
      'UPDATE messages SET results = ?, result_bytes = ?, due_at = ?, awaited_until = ?, sum = ? WHERE n = ?',
    dropResults: "UPDATE messages SET results = '', result_bytes = 0, sum = ? WHERE n = ?",
    oldestResults: `${MESSAGE} WHERE held = 0 AND result_bytes > 0 ORDER BY forget_at, n LIMIT 1`,
    endDead: `UPDATE messages SET held = 0, state = 'dead', ended_wall = ?, ended_by = ?, forget_at = ?,
      sum = ? WHERE n = ?`,
    redrive: `UPDATE messages SET held = 1, state = 'held', ended_wall = NULL, ended_by = NULL, forget_at = NULL,
      fruitless = 0, awaited_until = NULL, parked_due = NULL, generation = ?, due_at = ?, expires_at = ?,
      sum = ? WHERE n = ?`,
    fruitless: 'UPDATE messages SET fruitless = ?, sum = ? WHERE n = ?',
    forget: 'DELETE FROM messages WHERE n = ?',
    forgettable: `SELECT n, device, state, forget_at, result_bytes FROM messages
      WHERE held = 0 AND forget_at <= ? ORDER BY forget_at, n LIMIT ?`,
    nextForgetting: 'SELECT min(forget_at) AS at FROM messages WHERE held = 0',
    nextExpiry: 'SELECT min(expires_at) AS at FROM messages WHERE held = 1',
    messageById: `${MESSAGE} WHERE id = ?`,
    nextActions: `${MESSAGE} WHERE device = ? AND held = 1 AND kind = 'dls' AND due_at <= ? ORDER BY generation LIMIT 1`,
    awaited: `${MESSAGE} WHERE device = ? AND held = 1 AND awaited_until IS NOT NULL ORDER BY generation`,
    overdue: `${MESSAGE} WHERE held = 1 AND awaited_until <= ? ORDER BY awaited_until, n LIMIT ?`,
    messageByKey: `${MESSAGE} WHERE device = ? AND key = ? ORDER BY generation DESC LIMIT 1`,
    heldOfDevice: `${MESSAGE} WHERE device = ? AND held = 1 ORDER BY generation`,
    newestOfDevice: `${MESSAGE} WHERE device = ? AND held = ? ORDER BY generation DESC LIMIT ?`,
    expired: `${MESSAGE} WHERE held = 1 AND expires_at <= ? ORDER BY expires_at, n LIMIT ?`,
    heldAlike: `SELECT ${PENDING_COLUMNS} FROM messages WHERE held = 1 AND expires_at = ? AND n > ? ORDER BY n LIMIT ?`,
    heldLater: `SELECT ${PENDING_COLUMNS} FROM messages WHERE held = 1 AND expires_at > ? ORDER BY expires_at, n LIMIT ?`,
    campaign: `SELECT state, count(*) AS count, sum(held = 1 AND parked_due IS NOT NULL) AS parked,
      sum(failed) AS failed FROM messages WHERE campaign = ? GROUP BY state`,
    heldOfCampaign: `${MESSAGE} WHERE campaign = ? AND state = 'held' ORDER BY n LIMIT ?`,
    parkable: `${MESSAGE} WHERE campaign = ? AND state = 'held' AND parked_due IS NULL AND awaited_until IS NULL
      ORDER BY n LIMIT ?`,
    parked: `${MESSAGE} WHERE campaign = ? AND state = 'held' AND parked_due IS NOT NULL ORDER BY n LIMIT ?`,
    defer: 'UPDATE messages SET due_at = ?, parked_due = ?, sum = ? WHERE n = ?',
    keepCampaign: 'INSERT OR REPLACE INTO campaigns (name, settings) VALUES (?, ?)',
    campaignRecord: 'SELECT settings FROM campaigns WHERE name = ?',
    campaigns: 'SELECT name, settings FROM campaigns WHERE name > ? ORDER BY name LIMIT ?',
  };
  const entries = Object.entries(texts).map(([name, text]) => [name, db.prepare(text)]);
  return Object.fromEntries(entries) as Record<keyof typeof texts, StatementSync>;
}

import { MARK_CHARACTERS } from './sealer.ts';
import { MESSAGE_COLUMNS } from './sqlite-rows.ts';
import type { StoreRow } from './sqlite-rows.ts';

/** The counters and the rest of the one row of `store` that a ledger keeps. */
export type Books = Omit<StoreRow, 'one' | 'file' | 'sum'>;

export const BOOKS = [
  'incarnation',
  'store_time',
  'wall_ahead',
  'seq',
  'held',
  'held_bytes',
  'accepted',
  'cleared',
  'superseded',
  'expired',
  'cancelled',
  'dead',
  'kept',
  'devices',
  'strangers',
  'result_bytes',
] as const satisfies (keyof Books)[];

const PENDING_COLUMNS = 'n, id, device, kind, generation, due_at, expires_at';
const MESSAGE = `SELECT ${MESSAGE_COLUMNS} FROM messages`;
const MATCHES = "(strpos(device, ?) > 0 OR (? <> '' AND strpos(plain, ?) > 0))";

const texts = {
  lockStore: `SELECT ${BOOKS.join(', ')} FROM store FOR UPDATE`,
  readStore: `SELECT ${BOOKS.join(', ')} FROM store`,
  saveStore: `UPDATE store SET ${BOOKS.map((name) => `${name} = ?`).join(', ')}`,
  keepBatch: `INSERT INTO writers (id, relay, batch, wall) VALUES (?, ?, ?, ?)
    ON CONFLICT (id) DO UPDATE SET batch = excluded.batch, wall = excluded.wall`,
  notify: 'SELECT pg_notify(?, ?)',

  addHistory: 'INSERT INTO history VALUES (?, ?, ?, ?, ?, ?, ?, ?)',
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
  devicesIn: 'SELECT * FROM devices WHERE device = ANY (ARRAY(SELECT json_array_elements_text(?::json)))',
  addDevice: 'INSERT INTO devices (device, plain, generation, pending, dead) VALUES (?, ?, ?, ?, 0)',
  pushDevice: 'UPDATE devices SET generation = generation + 1, pending = pending + ? WHERE device = ?',
  countDevice: 'UPDATE devices SET pending = pending + ?, dead = dead + ? WHERE device = ?',
  session: 'UPDATE devices SET session_wall = ?, outcome = ? WHERE device = ?',
  scan: `SELECT * FROM (SELECT * FROM devices WHERE device > ? ORDER BY device LIMIT ?) AS step
    WHERE CASE ? WHEN 'pending' THEN pending > 0 WHEN 'idle' THEN pending = 0 ELSE true END AND ${MATCHES}
    ORDER BY device LIMIT ?`,
  rank: `SELECT * FROM (SELECT *, ?::bigint * CASE ? WHEN 'pending' THEN pending ELSE coalesce(session_wall, 0) END AS score
      FROM (SELECT * FROM devices WHERE device > ? ORDER BY device LIMIT ?) AS step) AS scored
    WHERE CASE ? WHEN 'pending' THEN pending > 0 WHEN 'idle' THEN pending = 0 WHEN 'dead' THEN dead > 0 ELSE true END
      AND ${MATCHES} AND (score, device) > (?::float8, ?) ORDER BY score, device LIMIT ?`,
  scanEnd: 'SELECT device FROM devices WHERE device > ? ORDER BY device LIMIT 1 OFFSET ?',
  scanDead: `SELECT * FROM devices WHERE dead > 0 AND device > ? AND ${MATCHES} ORDER BY device LIMIT ?`,

  addMessage: `INSERT INTO messages (id, device, held, generation, kind, state, accepted_wall, ttl, due_at,
    expires_at, key, content, campaign, bytes, actions, parked_due)
    VALUES (?, ?, 1, ?, ?, 'held', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
  end: `UPDATE messages SET held = 0, state = ?, ended_wall = ?, ended_by = ?, forget_at = ?, actions = NULL,
    results = ?, result_bytes = ?, failed = ? WHERE n = ?`,
  advance: 'UPDATE messages SET results = ?, result_bytes = ?, due_at = ?, awaited_until = ? WHERE n = ?',
  dropResults: "UPDATE messages SET results = '', result_bytes = 0 WHERE n = ?",
  oldestResults: `${MESSAGE} WHERE held = 0 AND result_bytes > 0 ORDER BY forget_at, n LIMIT 1`,
  endDead: `UPDATE messages SET held = 0, state = 'dead', ended_wall = ?, ended_by = ?, forget_at = ? WHERE n = ?`,
  redrive: `UPDATE messages SET held = 1, state = 'held', ended_wall = NULL, ended_by = NULL, forget_at = NULL,
    fruitless = 0, awaited_until = NULL, parked_due = NULL, generation = ?, due_at = ?, expires_at = ? WHERE n = ?`,
  fruitless: 'UPDATE messages SET fruitless = ? WHERE n = ?',
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
  messagesByKeys: `SELECT DISTINCT ON (device, key) ${MESSAGE_COLUMNS.split(', ')
    .map((name) => `m.${name}`)
    .join(', ')} FROM json_to_recordset(?::json) AS r(device text, key text)
    JOIN messages AS m ON m.device = r.device COLLATE "C" AND m.key = r.key COLLATE "C"
    ORDER BY device, key, generation DESC`,
  heldOfDevices: `${MESSAGE} WHERE device = ANY (ARRAY(SELECT json_array_elements_text(?::json))) AND held = 1
    ORDER BY generation`,
  heldOfDevice: `${MESSAGE} WHERE device = ? AND held = 1 ORDER BY generation`,
  newestOfDevice: `${MESSAGE} WHERE device = ? AND held = ? ORDER BY generation DESC LIMIT ?`,
  expired: `${MESSAGE} WHERE held = 1 AND expires_at <= ? ORDER BY expires_at, n LIMIT ?`,
  heldPage: `SELECT ${PENDING_COLUMNS} FROM messages WHERE held = 1 AND (expires_at, n) > (?, ?)
    ORDER BY expires_at, n LIMIT ?`,
  campaign: `SELECT state, count(*) AS count, count(*) FILTER (WHERE held = 1 AND parked_due IS NOT NULL) AS parked,
    count(*) FILTER (WHERE failed = 1) AS failed FROM messages WHERE campaign = ? GROUP BY state`,
  heldOfCampaign: `${MESSAGE} WHERE campaign = ? AND state = 'held' ORDER BY n LIMIT ?`,
  parkable: `${MESSAGE} WHERE campaign = ? AND state = 'held' AND parked_due IS NULL AND awaited_until IS NULL
    ORDER BY n LIMIT ?`,
  parked: `${MESSAGE} WHERE campaign = ? AND state = 'held' AND parked_due IS NOT NULL ORDER BY n LIMIT ?`,
  defer: 'UPDATE messages SET due_at = ?, parked_due = ? WHERE n = ?',
  keepCampaign: `INSERT INTO campaigns (name, settings) VALUES (?, ?)
    ON CONFLICT (name) DO UPDATE SET settings = excluded.settings`,
  campaignRecord: 'SELECT settings FROM campaigns WHERE name = ?',
  campaigns: 'SELECT name, settings FROM campaigns WHERE name > ? ORDER BY name LIMIT ?',

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

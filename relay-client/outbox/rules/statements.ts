import { MESSAGE_COLUMNS } from './rows.ts';

/*
 * What both databases are asked and told in the same words, with `?` for a parameter. The order of the parameters is part
 * of a statement: the rules give them in it.
 */

/** Columns of what a page of held messages shows. */
export const PENDING_COLUMNS = 'n, id, device, kind, generation, due_at, expires_at';

export const MESSAGE = `SELECT ${MESSAGE_COLUMNS.join(', ')} FROM messages`;

/** @param position - the function that finds a text in another one and gives 0 where it isn't in it */
export function readingTexts(position: 'strpos' | 'instr') {
  const matches = `${position}(CASE ? WHEN 'plain' THEN plain ELSE device END, ?) > 0`;
  return {
    changes: `SELECT h.seq, h.event, h.message, h.device, h.generation, m.kind, m.due_at, m.expires_at
      FROM history AS h LEFT JOIN messages AS m
      ON m.id = h.message AND m.held = 1 AND m.generation = h.generation
      WHERE h.seq > ? ORDER BY h.seq LIMIT ?`,
    history: 'SELECT * FROM history WHERE seq > ? ORDER BY seq LIMIT ?',
    historyOf: 'SELECT * FROM history WHERE device = ? AND seq > ? ORDER BY seq LIMIT ?',
    recentHistory: 'SELECT * FROM history WHERE device = ? AND seq > ? ORDER BY seq DESC LIMIT ?',

    device: 'SELECT * FROM devices WHERE device = ?',
    deviceIds: 'SELECT device FROM devices WHERE device > ? ORDER BY device LIMIT ?',
    scan: `SELECT * FROM (SELECT * FROM devices WHERE device > ? ORDER BY device LIMIT ?) AS step
      WHERE CASE ? WHEN 'pending' THEN pending > 0 WHEN 'idle' THEN pending = 0 ELSE true END AND ${matches}
      ORDER BY device LIMIT ?`,
    rank: `SELECT * FROM (SELECT *, CAST(? AS bigint) *
          CASE ? WHEN 'pending' THEN pending ELSE coalesce(session_wall, 0) END AS score
        FROM (SELECT * FROM devices WHERE device > ? ORDER BY device LIMIT ?) AS step) AS scored
      WHERE CASE ? WHEN 'pending' THEN pending > 0 WHEN 'idle' THEN pending = 0 WHEN 'dead' THEN dead > 0 ELSE true END
        AND ${matches} AND (score, device) > (CAST(? AS float8), ?) ORDER BY score, device LIMIT ?`,
    scanEnd: 'SELECT device FROM devices WHERE device > ? ORDER BY device LIMIT 1 OFFSET ?',
    scanDead: `SELECT * FROM devices WHERE dead > 0 AND device > ? AND ${matches} ORDER BY device LIMIT ?`,

    oldestResults: `${MESSAGE} WHERE held = 0 AND result_bytes > 0 ORDER BY forget_at, n LIMIT 1`,
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

    campaign: `SELECT state, count(*) AS count, count(*) FILTER (WHERE held = 1 AND parked_due IS NOT NULL) AS parked,
      count(*) FILTER (WHERE failed = 1) AS failed FROM messages WHERE campaign = ? GROUP BY state`,
    heldOfCampaign: `${MESSAGE} WHERE campaign = ? AND state = 'held' ORDER BY n LIMIT ?`,
    parkable: `${MESSAGE} WHERE campaign = ? AND state = 'held' AND parked_due IS NULL AND awaited_until IS NULL
      ORDER BY n LIMIT ?`,
    parked: `${MESSAGE} WHERE campaign = ? AND state = 'held' AND parked_due IS NOT NULL ORDER BY n LIMIT ?`,
    heldInCampaign: "SELECT 1 AS held FROM messages WHERE campaign = ? AND state = 'held' LIMIT 1",
    campaignRecord: 'SELECT settings FROM campaigns WHERE name = ?',
    campaigns: 'SELECT name, settings FROM campaigns WHERE name > ? ORDER BY name LIMIT ?',
  };
}

/** What the rules ask. `heldPage` is the databases' own: held messages after a time of expiry and a number, so many of them. */
export type Reading = keyof ReturnType<typeof readingTexts> | 'heldPage';

export const WRITING_TEXTS = {
  trimHistory:
    'DELETE FROM history WHERE seq IN (SELECT seq FROM history WHERE seq <= ? ORDER BY seq LIMIT ?)',
  addDevice: 'INSERT INTO devices (device, plain, generation, pending, dead) VALUES (?, ?, ?, ?, 0)',
  pushDevice: 'UPDATE devices SET generation = generation + 1, pending = pending + ? WHERE device = ?',
  countDevice: 'UPDATE devices SET pending = pending + ?, dead = dead + ? WHERE device = ?',
  session: 'UPDATE devices SET session_wall = ?, outcome = ? WHERE device = ?',
  forget: 'DELETE FROM messages WHERE n = ?',
  keepCampaign: `INSERT INTO campaigns (name, settings) VALUES (?, ?)
    ON CONFLICT (name) DO UPDATE SET settings = excluded.settings`,
};

export type Writing = keyof typeof WRITING_TEXTS;

/** What changes one message; its number is the last parameter. */
export const MESSAGE_CHANGE_TEXTS = {
  end: `UPDATE messages SET held = 0, state = ?, ended_wall = ?, ended_by = ?, forget_at = ?, actions = NULL,
    results = ?, result_bytes = ?, failed = ? WHERE n = ?`,
  endDead: `UPDATE messages SET held = 0, state = 'dead', ended_wall = ?, ended_by = ?, forget_at = ? WHERE n = ?`,
  advance: 'UPDATE messages SET results = ?, result_bytes = ?, due_at = ?, awaited_until = ? WHERE n = ?',
  dropResults: "UPDATE messages SET results = '', result_bytes = 0 WHERE n = ?",
  redrive: `UPDATE messages SET held = 1, state = 'held', ended_wall = NULL, ended_by = NULL, forget_at = NULL,
    fruitless = 0, awaited_until = NULL, parked_due = NULL, generation = ?, due_at = ?, expires_at = ? WHERE n = ?`,
  fruitless: 'UPDATE messages SET fruitless = ? WHERE n = ?',
  defer: 'UPDATE messages SET due_at = ?, parked_due = ? WHERE n = ?',
};

export type MessageChange = keyof typeof MESSAGE_CHANGE_TEXTS;

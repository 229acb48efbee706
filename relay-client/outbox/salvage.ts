import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { withoutSeparators } from './device-search.ts';
import { storeSum, sumOf } from './row-sums.ts';
import { CONTENT_COLUMNS, HISTORY_COLUMNS } from './rules/rows.ts';
import type { DeviceRow, StoreRow } from './rules/rows.ts';
import { createReader } from './salvage-reader.ts';
import type { Unreadable } from './salvage-reader.ts';
import { SUMS_SINCE } from './schema.ts';
import { readStore, writeStore } from './sqlite-statements.ts';
import { defineFunctions } from './store-check.ts';
import { createEmptyStore } from './store-make.ts';
import { replaceStore, STORE_FILE } from './store-place.ts';

/** What a damaged store had and its successor has not, as far as it can be known. */
export interface Loss {
  /** What was found wrong. */
  why: string;
  /** Where the damaged files are, with this report as `loss.json`. */
  aside: string;
  kept: { held: number; ended: number; history: number };
  /** Held messages that are gone; null = unknown, for the counters are gone too. */
  heldLost: number | null;
  /** Messages that are gone and whose acceptance, but no end, is in the history. */
  messages: { id: string; device: string; generation: number }[];
  /** Devices that had more messages held than were found, and how many are gone. */
  devices: { device: string; lost: number }[];
  /** Rows that could be read and had changed, and ranges of rows that could not be read. */
  changed: { messages: number; history: number; devices: number };
  unreadable: { messages: Unreadable[]; history: Unreadable[]; devices: boolean };
}

/** Columns that messages of older versions lack. */
const ADDED_SINCE = { results: null, result_bytes: 0, awaited_until: null, parked_due: null, failed: 0 };
/** The same of the counters. */
const ADDED_TO_STORE_SINCE = { wall_ahead: 0 };

const REPORT_FILE = 'loss.json';

const ENDS = ['cleared', 'superseded', 'expired', 'cancelled', 'dead'] as const;

/**
 * Makes of what is readable in a damaged store, row by row, a store in its place; the damaged files go into a directory
 * beside it. A row is taken over only if it has its sum: what is kept is as it was written.
 *
 * To be called with the outbox's lock held and the store closed.
 *
 * @param why - what was found wrong
 */
export function salvageStore(directory: string, why: string): Loss {
  const path = join(directory, STORE_FILE);
  const draft = `${path}.new`;
  createEmptyStore(draft, '');
  const into = new DatabaseSync(draft);
  let loss: Omit<Loss, 'aside'>;
  try {
    defineFunctions(into);
    into.exec('PRAGMA synchronous = FULL; BEGIN');
    const from = openDamaged(path);
    try {
      loss = { why, ...carryOver(from, into) };
    } finally {
      from?.close();
    }
    into.exec('COMMIT');
  } finally {
    into.close();
  }
  const aside = replaceStore(directory, draft, 'damaged') ?? directory;
  const report: Loss = { ...loss, aside };
  writeFileSync(join(aside, REPORT_FILE), `${JSON.stringify(report, null, 2)}\n`, { mode: 0o600 });
  return report;
}

/** The damaged file, as far as SQLite opens it at all. */
function openDamaged(path: string): DatabaseSync | null {
  if (!existsSync(path)) return null;
  try {
    // What is damaged stays as it was found.
    const db = new DatabaseSync(path, { readOnly: true });
    try {
      db.exec('PRAGMA trusted_schema = OFF');
      db.prepare('SELECT count(*) FROM sqlite_schema').get();
      return db;
    } catch {
      db.close();
      return null;
    }
  } catch {
    // Not a database any more: there is nothing to read in it, which the report says by its numbers.
    return null;
  }
}

function carryOver(from: DatabaseSync | null, into: DatabaseSync): Omit<Loss, 'aside' | 'why'> {
  const before = from === null ? null : readCounters(from);
  const reader = createReader(from);
  // Before there were sums, a row was whatever could be read.
  const summed = from === null || isSummed(from);
  const carry = (
    table: 'messages' | 'history',
    key: string,
    columns: readonly string[],
    last: number | null,
  ) => {
    const taken = [...(table === 'messages' ? ['n'] : []), ...columns];
    const names = [...taken, 'sum'];
    // Damage can show one row at two places; the first will do.
    const add = into.prepare(
      `INSERT OR IGNORE INTO ${table} (${names.join(', ')}) VALUES (${names.map(() => '?').join(', ')})`,
    );
    return reader.rows(table, key, last, (found) => {
      const row = summed ? found : { ...ADDED_SINCE, ...found };
      if (taken.some((name) => row[name] === undefined)) return false;
      const sum = sumOf(columns.map((name) => row[name] as string | number | null));
      if (summed && row['sum'] !== sum) return false;
      add.run(...taken.map((name) => row[name]!), sum);
      return true;
    });
  };
  const messages = carry('messages', 'n', CONTENT_COLUMNS, before?.accepted ?? null);
  const history = carry('history', 'seq', HISTORY_COLUMNS, before?.seq ?? null);
  const devices = reader.devices((row) => row['plain'] === withoutSeparators(String(row['device'])));

  const known = devices.rows as unknown as SavedDevice[];
  const counts = rebuild(into, known, before);
  const pending = into.prepare('SELECT pending FROM devices WHERE device = ?');
  return {
    kept: counts,
    heldLost: before === null ? null : Math.max(0, before.held - counts.held),
    messages: lostMessages(into),
    devices: known.flatMap(({ device, pending: had }) => {
      const lost = had - ((pending.get(device) as { pending: number } | undefined)?.pending ?? 0);
      return lost > 0 ? [{ device, lost }] : [];
    }),
    changed: { messages: messages.changed, history: history.changed, devices: devices.changed },
    unreadable: {
      messages: messages.unreadable,
      history: history.unreadable,
      devices: devices.unreadable.length > 0,
    },
  };
}

/** The counters, if they can be relied on. */
function readCounters(db: DatabaseSync): StoreRow | null {
  try {
    const row = readStore(db);
    return row.sum === storeSum(row) || !isSummed(db) ? { ...ADDED_TO_STORE_SINCE, ...row } : null;
  } catch {
    return null;
  }
}

/** Whether its rows have sums; what is damaged beyond telling has. */
function isSummed(db: DatabaseSync): boolean {
  try {
    const version = Number(Object.values(db.prepare('PRAGMA user_version').get() ?? {})[0]);
    return version === 0 || version >= SUMS_SINCE;
  } catch {
    return true;
  }
}

type SavedDevice = DeviceRow & { plain: string };

/** Makes devices and counters fit the messages that are there. */
function rebuild(into: DatabaseSync, devices: SavedDevice[], before: StoreRow | null): Loss['kept'] {
  const add = into.prepare('INSERT INTO devices VALUES (?, ?, ?, 0, 0, ?, ?)');
  for (const { device, plain, generation, session_wall: at, outcome } of devices) {
    add.run(device, plain, generation, at, outcome);
  }
  into.exec(`INSERT INTO devices (device, plain, generation, pending, dead)
    SELECT device, plain_of(device), max(generation), sum(held), sum(state = 'dead') FROM messages
      WHERE true GROUP BY device
    ON CONFLICT (device) DO UPDATE SET generation = max(generation, excluded.generation),
      pending = excluded.pending, dead = excluded.dead`);
  const one = (sql: string): number => Number(Object.values(into.prepare(sql).get() ?? {})[0] ?? 0);
  const store = readStore(into);
  const held = one('SELECT count(*) FROM messages WHERE held = 1');
  const ended = one('SELECT count(*) FROM messages WHERE held = 0');
  const endedBy = Object.fromEntries(
    ENDS.map((state) => [
      state,
      before?.[state] ?? one(`SELECT count(*) FROM messages WHERE held = 0 AND state = '${state}'`),
    ]),
  ) as Pick<StoreRow, (typeof ENDS)[number]>;
  writeStore(into, {
    ...store,
    ...endedBy,
    ...lastTimes(before, one),
    seq: Math.max(before?.seq ?? 0, one('SELECT max(seq) FROM history')),
    held,
    held_bytes: one('SELECT sum(bytes) FROM messages WHERE held = 1'),
    result_bytes: one('SELECT sum(result_bytes) FROM messages'),
    // What is gone was accepted and has not ended: it is not counted, or the sum would never be right again.
    accepted: held + ENDS.reduce((sum, state) => sum + endedBy[state], 0),
    kept: ended,
    devices: one('SELECT count(*) FROM devices'),
    strangers: one('SELECT count(*) FROM devices WHERE generation = 0'),
  });
  return { held, ended, history: one('SELECT count(*) FROM history') };
}

/** Where the counters are gone, what is left tells of a time before which they were not written. */
function lastTimes(
  before: StoreRow | null,
  one: (sql: string) => number,
): Pick<StoreRow, 'store_time' | 'wall_ahead'> {
  if (before !== null) return { store_time: before.store_time, wall_ahead: before.wall_ahead };
  const store_time = one('SELECT max(expires_at - ttl) FROM messages');
  return { store_time, wall_ahead: Math.max(0, one('SELECT max(wall) FROM history') - store_time) };
}

/** Whose acceptance is in the history, but no end, and which are not there. */
function lostMessages(into: DatabaseSync): Loss['messages'] {
  const open = new Map<string, Loss['messages'][number]>();
  const entries = into.prepare(
    'SELECT message AS id, device, generation, event FROM history WHERE message IS NOT NULL ORDER BY seq',
  );
  for (const { event, ...entry } of entries.iterate() as Iterable<
    Loss['messages'][number] & { event: string }
  >) {
    if (event === 'accepted' || event === 'redriven') open.set(entry.id, { ...entry });
    else open.delete(entry.id);
  }
  const there = into.prepare('SELECT 1 FROM messages WHERE id = ?');
  return [...open.values()].filter(({ id }) => there.get(id) === undefined);
}

/** The first lines of a report, for a log: no more than an operator reads. */
export function summarise(loss: Loss): Record<string, unknown> {
  const few = 20;
  return {
    why: loss.why,
    report: join(loss.aside, REPORT_FILE),
    kept: loss.kept,
    heldLost: loss.heldLost,
    lostMessages: loss.messages.length,
    messages: loss.messages.slice(0, few),
    devices: loss.devices.slice(0, few),
    changed: loss.changed,
  };
}

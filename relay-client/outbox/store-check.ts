import { DatabaseSync } from 'node:sqlite';
import { describeError, isSallyportError, SallyportError } from '../../shared/errors.ts';
import { withoutSeparators } from './device-search.ts';
import { storeSum, sumOf } from './row-sums.ts';
import { CONTENT_COLUMNS, HISTORY_COLUMNS } from './rules/rows.ts';
import { APPLICATION_ID, SCHEMA, SCHEMA_VERSION, SUMS_SINCE, UPGRADES } from './schema.ts';
import { damaged, isStorageError, storageFailure } from './sqlite-errors.ts';
import { readStore, writeStore } from './sqlite-statements.ts';

/** Lines of a damage report that go into the error. */
const DAMAGE_LINES = 3;

/**
 * The largest store that is checked whole before it is used. A larger one is checked in its structure, its counters and
 * what is held; the rest while it is used already, for at the largest it would take minutes.
 */
export const WHOLE_CHECK_BYTES = 256 * 2 ** 20;

/** A store that a later version wrote: nothing is wrong with it. */
export class NewerFormat extends SallyportError {}

/**
 * Brings an older store to the present format, and refuses what isn't an outbox or is damaged.
 *
 * @param wholeBytes - the size up to which it is checked whole
 * @returns whether it was checked whole
 * @throws SallyportError OUTBOX_DAMAGED, as {@link NewerFormat} where it is of a newer version
 */
export function checkStore(
  db: DatabaseSync,
  file: string,
  directory: string,
  wholeBytes = WHOLE_CHECK_BYTES,
): boolean {
  const application = pragma(db, 'application_id');
  if (application !== APPLICATION_ID) throw damaged(directory, `${file} is not an outbox's file`);
  const version = Number(pragma(db, 'user_version'));
  if (version > SCHEMA_VERSION) {
    throw new NewerFormat(
      'OUTBOX_DAMAGED',
      `The outbox in ${directory} has format ${version}; this version reads up to ${SCHEMA_VERSION}. It was ` +
        'left as it is; start the newer version that wrote it.',
    );
  }
  const whole = Number(pragma(db, 'page_count')) * Number(pragma(db, 'page_size')) <= wholeBytes;
  const lines = guarded(directory, () => {
    if (version < SCHEMA_VERSION) {
      // What is not well formed must not be given sums that say it is.
      const broken = [...structure(db, true), ...(version < SUMS_SINCE ? [] : findMiscount(db))];
      if (broken.length > 0) return broken;
      upgrade(db, version);
    }
    return findDamage(db, whole);
  });
  if (lines.length > 0) throw damaged(directory, `${file}: ${lines.slice(0, DAMAGE_LINES).join('; ')}`);
  return whole;
}

/** What is wrong with a store of the present format, line by line; empty = nothing. Costs a reading of the store. */
export function findDamage(db: DatabaseSync, whole: boolean): string[] {
  const broken = structure(db, whole);
  return broken.length > 0 ? broken : [...findMiscount(db), ...values(db, whole)];
}

/** Whatever SQLite or the reading of a value makes of damage, it is damage; but a lack of room or a lock is none. */
function guarded(directory: string, check: () => string[]): string[] {
  try {
    return check();
  } catch (error) {
    if (isSallyportError(error)) throw error;
    const failure = isStorageError(error) ? storageFailure(error, directory).error : null;
    if (failure !== null && failure.code !== 'OUTBOX_STORAGE') throw failure;
    if (failure !== null && isNoDamage(error)) throw failure;
    return [describeError(error)];
  }
}

/** SQLITE_FULL, SQLITE_IOERR, SQLITE_NOMEM: the machine's fault, not the file's. */
function isNoDamage(error: unknown): boolean {
  const code = error instanceof Error && 'errcode' in error ? Number(error.errcode) & 0xff : 0;
  return [13, 10, 7].includes(code);
}

function structure(db: DatabaseSync, whole: boolean): string[] {
  if (pragma(db, 'journal_mode') !== 'wal') return ['it says that it has no log'];
  const version = Number(pragma(db, 'user_version'));
  if (version === SCHEMA_VERSION && schemaOf(db) !== expectedSchema()) return ['its tables are not ours'];
  const check = whole ? 'integrity_check' : 'quick_check';
  const lines = db
    .prepare(`PRAGMA ${check}(${DAMAGE_LINES})`)
    .all()
    .flatMap((row) => Object.values(row).map(String));
  return lines.length === 1 && lines[0] === 'ok' ? [] : lines;
}

/** Whether accepted = ended + held, by the counters, and whether so many are held indeed. Empty = yes. */
export function findMiscount(db: DatabaseSync): string[] {
  const { rows } = db.prepare('SELECT count(*) AS rows FROM store').get() as { rows: number };
  if (rows !== 1) return [`there are ${rows} rows of counters, not one`];
  const store = readStore(db);
  if (store.sum !== storeSum(store)) return ['the counters do not have their sum'];
  const ended = store.cleared + store.superseded + store.expired + store.cancelled + store.dead;
  const { held } = db.prepare('SELECT count(*) AS held FROM messages WHERE held = 1').get() as {
    held: number;
  };
  if (store.held === held && store.accepted === ended + held) return [];
  return [
    `${store.accepted} accepted messages should be ${ended} ended and ${store.held} held, but ${held} are held`,
  ];
}

function values(db: DatabaseSync, whole: boolean): string[] {
  defineFunctions(db);
  const message = `sum <> sum_of(${CONTENT_COLUMNS.join(', ')})`;
  const checks = [
    `SELECT 'message ' || n || ' does not have its sum' AS line FROM messages WHERE held = 1 AND ${message}`,
    `SELECT 'message ' || n || ' is of a device that is not there' AS line FROM messages
      WHERE held = 1 AND device NOT IN (SELECT device FROM devices)`,
  ];
  const rest = [
    `SELECT 'message ' || n || ' does not have its sum' AS line FROM messages WHERE held = 0 AND ${message}`,
    `SELECT 'change ' || seq || ' does not have its sum' AS line FROM history
      WHERE sum <> sum_of(${HISTORY_COLUMNS.join(', ')})`,
    `SELECT 'device ' || d.device || ' does not fit its messages' AS line FROM devices AS d
      LEFT JOIN (SELECT device, sum(held) AS held, sum(state = 'dead') AS dead, max(generation) AS newest
        FROM messages GROUP BY device) AS m ON m.device = d.device
      WHERE d.plain <> plain_of(d.device) OR d.pending <> ifnull(m.held, 0) OR d.dead <> ifnull(m.dead, 0)
        OR d.generation NOT BETWEEN ifnull(m.newest, 0) AND ${Number.MAX_SAFE_INTEGER}
        OR ifnull(d.session_wall, 0) NOT BETWEEN 0 AND ${Number.MAX_SAFE_INTEGER}`,
  ];
  return [...checks, ...(whole ? rest : [])].flatMap((sql) =>
    db
      .prepare(`${sql} LIMIT ${DAMAGE_LINES}`)
      .all()
      .map(({ line }) => String(line)),
  );
}

/** Makes `sum_of(…)` and `plain_of(device)` known to a connection. */
export function defineFunctions(db: DatabaseSync): void {
  db.function('sum_of', { varargs: true }, (...given) => sumOf(given as (string | number | null)[]));
  db.function('plain_of', (device) => withoutSeparators(String(device)));
}

/** Brings a store of an older version up to this one, all or nothing. */
function upgrade(db: DatabaseSync, from: number): void {
  const steps = Array.from({ length: SCHEMA_VERSION - from }, (_, i) => UPGRADES[from + i] ?? '');
  defineFunctions(db);
  db.exec('BEGIN IMMEDIATE');
  try {
    db.exec(steps.join(''));
    if (from < SUMS_SINCE) addSums(db);
    writeStore(db, readStore(db));
    db.exec(`PRAGMA user_version = ${SCHEMA_VERSION}; COMMIT`);
  } catch (error) {
    if (db.isTransaction) db.exec('ROLLBACK');
    throw error;
  }
}

function addSums(db: DatabaseSync): void {
  db.exec(`UPDATE messages SET sum = sum_of(${CONTENT_COLUMNS.join(', ')})`);
  db.exec(`UPDATE history SET sum = sum_of(${HISTORY_COLUMNS.join(', ')})`);
}

function schemaOf(db: DatabaseSync): string {
  const rows = db.prepare('SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name').all();
  // A format that was reached step by step differs from a fresh one in white space.
  return rows.map(({ sql }) => String(sql).replaceAll(/\s+/g, '')).join(';');
}

function expectedSchema(): string {
  const db = new DatabaseSync(':memory:');
  try {
    db.exec(SCHEMA);
    return schemaOf(db);
  } finally {
    db.close();
  }
}

function pragma(db: DatabaseSync, name: string): unknown {
  return Object.values(db.prepare(`PRAGMA ${name}`).get() ?? {})[0];
}

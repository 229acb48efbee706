import { accessSync, chmodSync, closeSync, constants, existsSync, fsyncSync } from 'node:fs';
import { linkSync, mkdirSync, openSync, renameSync, rmSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { backup, DatabaseSync } from 'node:sqlite';
import { SallyportError } from '../../shared/errors.ts';
import type { Incarnation } from './outbox.ts';
import { APPLICATION_ID, CONNECTION_PRAGMAS, SCHEMA, SCHEMA_VERSION } from './schema.ts';
import { damaged, isLockedOut, lockedOut, storageFailure, unwritable } from './sqlite-errors.ts';
import { readStore } from './sqlite-ledger.ts';

/** The store's file inside the outbox's directory; SQLite keeps its log beside it, with `-wal` added. */
export const STORE_FILE = 'outbox.db';

/** Lines of a damage report that go into the error. */
const DAMAGE_LINES = 3;

/** Pages that a backup copies in one go: all. */
const ALL_PAGES = 2 ** 31 - 1;

export interface OpenedStore {
  db: DatabaseSync;
  /** Why the store began a new incarnation at this opening; null = it goes on with its last one. */
  renewed: 'fresh' | 'restored' | null;
}

/**
 * Opens the store in `directory`, made if there is none, and checks it.
 *
 * @param incarnation - what it is called from now on if it is fresh, or not the file that was last opened here
 * @throws SallyportError FILE_UNWRITABLE, OUTBOX_LOCKED, OUTBOX_DAMAGED, OUTBOX_STORAGE
 */
export function openStore(directory: string, incarnation: Incarnation): OpenedStore {
  const path = join(directory, STORE_FILE);
  let fresh = false;
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    accessSync(directory, constants.R_OK | constants.W_OK | constants.X_OK);
    fresh = !existsSync(path);
    if (!fresh) {
      accessSync(path, constants.R_OK | constants.W_OK);
      // Never by opening it: closing any descriptor of a file drops this process's locks on it (fcntl(2)).
      chmodSync(path, 0o600);
    }
  } catch (error) {
    throw unwritable(directory, error);
  }
  if (fresh && existsSync(`${path}-wal`)) {
    throw damaged(directory, `${STORE_FILE} is missing, but its log ${STORE_FILE}-wal is there`);
  }
  if (fresh) createStore(directory, path, incarnation);

  let db: DatabaseSync | null = null;
  try {
    db = new DatabaseSync(path);
    db.exec(CONNECTION_PRAGMAS);
    db.exec('PRAGMA journal_mode = WAL');
    // The first write takes the lock, and keeps it until the process ends.
    db.exec('BEGIN EXCLUSIVE; COMMIT');
    checkStore(db, directory);
    return { db, renewed: recogniseFile(db, path, fresh, incarnation) };
  } catch (error) {
    db?.close();
    if (error instanceof SallyportError) throw error;
    throw isLockedOut(error) ? lockedOut(directory) : storageFailure(error, directory).error;
  }
}

/**
 * Makes the store beside its place and then links it there, whole: so a file that is too short was cut, and two
 * processes that start at once agree on one.
 */
function createStore(directory: string, path: string, incarnation: Incarnation): void {
  const draft = `${path}.${process.pid}.${incarnation}.new`;
  try {
    closeSync(openSync(draft, 'wx', 0o600));
    const db = new DatabaseSync(draft);
    try {
      db.exec('PRAGMA synchronous = FULL; BEGIN');
      db.exec(SCHEMA);
      db.prepare('INSERT INTO store (one, incarnation, file) VALUES (1, ?, ?)').run(incarnation, '');
      db.exec(`PRAGMA application_id = ${APPLICATION_ID}; PRAGMA user_version = ${SCHEMA_VERSION}; COMMIT`);
    } finally {
      db.close();
    }
    linkSync(draft, path);
    syncDirectory(directory);
  } catch (error) {
    // Another process was faster: its store is the one.
    if (error instanceof Error && 'code' in error && error.code === 'EEXIST') return;
    const failure = storageFailure(error, directory).error;
    throw error instanceof Error && 'errcode' in error ? failure : unwritable(directory, error);
  } finally {
    rmSync(draft, { force: true });
    rmSync(`${draft}-journal`, { force: true });
  }
}

/** Refuses what isn't an outbox, is from the future, or is damaged. */
function checkStore(db: DatabaseSync, directory: string): void {
  const application = pragma(db, 'application_id');
  if (application !== APPLICATION_ID) throw damaged(directory, `${STORE_FILE} is not an outbox's file`);
  const version = Number(pragma(db, 'user_version'));
  if (version > SCHEMA_VERSION) {
    throw new SallyportError(
      'OUTBOX_DAMAGED',
      `The outbox in ${directory} has format ${version}; this version reads up to ${SCHEMA_VERSION}. It was ` +
        'left as it is; start the newer version that wrote it.',
    );
  }
  const lines = db
    .prepare('PRAGMA quick_check')
    .all()
    .flatMap((row) => Object.values(row).map(String));
  if (lines.length !== 1 || lines[0] !== 'ok') {
    throw damaged(directory, `${STORE_FILE}: ${lines.slice(0, DAMAGE_LINES).join('; ')}`);
  }
  const store = readStore(db);
  const ended = store.cleared + store.superseded + store.expired + store.cancelled + store.dead;
  const { held } = db.prepare('SELECT count(*) AS held FROM messages WHERE held = 1').get() as {
    held: number;
  };
  if (store.held !== held || store.accepted !== ended + held) {
    throw damaged(
      directory,
      `${STORE_FILE}: ${store.accepted} accepted messages should be ${ended} ended and ${store.held} held, but ${held} are held`,
    );
  }
}

/**
 * Tells whether this is the very file that was last opened here: a file put back from a copy has another inode,
 * and our own backups name none. What it says may then be older than what proxies have seen of it.
 */
function recogniseFile(
  db: DatabaseSync,
  path: string,
  fresh: boolean,
  incarnation: Incarnation,
): OpenedStore['renewed'] {
  const { dev, ino, birthtimeNs } = statSync(path, { bigint: true });
  const file = `${dev}:${ino}:${birthtimeNs}`;
  const known = readStore(db).file;
  if (known === file) return null;
  db.prepare('UPDATE store SET file = ?, incarnation = ?').run(file, incarnation);
  return fresh ? 'fresh' : 'restored';
}

/**
 * Copies the open store to `path`, whole and as of now; the caller begins no transaction meanwhile. The copy is
 * written beside its place and then put there, and starts a new incarnation when it is opened.
 */
export async function backUpStore(db: DatabaseSync, path: string): Promise<void> {
  const draft = `${path}.${process.pid}.new`;
  try {
    rmSync(draft, { force: true });
    closeSync(openSync(draft, 'wx', 0o600));
    await backup(db, draft, { rate: ALL_PAGES });
    const copy = new DatabaseSync(draft);
    try {
      copy.exec(`PRAGMA synchronous = FULL; PRAGMA journal_mode = DELETE; UPDATE store SET file = ''`);
    } finally {
      copy.close();
    }
    renameSync(draft, path);
    syncDirectory(dirname(path));
  } catch (error) {
    rmSync(draft, { force: true });
    if (error instanceof Error && 'errcode' in error) throw storageFailure(error, path).error;
    throw new SallyportError(
      'FILE_UNWRITABLE',
      `The backup ${basename(path)} can't be written to ${dirname(path)}: ${String(error)}.`,
      { cause: error },
    );
  }
}

function pragma(db: DatabaseSync, name: string): unknown {
  return Object.values(db.prepare(`PRAGMA ${name}`).get() ?? {})[0];
}

function syncDirectory(directory: string): void {
  const handle = openSync(directory, constants.O_RDONLY);
  try {
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
}

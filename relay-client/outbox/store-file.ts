import { accessSync, chmodSync, closeSync, constants, existsSync, fsyncSync } from 'node:fs';
import { mkdirSync, openSync, renameSync, rmSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { backup, DatabaseSync } from 'node:sqlite';
import { describeError, SallyportError } from '../../shared/errors.ts';
import type { Incarnation } from './outbox.ts';
import { APPLICATION_ID, CONNECTION_PRAGMAS, SCHEMA, SCHEMA_VERSION, UPGRADES } from './schema.ts';
import {
  damaged,
  isLockedOut,
  isStorageError,
  lockedOut,
  storageFailure,
  unwritable,
} from './sqlite-errors.ts';
import { readStore } from './sqlite-statements.ts';

/** The store's file inside the outbox's directory; SQLite keeps its log beside it, with `-wal` and `-shm` added. */
export const STORE_FILE = 'outbox.db';

/** The file whose lock says that a process has the outbox open. Always empty. */
export const LOCK_FILE = 'outbox.lock';

/** Lines of a damage report that go into the error. */
const DAMAGE_LINES = 3;

/** Pages that a backup copies in one go: all, hence as of one moment. */
const ALL_PAGES = 2 ** 31 - 1;

export interface OpenedStore {
  db: DatabaseSync;
  path: string;
  /** Why the store began a new incarnation at this opening; null = it goes on with its last one. */
  renewed: 'fresh' | 'restored' | null;
  /** Closes the store, and lets another process open it. */
  close(): void;
}

/**
 * Opens the store in `directory`, made if there is none, and checks it.
 *
 * @param incarnation - what it is called from now on if it is fresh, or not the file that was last opened here
 * @throws SallyportError FILE_UNWRITABLE, OUTBOX_LOCKED, OUTBOX_DAMAGED, OUTBOX_STORAGE
 */
export function openStore(directory: string, incarnation: Incarnation): OpenedStore {
  const path = join(directory, STORE_FILE);
  let lock: DatabaseSync | null = null;
  let db: DatabaseSync | null = null;
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    accessSync(directory, constants.R_OK | constants.W_OK | constants.X_OK);
    const held = (lock = takeLock(join(directory, LOCK_FILE)));
    const fresh = !existsSync(path);
    if (fresh) createStore(directory, path, incarnation);
    accessSync(path, constants.R_OK | constants.W_OK);
    // Never by opening it: closing any descriptor of a file drops this process's locks on it (fcntl(2)).
    chmodSync(path, 0o600);
    const store = (db = connect(path));
    checkStore(store, directory);
    const renewed = recogniseFile(store, path, fresh, incarnation);
    const close = (): void => {
      store.close();
      held.close();
    };
    return { db: store, path, renewed, close };
  } catch (error) {
    db?.close();
    lock?.close();
    if (error instanceof SallyportError) throw error;
    if (!isStorageError(error)) throw unwritable(directory, error);
    throw isLockedOut(error) ? lockedOut(directory) : storageFailure(error, directory).error;
  }
}

/** Another connection to an open store, for a thread of the same process. */
export function connect(path: string): DatabaseSync {
  const db = new DatabaseSync(path);
  try {
    db.exec(CONNECTION_PRAGMAS);
    return db;
  } catch (error) {
    db.close();
    throw error;
  }
}

/**
 * Locks the outbox for this process, until it ends in whatever way. The lock is on a file of its own, so that
 * the store itself can be read meanwhile: by the thread that looks after it, or with `sqlite3`.
 */
function takeLock(path: string): DatabaseSync {
  if (!existsSync(path)) closeSync(openSync(path, 'a', 0o600));
  const lock = new DatabaseSync(path);
  try {
    lock.exec('PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE');
    return lock;
  } catch (error) {
    lock.close();
    throw error;
  }
}

/** Makes the store beside its place and then puts it there, whole: so a file that is too short was cut. */
function createStore(directory: string, path: string, incarnation: Incarnation): void {
  if (existsSync(`${path}-wal`)) {
    throw damaged(directory, `${STORE_FILE} is missing, but its log ${STORE_FILE}-wal is there`);
  }
  const draft = `${path}.new`;
  rmSync(draft, { force: true });
  rmSync(`${draft}-journal`, { force: true });
  closeSync(openSync(draft, 'wx', 0o600));
  const db = new DatabaseSync(draft);
  try {
    db.exec(`PRAGMA synchronous = FULL; BEGIN; ${SCHEMA}`);
    db.prepare('INSERT INTO store (one, incarnation, file) VALUES (1, ?, ?)').run(incarnation, '');
    db.exec(`PRAGMA application_id = ${APPLICATION_ID}; PRAGMA user_version = ${SCHEMA_VERSION}; COMMIT`);
    db.exec('PRAGMA journal_mode = WAL');
  } finally {
    db.close();
  }
  renameSync(draft, path);
  syncDirectory(directory);
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
  upgrade(db, version);
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

/** Brings a store of an older version up to this one, all or nothing. */
function upgrade(db: DatabaseSync, from: number): void {
  if (from === SCHEMA_VERSION) return;
  const steps = Array.from({ length: SCHEMA_VERSION - from }, (_, i) => UPGRADES[from + i] ?? '');
  db.exec(`BEGIN IMMEDIATE; ${steps.join('')} PRAGMA user_version = ${SCHEMA_VERSION}; COMMIT`);
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
 * Copies the store to `path`, whole and as of one moment, while its owner goes on. The copy is written beside
 * its place and then put there, and starts a new incarnation when it is opened.
 *
 * @param db - a connection of its own
 */
export async function backUpStore(db: DatabaseSync, path: string): Promise<void> {
  const draft = `${path}.new`;
  try {
    rmSync(draft, { force: true });
    closeSync(openSync(draft, 'wx', 0o600));
    await backup(db, draft, { rate: ALL_PAGES });
    const copy = new DatabaseSync(draft);
    try {
      copy.exec("PRAGMA synchronous = FULL; UPDATE store SET file = ''");
    } finally {
      copy.close();
    }
    renameSync(draft, path);
    syncDirectory(dirname(path));
  } catch (error) {
    rmSync(draft, { force: true });
    if (isStorageError(error)) throw storageFailure(error, path).error;
    throw new SallyportError(
      'FILE_UNWRITABLE',
      `The backup ${basename(path)} can't be written to ${dirname(path)}: ${describeError(error)}.`,
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

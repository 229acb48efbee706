import { accessSync, chmodSync, closeSync, constants, existsSync } from 'node:fs';
import { mkdirSync, openSync, renameSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { isSallyportError, SallyportError } from '../../shared/errors.ts';
import { findLogDamage } from './log-check.ts';
import type { Incarnation } from './outbox.ts';
import { salvageStore } from './salvage.ts';
import type { Loss } from './salvage.ts';
import {
  damaged,
  isLockedOut,
  isStorageError,
  lockedOut,
  storageFailure,
  unwritable,
} from './sqlite-errors.ts';
import { readStore, writeStore } from './sqlite-statements.ts';
import { checkStore, NewerFormat, WHOLE_CHECK_BYTES } from './store-check.ts';
import { connect, createEmptyStore } from './store-make.ts';
import { LOCK_FILE, settleNext, STORE_FILE, syncDirectory } from './store-place.ts';

export interface OpenedStore {
  db: DatabaseSync;
  path: string;
  /** Why the store began a new incarnation at this opening; null = it goes on with its last one. */
  renewed: 'fresh' | 'restored' | null;
  /** Whether all of it was checked; a large one is not. */
  checked: boolean;
  /** What was gone when it was opened in spite of damage; null = it was not damaged. */
  loss: Loss | null;
  /** Closes the store, and lets another process open it. */
  close(): void;
}

/**
 * Opens the store in `directory`, made if there is none, and checks it.
 *
 * @param incarnation - what it is called from now on if it is fresh, or not the file that was last opened here
 * @param acceptLoss - whether a damaged store is put aside, and what is readable of it kept
 * @param wholeBytes - the size up to which it is checked whole; default {@link WHOLE_CHECK_BYTES}
 * @throws SallyportError FILE_UNWRITABLE, OUTBOX_LOCKED, OUTBOX_DAMAGED, OUTBOX_STORAGE
 */
export function openStore(
  directory: string,
  incarnation: Incarnation,
  acceptLoss = false,
  wholeBytes = WHOLE_CHECK_BYTES,
): OpenedStore {
  const path = join(directory, STORE_FILE);
  return withLock(directory, (lock) => {
    settleNext(directory);
    const fresh = !existsSync(path) && !(acceptLoss && existsSync(`${path}-wal`));
    if (fresh) createStore(directory, path, incarnation);
    let loss: Loss | null = null;
    let opened: { db: DatabaseSync; checked: boolean };
    try {
      opened = openChecked(directory, path, wholeBytes);
    } catch (error) {
      if (!acceptLoss || !isSallyportError(error, 'OUTBOX_DAMAGED') || error instanceof NewerFormat)
        throw error;
      loss = salvageStore(directory, error.message);
      opened = openChecked(directory, path, wholeBytes);
    }
    const { db, checked } = opened;
    try {
      const renewed = recogniseFile(db, path, fresh, incarnation);
      const close = (): void => {
        db.close();
        lock.close();
      };
      return { db, path, renewed, checked, loss, close };
    } catch (error) {
      db.close();
      throw error;
    }
  });
}

/**
 * Does something with the outbox in `directory`, made if there is none, while no other process may open it. The lock is let
 * go when `task` throws, and is otherwise `task`'s to close.
 *
 * @throws SallyportError FILE_UNWRITABLE, OUTBOX_LOCKED, and what SQLite's errors mean
 */
export function withLock<T>(directory: string, task: (lock: DatabaseSync) => T): T {
  let lock: DatabaseSync | null = null;
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    accessSync(directory, constants.R_OK | constants.W_OK | constants.X_OK);
    lock = takeLock(join(directory, LOCK_FILE));
    return task(lock);
  } catch (error) {
    lock?.close();
    if (error instanceof SallyportError) throw error;
    if (!isStorageError(error)) throw unwritable(directory, error);
    throw isLockedOut(error) ? lockedOut(directory) : storageFailure(error, directory).error;
  }
}

function openChecked(
  directory: string,
  path: string,
  wholeBytes: number,
): { db: DatabaseSync; checked: boolean } {
  if (!existsSync(path)) {
    throw damaged(directory, `${STORE_FILE} is missing, but its log ${STORE_FILE}-wal is there`);
  }
  accessSync(path, constants.R_OK | constants.W_OK);
  // Never by opening it: closing any descriptor of a file drops this process's locks on it (fcntl(2)).
  chmodSync(path, 0o600);
  const log = findLogDamage(path);
  if (log !== null) throw damaged(directory, `${STORE_FILE}: ${log}`);
  let db: DatabaseSync | null = null;
  try {
    db = connect(path);
    return { db, checked: checkStore(db, STORE_FILE, directory, wholeBytes) };
  } catch (error) {
    db?.close();
    if (isStorageError(error) && !isLockedOut(error)) throw storageFailure(error, directory).error;
    throw error;
  }
}

/**
 * Locks the outbox for this process, until it ends in whatever way. The lock is on a file of its own, so that
 * the store itself can be read meanwhile: by the thread that looks after it, by `backup`, or with `sqlite3`.
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
  createEmptyStore(draft, incarnation);
  renameSync(draft, path);
  syncDirectory(directory);
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
  const known = readStore(db);
  if (known.file === file) return null;
  writeStore(db, { ...known, file, incarnation });
  return fresh ? 'fresh' : 'restored';
}

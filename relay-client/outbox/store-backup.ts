import { closeSync, copyFileSync, existsSync, openSync, renameSync, rmSync, statSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { backup, DatabaseSync } from 'node:sqlite';
import { describeError, SallyportError } from '../../shared/errors.ts';
import { findLogDamage } from './log-check.ts';
import type { Incarnation, Sequence } from './outbox.ts';
import { damaged, isStorageError, storageFailure } from './sqlite-errors.ts';
import { readStore } from './sqlite-statements.ts';
import { checkStore } from './store-check.ts';
import { withLock } from './store-file.ts';
import { replaceStore, STORE_FILE, syncDirectory, syncFile } from './store-place.ts';

/** Pages that a backup copies in one go: all, hence as of one moment. */
const ALL_PAGES = 2 ** 31 - 1;

/** What a copy of a store holds. */
export interface StoreCopy {
  /** The file. */
  path: string;
  bytes: number;
  incarnation: Incarnation;
  /** How far the history goes in it. */
  sequence: Sequence;
  held: number;
  accepted: number;
}

/**
 * Copies the store to `path`, whole and as of one moment, while its owner goes on. The copy is written beside its place,
 * checked, and then put there, on disk; it starts a new incarnation when it is opened.
 *
 * @param db - a connection of its own
 * @throws SallyportError FILE_UNWRITABLE, OUTBOX_STORAGE, OUTBOX_DAMAGED; then what was there before still is
 */
export async function backUpStore(db: DatabaseSync, path: string): Promise<StoreCopy> {
  const draft = `${path}.new`;
  try {
    removeStore(draft);
    closeSync(openSync(draft, 'wx', 0o600));
    await backup(db, draft, { rate: ALL_PAGES });
    const copy = nameless(draft);
    syncFile(draft);
    renameSync(draft, path);
    syncDirectory(dirname(resolve(path)));
    return { path, bytes: statSync(path).size, ...copy };
  } catch (error) {
    removeStore(draft);
    if (error instanceof SallyportError) throw error;
    if (isStorageError(error)) throw storageFailure(error, path).error;
    throw new SallyportError(
      'FILE_UNWRITABLE',
      `The backup ${basename(path)} can't be written to ${dirname(path)}: ${describeError(error)}.`,
      { cause: error },
    );
  }
}

/**
 * {@link backUpStore} for whoever is not the outbox's process, which may run or not.
 *
 * @throws also FILE_UNREADABLE where there is no outbox
 */
export async function backUpOutbox(directory: string, path: string): Promise<StoreCopy> {
  const store = join(directory, STORE_FILE);
  if (!existsSync(store)) throw unreadable(store, 'there is no outbox');
  // Reading only: as the last one to close it, any other connection would put away the log of a relay that crashed.
  const db = new DatabaseSync(store, { readOnly: true });
  try {
    return await backUpStore(db, path);
  } finally {
    db.close();
  }
}

/**
 * Puts the copy `file` in the place of the outbox in `directory`, which is kept in a directory beside it.
 *
 * @returns what it holds, and where the former outbox is (null = there was none)
 * @throws SallyportError OUTBOX_LOCKED while a relay runs on it, OUTBOX_DAMAGED where the copy is, FILE_UNREADABLE,
 * FILE_UNWRITABLE, OUTBOX_STORAGE; then everything is as it was
 */
export function restoreOutbox(file: string, directory: string): StoreCopy & { replaced: string | null } {
  if (!existsSync(file) || !statSync(file).isFile()) throw unreadable(file, 'there is no such file');
  return withLock(directory, (lock) => {
    const path = join(directory, STORE_FILE);
    const draft = `${path}.new`;
    try {
      removeStore(draft);
      const log = findLogDamage(file);
      if (log !== null) throw damaged(dirname(file), `${basename(file)}: ${log}`);
      for (const companion of ['', '-wal']) {
        if (existsSync(file + companion)) copyFileSync(file + companion, draft + companion);
      }
      const copy = nameless(draft, file);
      const bytes = statSync(draft).size;
      const replaced = replaceStore(directory, draft, 'replaced');
      lock.close();
      return { path, bytes, ...copy, replaced };
    } finally {
      removeStore(draft);
    }
  });
}

/** Checks a copy, and takes out the name of the file that it was, so that it starts a new incarnation when it is opened. */
function nameless(draft: string, named = draft): Omit<StoreCopy, 'path' | 'bytes'> {
  const db = new DatabaseSync(draft);
  try {
    db.exec('PRAGMA synchronous = FULL');
    checkStore(db, basename(named), dirname(named));
    db.exec("UPDATE store SET file = ''");
    const { incarnation, seq: sequence, held, accepted } = readStore(db);
    return { incarnation, sequence, held, accepted };
  } finally {
    db.close();
  }
}

function removeStore(path: string): void {
  for (const companion of ['', '-journal', '-wal', '-shm']) rmSync(path + companion, { force: true });
}

function unreadable(file: string, why: string): SallyportError {
  return new SallyportError('FILE_UNREADABLE', `${file} cannot be read: ${why}`);
}

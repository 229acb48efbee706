import { describeError, SallyportError } from '../../shared/errors.ts';
import { noRoom } from './refusals.ts';

/** SQLite's primary result codes that mean something to us (sqlite.org/rescode.html). */
const BUSY = 5;
const READONLY = 8;
const IOERR = 10;
const CORRUPT = 11;
const FULL = 13;
const CANTOPEN = 14;
const NOTADB = 26;
/** SQLITE_IOERR_SHMSIZE: no room to grow the log's index; as harmless as FULL. */
const IOERR_SHMSIZE = 4874;

/** What an error of SQLite means for an outbox in `where`, and whether the store can be used after it. */
export interface StorageFailure {
  error: SallyportError;
  /** The store's state on disk is unknown, or known to be bad: nothing more must be done with it. */
  fatal: boolean;
}

/** Whether SQLite refused because another connection holds the lock. */
export function isLockedOut(error: unknown): boolean {
  return resultCode(error) === BUSY;
}

export function storageFailure(error: unknown, where: string): StorageFailure {
  const detail = describeError(error);
  if (extendedCode(error) === IOERR_SHMSIZE) return { error: noRoom(where, detail), fatal: false };
  switch (resultCode(error)) {
    case FULL:
      return { error: noRoom(where, detail), fatal: false };
    case CORRUPT:
    case NOTADB:
      return { error: damaged(where, detail, error), fatal: true };
    case BUSY:
      return { error: lockedOut(where), fatal: true };
    case READONLY:
    case CANTOPEN:
      return { error: unwritable(where, error), fatal: true };
    case IOERR:
      return {
        error: new SallyportError(
          'OUTBOX_STORAGE',
          `The disk under the outbox in ${where} failed (${detail}). What was being written may be lost: ` +
            'check the disk, then start again.',
          { cause: error },
        ),
        fatal: true,
      };
    default:
      return {
        error: new SallyportError('OUTBOX_STORAGE', `The outbox in ${where} failed: ${detail}.`, {
          cause: error,
        }),
        fatal: false,
      };
  }
}

export function damaged(where: string, detail: string, cause?: unknown): SallyportError {
  return new SallyportError(
    'OUTBOX_DAMAGED',
    `The outbox in ${where} is damaged: ${detail}. It was left as it is; put a backup in its place ` +
      '(sallyport-relay restore), or keep what is readable of it (sallyport-relay run --accept-loss).',
    { cause },
  );
}

export function lockedOut(where: string): SallyportError {
  return new SallyportError(
    'OUTBOX_LOCKED',
    `The outbox in ${where} is in use by another process. Stop that one, or give this one a directory of its own.`,
  );
}

export function unwritable(where: string, cause: unknown): SallyportError {
  return new SallyportError(
    'FILE_UNWRITABLE',
    `The outbox can't be kept in ${where}: ${describeError(cause)}. Give it a directory that this user may write.`,
    { cause },
  );
}

/** Whether SQLite threw it. */
export function isStorageError(error: unknown): boolean {
  return extendedCode(error) !== 0;
}

function resultCode(error: unknown): number {
  return extendedCode(error) & 0xff;
}

function extendedCode(error: unknown): number {
  const code = error instanceof Error && 'errcode' in error ? error.errcode : 0;
  return typeof code === 'number' ? code : 0;
}

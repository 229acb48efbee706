import { closeSync, constants, existsSync, fsyncSync, mkdirSync, openSync, renameSync } from 'node:fs';
import { join } from 'node:path';

/** The store's file inside the outbox's directory; SQLite keeps its log beside it, with `-wal` and `-shm` added. */
export const STORE_FILE = 'outbox.db';

/** The file whose lock says that a process has the outbox open. Always empty. */
export const LOCK_FILE = 'outbox.lock';

/** A whole store that shall take the place of the present one: restored, or salvaged. */
const NEXT_FILE = 'outbox.db.next';

const COMPANIONS = ['', '-wal', '-shm'];

/**
 * Puts the whole store `draft` (a file in `directory`) in the place of the present one, which goes into a directory beside
 * it. A crash in the middle is made good by {@link settleNext}. To be called with the lock held.
 *
 * @param aside - how that directory's name begins: `damaged`, `replaced`
 * @returns that directory, or null where there was no store
 */
export function replaceStore(directory: string, draft: string, aside: string): string | null {
  syncFile(draft);
  renameSync(draft, join(directory, NEXT_FILE));
  syncDirectory(directory);
  return settleNext(directory, aside);
}

/** Brings a replacement to its end that was begun; does nothing where none was. */
export function settleNext(directory: string, aside = 'replaced'): string | null {
  const next = join(directory, NEXT_FILE);
  if (!existsSync(next)) return null;
  const present = COMPANIONS.map((companion) => STORE_FILE + companion).filter((name) =>
    existsSync(join(directory, name)),
  );
  let kept: string | null = null;
  if (present.length > 0) {
    kept = freshDirectory(directory, aside);
    for (const name of present) renameSync(join(directory, name), join(kept, name));
    syncDirectory(kept);
  }
  renameSync(next, join(directory, STORE_FILE));
  syncDirectory(directory);
  return kept;
}

/** A directory of its own, named by the time. */
function freshDirectory(directory: string, name: string): string {
  const stamp = new Date().toISOString().replaceAll(/[-:]|\.\d+/g, '');
  for (let n = 1; ; n++) {
    const path = join(directory, `${name}-${stamp}${n === 1 ? '' : `-${n}`}`);
    if (existsSync(path)) continue;
    mkdirSync(path, { mode: 0o700 });
    return path;
  }
}

export function syncFile(path: string): void {
  sync(path, constants.O_RDWR);
}

export function syncDirectory(path: string): void {
  sync(path, constants.O_RDONLY);
}

function sync(path: string, flags: number): void {
  const handle = openSync(path, flags);
  try {
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
}

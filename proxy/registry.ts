import { createHash } from 'node:crypto';
import {
  accessSync,
  closeSync,
  constants,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { describeError, SallyportError } from '../shared/errors.ts';
import { parsePin } from '../shared/key-pair.ts';
import type { Pin } from '../shared/key-pair.ts';
import { NAME_PATTERN } from '../shared/mux-opening.ts';

/** Ending of a relay's file; what else is there, such as a half-written one, is none. */
const RECORD_ENDING = '.json';

/** A relay that may link: public facts only. */
export interface RelayRecord {
  name: string;
  site: string;
  pin: Pin;
  /** ISO 8601. */
  added: string;
}

/**
 * The relays that may link, and the invites that were used: files in the state directory, the only thing that a proxy
 * keeps on disk. Every call reads the disk afresh, so another process may add and revoke meanwhile. All throw
 * SallyportError FILE_UNREADABLE or FILE_UNWRITABLE where the directory itself fails.
 */
export interface Registry {
  byPin(pin: Pin): RelayRecord | null;
  /** All records that can be read. One that can't concerns its own relay only, and is told to `onFault`. */
  list(): RelayRecord[];
  /** Adds a relay, or gives a known name a new key. */
  put(record: RelayRecord): void;
  /** @returns false when there is no such relay */
  remove(name: string): boolean;
  /** Marks an invite as used. @returns false when it was already */
  use(token: string): boolean;
}

/**
 * Opens the state directory, making it if it isn't there.
 *
 * @param onFault - told of each record that cannot be used, at each reading
 * @throws SallyportError FILE_UNWRITABLE, FILE_UNREADABLE
 */
export function openRegistry(dir: string, onFault: (why: string) => void): Registry {
  const relays = join(dir, 'relays');
  const used = join(dir, 'used-invites');
  try {
    for (const folder of [dir, relays, used]) {
      mkdirSync(folder, { recursive: true, mode: 0o700 });
      accessSync(folder, constants.R_OK | constants.W_OK | constants.X_OK);
    }
  } catch (cause) {
    throw new SallyportError(
      'FILE_UNWRITABLE',
      `cannot use the state directory ${dir}: ${describeError(cause)}; it must be writable by the proxy's user`,
      { cause },
    );
  }

  const fileOf = (name: string): string => join(relays, `${name}${RECORD_ENDING}`);

  function list(): RelayRecord[] {
    const records: RelayRecord[] = [];
    for (const file of readFolder(relays)) {
      if (!file.endsWith(RECORD_ENDING)) continue;
      const read = readRecord(join(relays, file));
      if (typeof read === 'string') onFault(read);
      else if (read !== null) records.push(read);
    }
    return records;
  }

  return {
    list,
    byPin: (pin) => list().find((record) => record.pin === pin) ?? null,
    put: (record) => writeDurably(fileOf(record.name), `${JSON.stringify(record)}\n`),
    remove(name) {
      // By its file, so that a record which cannot be read can be removed too.
      if (!NAME_PATTERN.test(name) || !existsSync(fileOf(name))) return false;
      try {
        rmSync(fileOf(name));
        syncDirectory(relays);
      } catch (cause) {
        throw unwritable(fileOf(name), cause);
      }
      return true;
    },
    use(token) {
      const name = createHash('sha256').update(token).digest('hex');
      try {
        closeSync(openSync(join(used, name), 'wx', 0o600));
        syncDirectory(used);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
        throw unwritable(used, error);
      }
      return true;
    },
  };
}

function readFolder(path: string): string[] {
  try {
    return readdirSync(path);
  } catch (cause) {
    throw new SallyportError('FILE_UNREADABLE', `cannot read ${path}: ${describeError(cause)}`, { cause });
  }
}

/** The record in a file, or what is wrong with it; null where it was removed a moment ago. */
function readRecord(path: string): RelayRecord | string | null {
  const broken = `${path} is not the record of a relay; revoke it and join again`;
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT'
      ? null
      : `cannot read ${path}: ${describeError(error)}`;
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return broken;
  }
  const { name, site, pin, added } = (value ?? {}) as Record<string, unknown>;
  const read = typeof pin === 'string' ? parsePin(pin) : null;
  // The file is what `remove` goes by, so it must not say another name than the record.
  const named = typeof name === 'string' && basename(path) === `${name}${RECORD_ENDING}`;
  if (!named || !NAME_PATTERN.test(name) || typeof site !== 'string' || read === null) return broken;
  return { name, site, pin: read, added: typeof added === 'string' ? added : '' };
}

function unwritable(path: string, cause: unknown): SallyportError {
  return new SallyportError('FILE_UNWRITABLE', `cannot write ${path}: ${describeError(cause)}`, { cause });
}

function writeDurably(path: string, text: string): void {
  const draft = `${path}.new`;
  try {
    const file = openSync(draft, 'w', 0o600);
    try {
      writeSync(file, text);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(draft, path);
    syncDirectory(join(path, '..'));
  } catch (cause) {
    throw unwritable(path, cause);
  }
}

function syncDirectory(dir: string): void {
  const handle = openSync(dir, 'r');
  try {
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
}

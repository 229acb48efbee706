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
  statSync,
  writeSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { systemClock } from '../../shared/clock.ts';
import type { Milliseconds } from '../../shared/clock.ts';
import { describeError, SallyportError } from '../../shared/errors.ts';
import { parsePin } from '../../shared/key-pair.ts';
import type { Pin } from '../../shared/key-pair.ts';
import { NAME_PATTERN } from '../../shared/mux-opening.ts';

/** Ending of a relay's file; what else is there, such as a half-written one, is none. */
const RECORD_ENDING = '.json';

/** A relay that may link: public facts only. */
export interface RelayRecord {
  name: string;
  site: string;
  pin: Pin;
  /** ISO 8601. */
  added: string;
  /** The key before this one, which is good until then (ISO 8601); left out = none. */
  former?: { pin: Pin; until: string };
}

/** How long a relay's former key is good besides its new one. */
export const KEY_OVERLAP_MS: Milliseconds = 24 * 3_600_000;
/** How long it is remembered that an invite was used or void: far longer than one is good, whatever a clock does meanwhile. */
const INVITES_MS: Milliseconds = 8 * 24 * 3_600_000;

/**
 * The relays that may link, the invites that were used, and when relays were revoked: files in the state directory, the
 * only thing that a proxy keeps on disk. Every call reads the disk afresh, so another process may add and revoke meanwhile. All throw
 * SallyportError FILE_UNREADABLE or FILE_UNWRITABLE where the directory itself fails.
 */
export interface Registry {
  /** The relay whose key this is now, with `pin` being the one asked for, or its former one within the overlap. */
  byPin(pin: Pin): RelayRecord | null;
  /** All records that can be read. One that can't concerns its own relay only, and is told to `onFault`. */
  list(): RelayRecord[];
  /** Adds a relay, or gives a known name a new key; the one before is good for {@link KEY_OVERLAP_MS} more. */
  put(record: Omit<RelayRecord, 'former'>): void;
  /** Forgets a relay with all its keys, and voids the invites to its name that are still out. @returns false when there is no such relay */
  remove(name: string): boolean;
  /** When a relay of this name was removed last, wall time; -Infinity = not in the last days. Invites of before are void. */
  removedAt(name: string): Milliseconds;
  /** Marks an invite as used, and forgets those that are long past. @returns false when it was already */
  use(token: string): boolean;
}

/**
 * Opens the state directory, making it if it isn't there.
 *
 * @param onFault - told of each record that cannot be used, at each reading
 * @param now - wall time
 * @throws SallyportError FILE_UNWRITABLE, FILE_UNREADABLE
 */
export function openRegistry(
  dir: string,
  onFault: (why: string) => void,
  now: () => Milliseconds = systemClock.wall,
): Registry {
  const relays = join(dir, 'relays');
  const used = join(dir, 'used-invites');
  const revoked = join(dir, 'revoked');
  try {
    for (const folder of [dir, relays, used, revoked]) {
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
    byPin(pin) {
      const found = list().find((record) => record.pin === pin || isFormer(record, pin, now()));
      return found === undefined ? null : { ...found, pin };
    },
    put(record) {
      const before = readRecord(fileOf(record.name));
      const known = before !== null && typeof before !== 'string' && before.site === record.site;
      const until = new Date(now() + KEY_OVERLAP_MS).toISOString();
      const replaced = known && before.pin !== record.pin ? { pin: before.pin, until } : null;
      const former = replaced ?? (known ? before.former : undefined);
      writeDurably(fileOf(record.name), `${JSON.stringify({ ...record, former })}\n`);
    },
    remove(name) {
      // By its file, so that a record which cannot be read can be removed too.
      if (!NAME_PATTERN.test(name) || !existsSync(fileOf(name))) return false;
      // Before the record goes: what is cut short leaves a relay that is revoked once more, not an invite that is good.
      writeDurably(join(revoked, name), `${now()}\n`);
      prune(revoked, now());
      try {
        rmSync(fileOf(name));
        syncDirectory(relays);
      } catch (cause) {
        throw unwritable(fileOf(name), cause);
      }
      return true;
    },
    removedAt(name) {
      if (!NAME_PATTERN.test(name)) return -Infinity;
      try {
        return Number(readFileSync(join(revoked, name), 'utf8'));
      } catch (cause) {
        if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return -Infinity;
        throw new SallyportError(
          'FILE_UNREADABLE',
          `cannot read when relay ${name} was revoked: ${describeError(cause)}`,
          { cause },
        );
      }
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
      prune(used, now());
      return true;
    },
  };
}

/** Whether the pin is that of the key before the record's, and still good. */
function isFormer({ former }: RelayRecord, pin: Pin, now: Milliseconds): boolean {
  return former?.pin === pin && now < Date.parse(former.until);
}

/** Removes marks about invites that nobody could use any more. */
function prune(folder: string, now: Milliseconds): void {
  for (const file of readFolder(folder)) {
    const path = join(folder, file);
    try {
      if (statSync(path).mtimeMs < now - INVITES_MS) rmSync(path);
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== 'ENOENT') throw unwritable(path, cause);
    }
  }
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
  const { name, site, pin, added, former } = (value ?? {}) as Record<string, unknown>;
  const read = typeof pin === 'string' ? parsePin(pin) : null;
  // The file is what `remove` goes by, so it must not say another name than the record.
  const named = typeof name === 'string' && basename(path) === `${name}${RECORD_ENDING}`;
  if (!named || !NAME_PATTERN.test(name) || typeof site !== 'string' || read === null) return broken;
  const record = { name, site, pin: read, added: typeof added === 'string' ? added : '' };
  const before = readFormer(former);
  return before === null ? record : { ...record, former: before };
}

/** What can't be read is no key. */
function readFormer(value: unknown): { pin: Pin; until: string } | null {
  const { pin, until } = (value ?? {}) as Record<string, unknown>;
  const read = typeof pin === 'string' ? parsePin(pin) : null;
  return read === null || typeof until !== 'string' ? null : { pin: read, until };
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

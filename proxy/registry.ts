import { createHash } from 'node:crypto';
import {
  accessSync,
  closeSync,
  constants,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { describeError, SallyportError } from '../shared/errors.ts';
import { parsePin } from '../shared/key-pair.ts';
import type { Pin } from '../shared/key-pair.ts';
import { NAME_PATTERN } from '../shared/mux-opening.ts';

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
 * keeps on disk. Every call reads the disk afresh, so another process may add and revoke meanwhile.
 */
export interface Registry {
  byPin(pin: Pin): RelayRecord | null;
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
 * @throws SallyportError FILE_UNWRITABLE, FILE_UNREADABLE
 */
export function openRegistry(dir: string): Registry {
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

  function list(): RelayRecord[] {
    return readdirSync(relays)
      .filter((file) => file.endsWith('.json'))
      .map((file) => readRecord(join(relays, file)));
  }

  return {
    list,
    byPin: (pin) => list().find((record) => record.pin === pin) ?? null,
    put(record) {
      const path = join(relays, `${record.name}.json`);
      writeDurably(path, `${JSON.stringify(record)}\n`);
    },
    remove(name) {
      if (!list().some((record) => record.name === name)) return false;
      rmSync(join(relays, `${name}.json`));
      syncDirectory(relays);
      return true;
    },
    use(token) {
      const name = createHash('sha256').update(token).digest('hex');
      try {
        closeSync(openSync(join(used, name), 'wx', 0o600));
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
        throw new SallyportError('FILE_UNWRITABLE', `cannot write to ${used}: ${describeError(error)}`, {
          cause: error,
        });
      }
      syncDirectory(used);
      return true;
    },
  };
}

function readRecord(path: string): RelayRecord {
  try {
    const { name, site, pin, added } = JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>;
    const read = typeof pin === 'string' ? parsePin(pin) : null;
    if (typeof name === 'string' && NAME_PATTERN.test(name) && typeof site === 'string' && read !== null) {
      return { name, site, pin: read, added: typeof added === 'string' ? added : '' };
    }
  } catch (cause) {
    throw new SallyportError('FILE_UNREADABLE', `cannot read ${path}: ${describeError(cause)}`, { cause });
  }
  throw new SallyportError(
    'FILE_UNREADABLE',
    `${path} is not the record of a relay; revoke it and join again`,
  );
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
    throw new SallyportError('FILE_UNWRITABLE', `cannot write ${path}: ${describeError(cause)}`, { cause });
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

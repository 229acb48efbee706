import { open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { isIPv4 } from 'node:net';
import { join } from 'node:path';
import { parseDeviceId } from '../../shared/device-id.ts';
import { describeError, SallyportError } from '../../shared/errors.ts';
import type { AddressStore, Assignment } from './store.ts';

/** The file's name, in the outbox's directory, whose lock keeps other processes away from it too. */
export const ADDRESSES_FILE = 'addresses.txt';

const HEADING = `# Source addresses of devices, one a line. Stop the relay before you change anything here.\n`;

/**
 * Opens the file of assignments, a line of text for each, so that an operator can look up whose an address is; makes
 * it where there is none. A last line without its end is what a crash left of one that nobody was told of yet: it goes.
 *
 * @throws SallyportError FILE_UNREADABLE where a line is no assignment, FILE_UNWRITABLE
 */
export async function openFileStore(directory: string): Promise<AddressStore> {
  const path = join(directory, ADDRESSES_FILE);
  const file = await open(path, 'a+', 0o600).catch((cause: unknown) => {
    throw unwritable(path, cause);
  });
  try {
    const text = await file.readFile('utf8');
    const whole = text.slice(0, text.lastIndexOf('\n') + 1);
    const kept = readAssignments(whole, path);
    let size = Buffer.byteLength(whole);
    if (size !== Buffer.byteLength(text)) await file.truncate(size);
    if (size === 0) size = await begin(file, directory);
    return createStore(file, path, size, kept);
  } catch (error) {
    await file.close();
    throw error instanceof SallyportError ? error : unwritable(path, error);
  }
}

/** Makes a new file durable, its name in the directory included. */
async function begin(file: FileHandle, directory: string): Promise<number> {
  await file.appendFile(HEADING);
  await file.sync();
  const folder = await open(directory, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
  return Buffer.byteLength(HEADING);
}

function createStore(
  file: FileHandle,
  path: string,
  begun: number,
  kept: readonly Assignment[],
): AddressStore {
  let size = begun;
  let broken: SallyportError | null = null;
  return {
    kept,
    async append(assignments) {
      if (broken !== null) throw broken;
      const lines = Buffer.from(assignments.map(({ address, device }) => `${address} ${device}\n`).join(''));
      try {
        await file.appendFile(lines);
      } catch (cause) {
        // No room, mostly, which may pass. Half a line must not stand before the next one.
        await file.truncate(size).catch(() => (broken = unwritable(path, cause)));
        throw unwritable(path, cause);
      }
      try {
        await file.datasync();
      } catch (cause) {
        // What is on disk now is anybody's guess, and a second sync would prove nothing.
        throw (broken = unwritable(path, cause));
      }
      size += lines.length;
    },
    close: () => file.close(),
  };
}

function readAssignments(text: string, path: string): Assignment[] {
  const found: Assignment[] = [];
  const seen = new Set<string>();
  text.split('\n').forEach((line, at) => {
    if (line.trim() === '' || line.startsWith('#')) return;
    const [address = '', id = '', ...more] = line.trim().split(/\s+/);
    const device = parseDeviceId(id);
    const fault =
      !isIPv4(address) || device === null || more.length > 0
        ? 'is not an address and a device id'
        : seen.has(address)
          ? `gives ${address} away a second time`
          : null;
    if (fault !== null || device === null) {
      throw new SallyportError(
        'FILE_UNREADABLE',
        `line ${at + 1} of ${path} ${fault}; mend it, or put a backup in its place`,
      );
    }
    seen.add(address);
    found.push({ address, device });
  });
  return found;
}

function unwritable(path: string, cause: unknown): SallyportError {
  return new SallyportError('FILE_UNWRITABLE', `cannot write ${path}: ${describeError(cause)}`, { cause });
}

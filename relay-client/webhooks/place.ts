import { readFileSync } from 'node:fs';
import { open, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { describeError, SallyportError } from '../../shared/errors.ts';
import type { Sequence } from '../outbox/outbox.ts';

/** Keeps up to where in the outbox's history a webhook has been told. */
export interface PlaceStore {
  /** Null = nothing was ever kept. */
  read(): Sequence | null;
  /** Durable once resolved. @throws SallyportError FILE_UNWRITABLE */
  write(place: Sequence): Promise<void>;
}

/**
 * A place in a small file of the outbox's directory, whose lock keeps other processes away from it.
 *
 * @throws SallyportError FILE_UNREADABLE where the file holds anything but a place
 */
export function createPlaceFile(directory: string, webhook: string): PlaceStore {
  const path = join(directory, `webhook-${webhook}.place`);
  const fresh = `${path}.new`;
  const kept = readPlace(path);
  return {
    read: () => kept,
    async write(place) {
      try {
        const file = await open(fresh, 'w', 0o600);
        try {
          await file.writeFile(`${place}\n`);
          await file.datasync();
        } finally {
          await file.close();
        }
        await rename(fresh, path);
      } catch (cause) {
        throw new SallyportError('FILE_UNWRITABLE', `cannot write ${path}: ${describeError(cause)}`, {
          cause,
        });
      }
    },
  };
}

function readPlace(path: string): Sequence | null {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw new SallyportError('FILE_UNREADABLE', `cannot read ${path}: ${describeError(cause)}`, { cause });
  }
  if (/^\d{1,15}\n$/.test(text)) return Number(text);
  throw new SallyportError(
    'FILE_UNREADABLE',
    `${path} does not hold the place of a webhook in the history; remove it, and the webhook is told from now on`,
  );
}

import { existsSync } from 'node:fs';
import type { DatabaseSync } from 'node:sqlite';
import { SallyportError } from '../../shared/errors.ts';
import { ensureKeyFile, readKeyFile } from './key-file.ts';
import { createSealer } from './sealer.ts';
import type { Sealer } from './sealer.ts';
import { readSealMarks } from './sqlite-statements.ts';

/**
 * The sealer of a store, by the keys of a file, which is made if the store has nothing yet that another key sealed.
 *
 * @throws SallyportError OUTBOX_KEY_MISSING, OUTBOX_DAMAGED, KEY_INVALID, FILE_UNREADABLE, FILE_UNWRITABLE
 */
export function openSealer(db: DatabaseSync, keyFile: string): Sealer {
  const marks = readSealMarks(db);
  if (marks.length > 0 && !existsSync(keyFile)) {
    throw new SallyportError(
      'OUTBOX_KEY_MISSING',
      `The outbox holds what was sealed, but its key ${keyFile} is not there. Put it back from where it is kept; ` +
        'see "Keys of the outbox" in docs/operating.md.',
    );
  }
  ensureKeyFile(keyFile);
  const sealer = createSealer(readKeyFile(keyFile), keyFile);
  sealer.checkKeys(marks);
  return sealer;
}

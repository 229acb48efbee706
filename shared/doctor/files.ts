import { accessSync, constants, statSync } from 'node:fs';
import { describeError } from '../errors.ts';
import { fail, ok, warn } from './finding.ts';
import type { Look } from './finding.ts';

/** Permission bits of everybody but the owner. */
const OTHERS = 0o077;

/** Looks at a file that holds a secret: it is there, can be read by us, and by nobody else. */
export function lookAtSecretFile(what: string, file: string): Look {
  const about = `${what} ${file}`;
  try {
    const { mode } = statSync(file);
    accessSync(file, constants.R_OK);
    if ((mode & OTHERS) === 0) return ok(about, 'is there, for its owner only');
    const written = (mode & 0o777).toString(8).padStart(4, '0');
    return warn(about, `may be read or written by others (mode ${written})`, `chmod 600 ${file}`);
  } catch (error) {
    return fail(
      about,
      `cannot be read: ${describeError(error)}`,
      'put it there, owned by the user that the program runs as, mode 600',
    );
  }
}

/** Looks at a directory that the program writes into: it is there, is ours, and is private. */
export function lookAtOwnDirectory(what: string, path: string): Look {
  const about = `${what} ${path}`;
  try {
    const found = statSync(path);
    if (!found.isDirectory()) return fail(about, 'is no directory', `move ${path} away, or name another`);
    const own = process.getuid?.();
    if (own !== undefined && found.uid !== own) {
      return warn(
        about,
        `belongs to user ${found.uid}, and this is user ${own}`,
        `run doctor as the user that the program runs as, else its answers are about you: sudo -u '#${found.uid}' …`,
      );
    }
    accessSync(path, constants.R_OK | constants.W_OK | constants.X_OK);
    if ((found.mode & OTHERS) === 0) return ok(about, 'can be written, and by nobody else');
    return warn(about, 'may be read or written by others', `chmod 700 ${path}`);
  } catch (error) {
    return fail(
      about,
      `cannot be used: ${describeError(error)}`,
      'make it, writable for the user that the program runs as, mode 700; on a read-only mount name another path',
    );
  }
}

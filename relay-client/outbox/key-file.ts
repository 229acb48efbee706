import { randomBytes } from 'node:crypto';
import { closeSync, existsSync, fsyncSync, openSync, readFileSync, writeSync } from 'node:fs';
import { describeError, SallyportError } from '../../shared/errors.ts';
import { KEY_BYTES } from './sealer.ts';

const COMMENT = `# The key of this relay's outbox. Without it nobody can read what the outbox holds: keep a copy, but apart
# from copies of the outbox. The first key seals, all of them open; a new one goes on top (openssl rand -base64 32).
`;

/**
 * Reads the keys of an outbox: base64 of 32 bytes, one to a line, `#` begins a comment.
 *
 * @throws SallyportError FILE_UNREADABLE, KEY_INVALID
 */
export function readKeyFile(file: string): Buffer[] {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (cause) {
    throw new SallyportError(
      'FILE_UNREADABLE',
      `cannot read the outbox's key ${file}: ${describeError(cause)}`,
      { cause },
    );
  }
  const lines = text
    .split('\n')
    .map((line, i) => ({ text: line.trim(), number: i + 1 }))
    .filter((line) => line.text !== '' && !line.text.startsWith('#'));
  if (lines.length === 0) throw notKeys(`${file} holds no key`);
  return lines.map((line) => {
    const key = Buffer.from(line.text, 'base64');
    // Node reads past what is no base64, so what it read must come out as it went in.
    if (key.length === KEY_BYTES && key.toString('base64') === line.text) return key;
    throw notKeys(`line ${line.number} of ${file} is no key`);
  });
}

/**
 * Makes a key file for its user only, unless there is one.
 *
 * @throws SallyportError FILE_UNWRITABLE
 */
export function ensureKeyFile(file: string): void {
  if (existsSync(file)) return;
  try {
    const handle = openSync(file, 'wx', 0o600);
    try {
      writeSync(handle, `${COMMENT}${randomBytes(KEY_BYTES).toString('base64')}\n`);
      // What it seals is on disk a moment later, and would be worth nothing without it.
      fsyncSync(handle);
    } finally {
      closeSync(handle);
    }
  } catch (cause) {
    throw new SallyportError(
      'FILE_UNWRITABLE',
      `the outbox's key ${file} is not there and cannot be made: ${describeError(cause)}. Make it yourself, for the ` +
        `relay's user only: (umask 077; openssl rand -base64 32 > ${file})`,
      { cause },
    );
  }
}

function notKeys(what: string): SallyportError {
  return new SallyportError(
    'KEY_INVALID',
    `${what}: it should have base64 of ${KEY_BYTES} bytes on each line, as openssl rand -base64 ${KEY_BYTES} makes it`,
  );
}

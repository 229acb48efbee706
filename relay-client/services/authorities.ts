import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { describeError, SallyportError } from '../../shared/errors.ts';

/**
 * Reads a text file that the config names.
 *
 * @param field - its name there, for the error
 * @throws SallyportError FILE_UNREADABLE
 */
export function readNamedFile(field: string, file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    throw new SallyportError('FILE_UNREADABLE', `${field} ${file}: ${describeError(cause)}`, { cause });
  }
}

/**
 * Reads a PEM file of certificate authorities. OpenSSL would take one without any certificate for an empty list.
 *
 * @throws SallyportError FILE_UNREADABLE, KEY_INVALID
 */
export function readAuthorities(field: string, file: string): string {
  const pem = readNamedFile(field, file);
  try {
    new X509Certificate(pem);
  } catch (cause) {
    throw new SallyportError('KEY_INVALID', `${field} ${file} holds no certificate in PEM form`, { cause });
  }
  return pem;
}

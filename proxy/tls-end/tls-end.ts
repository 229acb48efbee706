import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { createSecureContext } from 'node:tls';
import type { SecureContextOptions } from 'node:tls';
import { checkPair } from '../../shared/certificates.ts';
import type { Milliseconds } from '../../shared/clock.ts';
import { describeError, SallyportError } from '../../shared/errors.ts';
import { tlsProfileOptions } from '../../shared/tls-profile.ts';
import type { DoorTls } from '../config.ts';

/** Where the TLS of an inspected door ends. */
export interface TlsEnd {
  /**
   * Takes an admitted phone's connection, paused; `established` gets the clear side. A handshake that fails or is late
   * ends in the socket being closed.
   */
  accept(socket: Socket, established: (clear: Duplex) => void): void;
  /** When the certificate that is shown now expires, wall time. */
  notAfter(): Milliseconds;
  /**
   * Re-reads the files, for the handshakes to come.
   *
   * @throws SallyportError FILE_UNREADABLE, KEY_INVALID; then all stays as it was
   */
  reload(): void;
  /** To be called when no phone is left. */
  close(): void;
}

/** Everything that was in a door's files. */
export type TlsMaterial = SecureContextOptions & { cert: string; key: string; ca?: string };

/** @throws SallyportError FILE_UNREADABLE, KEY_INVALID */
export function readTlsMaterial(tls: DoorTls): TlsMaterial {
  const material = {
    cert: readText(tls.cert),
    key: readText(tls.key),
    ...(tls.clientCa === null ? {} : { ca: readText(tls.clientCa) }),
    ...tlsProfileOptions(tls.profile),
  };
  try {
    checkPair(material.cert, material.key, tls.profile);
    createSecureContext(material);
    if (material.ca !== undefined) new X509Certificate(material.ca);
  } catch (cause) {
    const files = [tls.cert, tls.key, ...(tls.clientCa === null ? [] : [tls.clientCa])].join(', ');
    throw new SallyportError(
      'KEY_INVALID',
      `these cannot be used together for profile ${tls.profile}: ${files} (${describeError(cause)})`,
      { cause },
    );
  }
  return material;
}

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    throw new SallyportError('FILE_UNREADABLE', `cannot read ${file}: ${describeError(cause)}`, { cause });
  }
}

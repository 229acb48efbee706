import { createPrivateKey, X509Certificate } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { createSecureContext } from 'node:tls';
import type { Clock, Milliseconds, Timer } from './clock.ts';
import { describeError } from './errors.ts';
import type { Log } from './log.ts';
import { tlsProfileOptions } from './tls-profile.ts';
import type { TlsProfile } from './tls-profile.ts';

/** A certificate that something shows to those who connect. */
export interface CertificateUse {
  /** What shows it, in the words of the config: `poll 0.0.0.0:8443`, `door old`, `service wpi`, `relay`. */
  name: string;
  /** When the first certificate of its chain expires, wall time. */
  notAfter: Milliseconds;
}

const DAY_MS: Milliseconds = 24 * 3_600_000;

/** How long before its end a certificate is warned of: a month, in which anybody can get a new one. */
export const EXPIRY_WARNING_MS: Milliseconds = 30 * DAY_MS;
const EXPIRY_LOG_MS: Milliseconds = DAY_MS;

const PEM_CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

/** When a chain (PEM) stops being good: with the first of its certificates. NaN where there is none. */
export function endOfChain(pem: string): Milliseconds {
  const ends = (pem.match(PEM_CERTIFICATE) ?? []).map((one) => Date.parse(new X509Certificate(one).validTo));
  return ends.length === 0 ? NaN : Math.min(...ends);
}

/** One sentence for each certificate that has expired or will within {@link EXPIRY_WARNING_MS}. */
export function expiryWarnings(uses: readonly CertificateUse[], now: Milliseconds): string[] {
  return uses
    .filter(({ notAfter }) => notAfter - now <= EXPIRY_WARNING_MS)
    .map(({ name, notAfter }) => {
      const days = Math.floor(Math.abs(notAfter - now) / DAY_MS);
      const when = `${days} ${days === 1 ? 'day' : 'days'}`;
      const date = new Date(notAfter).toISOString();
      return notAfter <= now
        ? `the certificate of ${name} expired ${when} ago (${date})`
        : `the certificate of ${name} expires in ${when} (${date})`;
    });
}

/** Logs what {@link expiryWarnings} says now, once a day, and at each `look`. */
export function watchExpiry(parts: {
  uses: () => readonly CertificateUse[];
  clock: Clock;
  log: Log;
}): Timer & { look(): void } {
  const look = (): void => {
    for (const why of expiryWarnings(parts.uses(), parts.clock.wall())) {
      parts.log.warn('a certificate needs to be renewed', { why });
    }
  };
  look();
  const timer = parts.clock.every(EXPIRY_LOG_MS, look);
  return { look, cancel: () => timer.cancel() };
}

/**
 * Makes sure that they are a pair, as {@link pairFault} says. OpenSSL alone would take a key of another kind than the
 * certificate's (RSA, ECDSA), and fail in each handshake.
 *
 * @throws Error that says why not
 */
export function checkPair(cert: string, key: string, profile: TlsProfile): void {
  const fault = pairFault(cert, key, profile);
  if (fault !== null) throw new Error(`${fault.field} should be ${fault.expected}`);
}

/** Why a certificate chain and a private key (both PEM) are no pair to show; null where they are one. */
export function pairFault(
  cert: string,
  key: string,
  profile: TlsProfile,
): { field: 'cert' | 'key'; expected: string } | null {
  let shown: X509Certificate;
  let own: KeyObject;
  try {
    shown = new X509Certificate(cert);
  } catch {
    return { field: 'cert', expected: 'a certificate chain in PEM form' };
  }
  try {
    own = createPrivateKey(key);
  } catch {
    return { field: 'key', expected: 'an unencrypted private key in PEM form' };
  }
  if (!shown.checkPrivateKey(own)) {
    return { field: 'key', expected: 'the private key of the certificate; it is that of another one' };
  }
  try {
    createSecureContext({ ...tlsProfileOptions(profile), cert, key });
  } catch (error) {
    return { field: 'cert', expected: `a certificate for profile ${profile} (${describeError(error)})` };
  }
  return null;
}

import { createSecureContext } from 'node:tls';
import type { SecureContextOptions, TLSSocket } from 'node:tls';
import { checkPair, endOfChain } from '../../shared/certificates.ts';
import type { Clock, Milliseconds } from '../../shared/clock.ts';
import { describeError, SallyportError } from '../../shared/errors.ts';
import { createStreamTls } from '../../shared/stream-tls.ts';
import type { StreamTls } from '../../shared/stream-tls.ts';
import { tlsProfileOptions } from '../../shared/tls-profile.ts';
import { readAuthorities, readNamedFile } from './authorities.ts';
import type { PhoneTlsConfig } from './config.ts';

/** Ends the TLS of phones whose bytes come sealed through the DMZ. */
export interface PhoneTls extends Pick<StreamTls, 'accept'> {
  /** When the certificate that is shown now expires, wall time. */
  notAfter(): Milliseconds;
  /** Re-reads certificate, key and authorities; throws with the old ones kept. Connections keep what they have. */
  reload(): void;
}

/**
 * @param goodbyeMs - how long a phone that has ended TLS has to end its connection too
 * @throws SallyportError FILE_UNREADABLE, KEY_INVALID
 */
export function createPhoneTls(
  config: PhoneTlsConfig,
  clock: Clock,
  handshakeMs: Milliseconds,
  goodbyeMs: Milliseconds,
): PhoneTls {
  let context = readContext(config);
  const tls = createStreamTls(context, {
    clientCertificates: config.clientCa !== null,
    clock,
    handshakeMs,
    goodbyeMs,
  });
  return {
    accept: tls.accept,
    notAfter: () => endOfChain(context.cert),
    reload() {
      const fresh = readContext(config);
      tls.setContext(fresh);
      context = fresh;
    },
  };
}

/** Names looked at in one certificate. */
const NAMES_LIMIT = 32;

/**
 * The names that a verified client certificate gives its owner: common name, serial number, and alternative names of the
 * kinds DNS and URI. Empty where none was asked for.
 */
export function certificateNames(socket: TLSSocket): string[] {
  if (!socket.authorized) return [];
  const { subject, subjectaltname = '' } = socket.getPeerCertificate();
  const others = subjectaltname.split(', ').flatMap((name) => /^(?:DNS|URI):(.+)$/.exec(name)?.[1] ?? []);
  const own = [subject?.CN, subject?.serialNumber].flat().filter((name) => typeof name === 'string');
  return [...own, ...others].slice(0, NAMES_LIMIT);
}

function readContext(config: PhoneTlsConfig): SecureContextOptions & { cert: string } {
  const options = {
    ...tlsProfileOptions(config.profile),
    cert: readNamedFile('tls.cert', config.cert),
    key: readNamedFile('tls.key', config.key),
    ...(config.clientCa === null ? {} : { ca: readAuthorities('tls.client_ca', config.clientCa) }),
  };
  try {
    checkPair(options.cert, options.key, config.profile);
    createSecureContext(options);
  } catch (cause) {
    throw new SallyportError(
      'KEY_INVALID',
      `tls.cert ${config.cert} and tls.key ${config.key} are no usable pair for profile ${config.profile}: ${describeError(cause)}`,
      { cause },
    );
  }
  return options;
}

import { X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';
import { connect } from 'node:tls';
import type { SecureVersion, TLSSocket } from 'node:tls';
import { formatAddress } from '../address.ts';
import type { Address } from '../address.ts';
import type { Milliseconds } from '../clock.ts';
import { describeError } from '../errors.ts';
import type { TlsProfile } from '../tls-profile.ts';
import { lookAtChain } from './chain.ts';
import { fail, ok } from './finding.ts';
import type { Look } from './finding.ts';

const VERSIONS = ['TLSv1', 'TLSv1.1', 'TLSv1.2', 'TLSv1.3'] as const satisfies SecureVersion[];
type Version = (typeof VERSIONS)[number];

/** What an old phone offers, and all that is newer; our own level would refuse it before it is sent. */
const OLD_PHONE_CIPHERS =
  'TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:ALL:@SECLEVEL=0';
/** A door is asked once for each version, one after the other. */
const HANDSHAKE_MS: Milliseconds = 3_000;

/** What one who connects is shown. */
export interface TlsOffer {
  versions: Version[];
  /** As sent, the door's own first. */
  chain: X509Certificate[];
}

/**
 * Connects once for each version of TLS, trusting anybody: it is looked at, nothing is sent.
 *
 * @throws Error of the first handshake that failed, where none succeeded
 */
async function askTlsOffer(address: Address, signal: AbortSignal): Promise<TlsOffer> {
  const offer: TlsOffer = { versions: [], chain: [] };
  let first: Error | null = null;
  for (const version of VERSIONS.toReversed()) {
    if (signal.aborted) break;
    try {
      offer.chain = await handshake(address, version, signal);
      offer.versions.unshift(version);
    } catch (error) {
      first ??= error as Error;
      // Nobody listens: the other versions would meet the same.
      if ((error as NodeJS.ErrnoException).code === 'ECONNREFUSED') break;
    }
  }
  if (offer.versions.length === 0) throw first ?? new Error('nobody was asked');
  return offer;
}

function handshake(address: Address, version: Version, signal: AbortSignal): Promise<X509Certificate[]> {
  return new Promise((resolve, reject) => {
    const socket = connect({
      host: address.host,
      port: address.port,
      ...(isIP(address.host) === 0 ? { servername: address.host } : {}),
      minVersion: version,
      maxVersion: version,
      ciphers: OLD_PHONE_CIPHERS,
      rejectUnauthorized: false,
    });
    const settle = (error: Error | null): void => {
      clearTimeout(late);
      signal.removeEventListener('abort', given);
      const chain = error === null ? chainOf(socket) : [];
      socket.destroy();
      if (error === null) resolve(chain);
      else reject(error);
    };
    const late = setTimeout(
      () => settle(new Error(`no TLS handshake within ${HANDSHAKE_MS} ms`)),
      HANDSHAKE_MS,
    );
    const given = (): void => settle(new Error('given up'));
    signal.addEventListener('abort', given);
    // Stays: what fails after it was settled has no more to say.
    socket.on('error', settle);
    socket.once('secureConnect', () => settle(null));
    socket.once('close', () =>
      settle(new Error('the connection was closed in the middle of the TLS handshake')),
    );
  });
}

function chainOf(socket: TLSSocket): X509Certificate[] {
  const chain: X509Certificate[] = [];
  let next = socket.getPeerCertificate(true);
  while (next?.raw !== undefined) {
    chain.push(new X509Certificate(next.raw));
    const { issuerCertificate } = next as { issuerCertificate?: typeof next };
    if (issuerCertificate === undefined || issuerCertificate === next) break;
    next = issuerCertificate;
  }
  return chain;
}

/** Which profile speaks these versions; null = none of ours. */
function profileOf(versions: readonly Version[]): TlsProfile | null {
  switch (versions.join(' ')) {
    case 'TLSv1.3':
      return 'modern';
    case 'TLSv1.2 TLSv1.3':
      return 'intermediate';
    case 'TLSv1 TLSv1.1 TLSv1.2 TLSv1.3':
      return 'legacy';
    default:
      return null;
  }
}

/** Looks at a door as an old phone does that dials it: what it speaks, and what it shows. */
export async function lookAtTlsDoor(
  address: Address,
  now: Milliseconds,
  signal: AbortSignal,
  unreached: string,
): Promise<Look[]> {
  const about = `door ${formatAddress(address)}`;
  let offer: TlsOffer;
  try {
    offer = await askTlsOffer(address, signal);
  } catch (error) {
    return [fail(about, `no TLS handshake: ${describeError(error)}`, unreached)];
  }
  const profile = profileOf(offer.versions);
  const spoken = offer.versions
    .map((version) => version.replace(/^TLSv(\d)$/, 'TLSv$1.0').replace('v', ' '))
    .join(', ');
  const needs = offer.versions.includes('TLSv1')
    ? 'old firmware included'
    : 'a phone that knows only TLS 1.0 needs profile legacy';
  return [
    ok(about, `speaks ${spoken}${profile === null ? '' : ` (profile ${profile})`}; ${needs}`),
    ...lookAtChain(about, offer.chain, profile ?? 'intermediate', now),
  ];
}

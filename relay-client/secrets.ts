import { hkdfSync } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { Clock } from '../shared/clock.ts';
import { describeError, SallyportError } from '../shared/errors.ts';
import { readPrivateKey, selfSignedCertificate } from '../shared/key-pair.ts';
import { SITE_SECRET_BYTES } from '../shared/poll-secret.ts';
import type { RelayConfig } from './config.ts';
import type { ProxyConfig } from './links/config.ts';
import type { DialTarget } from './links/dial.ts';

/** Who a relay is, towards proxies and towards those who contact its phones. */
export interface Identity {
  /** PEM. Made anew at each start: proxies look at its key only. */
  cert: string;
  /** PEM. */
  key: string;
  /** Keys the addresses of the catcher; the same at each start. */
  catcherSecret: Buffer;
  /** That of the key before; undefined = none. */
  formerCatcherSecret: Buffer | undefined;
  /** From which the secrets in poll paths are made: by the key, then by the one before, if there is one. */
  pollSecrets: readonly [Buffer, ...Buffer[]];
}

/** @throws SallyportError FILE_UNREADABLE, KEY_INVALID */
export async function readIdentity(config: RelayConfig, clock: Clock): Promise<Identity> {
  const pem = readText(config.key);
  const key = readPrivateKey(pem, config.key);
  const former =
    config.formerKey === null ? undefined : readPrivateKey(readText(config.formerKey), config.formerKey);
  const now = new Date(clock.wall());
  return {
    key: pem,
    cert: await selfSignedCertificate(key, { commonName: config.name, hosts: [] }, now),
    catcherSecret: catcherSecret(key),
    formerCatcherSecret: former === undefined ? undefined : catcherSecret(former),
    pollSecrets: former === undefined ? [pollSecret(key)] : [pollSecret(key), pollSecret(former)],
  };
}

/**
 * The secret from which those in poll paths are made, of the relay of this config.
 *
 * @throws SallyportError FILE_UNREADABLE, KEY_INVALID
 */
export function readPollSecret(config: Pick<RelayConfig, 'key'>): Buffer {
  return pollSecret(readPrivateKey(readText(config.key), config.key));
}

const catcherSecret = (key: KeyObject): Buffer => derived(key, 'sallyport contact-me', 32);
const pollSecret = (key: KeyObject): Buffer => derived(key, 'sallyport poll path', SITE_SECRET_BYTES);

/** A secret that is the same at each start, and from which neither the key nor another secret can be told. */
function derived(key: KeyObject, use: string, bytes: number): Buffer {
  return Buffer.from(hkdfSync('sha256', key.export({ type: 'pkcs8', format: 'der' }), '', use, bytes));
}

/**
 * What it takes to dial a proxy of the config.
 *
 * @throws SallyportError FILE_UNREADABLE
 */
export function dialTarget(proxy: ProxyConfig, identity: Pick<Identity, 'cert' | 'key'>): DialTarget {
  const trust = 'pins' in proxy.trust ? proxy.trust : { ca: readText(proxy.trust.caFile) };
  return { url: proxy.url, trust, via: proxy.via, cert: identity.cert, key: identity.key };
}

/**
 * The API's token.
 *
 * @throws SallyportError FILE_UNREADABLE, CONFIG_INVALID for an empty file
 */
export function readToken(file: string): string {
  const token = readText(file).trim();
  if (token !== '') return token;
  throw new SallyportError(
    'CONFIG_INVALID',
    `the API token file ${file} is empty; write a long random word into it`,
  );
}

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    throw new SallyportError('FILE_UNREADABLE', `cannot read ${file}: ${describeError(cause)}`, { cause });
  }
}

import { hkdfSync } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import type { Clock } from '../shared/clock.ts';
import { describeError, SallyportError } from '../shared/errors.ts';
import { readPrivateKey, selfSignedCertificate } from '../shared/key-pair.ts';
import { SITE_SECRET_BYTES } from '../shared/poll-secret.ts';
import type { RelayConfig } from './config.ts';
import type { ProxyConfig } from './links/config.ts';
import type { DialTarget } from './links/dial.ts';
import { readKeyFile } from './outbox/key-file.ts';

const POLL_PATH = 'sallyport poll path';
/** Secrets of a site that one relay tells proxies. */
const SITE_SECRETS = 2;

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

/** A shared outbox is opened first, which makes its key. @throws SallyportError FILE_UNREADABLE, KEY_INVALID */
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
    pollSecrets: pollSecrets(config, [key, ...(former === undefined ? [] : [former])]),
  };
}

/**
 * The secret from which those in poll paths are made, of the relay of this config.
 *
 * @throws SallyportError FILE_UNREADABLE, KEY_INVALID
 */
export function readPollSecret(config: Pick<RelayConfig, 'key' | 'outbox'>): Buffer {
  return pollSecrets(config, [readPrivateKey(readText(config.key), config.key)])[0];
}

/**
 * By this relay's key and the one before. Relays that share an outbox must teach phones the same, so it is by its key there;
 * a second one is that key before, or this relay's own, by which phones were taught while its outbox was not shared.
 */
function pollSecrets(
  { outbox }: Pick<RelayConfig, 'outbox'>,
  keys: [KeyObject, ...KeyObject[]],
): [Buffer, ...Buffer[]] {
  const [own, ...former] = keys.map(pollSecret) as [Buffer, ...Buffer[]];
  // Before an outbox was ever opened it has no key, and no phone was taught by it.
  if (outbox.postgres === null || !existsSync(outbox.keyFile)) return [own, ...former];
  const shared = readKeyFile(outbox.keyFile).map((key) =>
    Buffer.from(hkdfSync('sha256', key, '', POLL_PATH, SITE_SECRET_BYTES)),
  );
  return [...shared, own].slice(0, SITE_SECRETS) as [Buffer, ...Buffer[]];
}

const catcherSecret = (key: KeyObject): Buffer => derived(key, 'sallyport contact-me', 32);
const pollSecret = (key: KeyObject): Buffer => derived(key, POLL_PATH, SITE_SECRET_BYTES);

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

import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  webcrypto,
  X509Certificate,
} from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { isIP } from 'node:net';
import { SallyportError } from './errors.ts';

/**
 * A public key's pin: `sha256:` and the base64 SHA-256 of its SubjectPublicKeyInfo, as in RFC 7469 §2.4.
 * Pins name keys, not certificates: a renewed certificate of the same key keeps its pin.
 */
export type Pin = `sha256:${string}`;

/** The pin of a public (or private) key or certificate. */
export function pinOf(key: KeyObject | X509Certificate): Pin {
  const spki =
    key instanceof X509Certificate ? key.publicKey : key.type === 'private' ? createPublicKey(key) : key;
  return `sha256:${createHash('sha256')
    .update(spki.export({ type: 'spki', format: 'der' }))
    .digest('base64')}`;
}

/** Reads a pin in base64 or base64url, padded or not; null when it is none. */
export function parsePin(text: string): Pin | null {
  const match = /^sha256:([A-Za-z0-9+/_-]{43})=?$/.exec(text);
  return match === null ? null : `sha256:${match[1]!.replaceAll('-', '+').replaceAll('_', '/')}=`;
}

/** What `openssl dgst` makes of no input: the pin of a key that was never read, since nobody answered. */
export const PIN_OF_NOTHING: Pin = `sha256:${createHash('sha256').digest('base64')}`;

/** A new private key (ECDSA P-256, PKCS #8 PEM). */
export function createPrivateKeyPem(): string {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
  return privateKey.export({ type: 'pkcs8', format: 'pem' }) as string;
}

/**
 * Reads a private key. Links take ECDSA P-256 keys only, as `init` and `join` make them.
 *
 * @param pem - PKCS #8 or SEC 1 PEM
 * @param name - what to call the key in the error, mostly its file
 * @throws SallyportError KEY_INVALID
 */
export function readPrivateKey(pem: string, name: string): KeyObject {
  let key: KeyObject;
  try {
    key = createPrivateKey(pem);
  } catch (cause) {
    throw new SallyportError('KEY_INVALID', `${name} is not a private key in PEM form`, { cause });
  }
  if (key.asymmetricKeyDetails?.namedCurve !== 'prime256v1') {
    throw new SallyportError('KEY_INVALID', `${name} is not an ECDSA P-256 key; make one with init or join`);
  }
  return key;
}

const CERTIFICATE_YEARS = 10;

/**
 * A certificate of the key for itself. Nobody checks its dates or names: links trust the pinned key alone, and
 * TLS merely needs some certificate to carry it.
 */
export async function selfSignedCertificate(
  key: KeyObject,
  subject: { commonName: string; hosts: string[] },
  now: Date,
): Promise<string> {
  // The library's dependency container refuses to load without this polyfill; both are loaded only when needed.
  await import('reflect-metadata');
  const x509 = await import('@peculiar/x509');
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
  const { subtle } = webcrypto;
  const privateKey = await subtle.importKey(
    'pkcs8',
    key.export({ type: 'pkcs8', format: 'der' }),
    algorithm,
    false,
    ['sign'],
  );
  const publicKey = await subtle.importKey(
    'spki',
    createPublicKey(key).export({ type: 'spki', format: 'der' }),
    algorithm,
    true,
    ['verify'],
  );
  const notAfter = new Date(now);
  notAfter.setUTCFullYear(notAfter.getUTCFullYear() + CERTIFICATE_YEARS);
  const certificate = await x509.X509CertificateGenerator.create({
    subject: [{ CN: [subject.commonName] }],
    issuer: [{ CN: [subject.commonName] }],
    notBefore: new Date(now.getTime() - 86_400_000),
    notAfter,
    signingAlgorithm: algorithm,
    publicKey,
    signingKey: privateKey,
    extensions: [
      new x509.SubjectAlternativeNameExtension(
        subject.hosts.map((host) => ({ type: isIP(host) === 0 ? 'dns' : 'ip', value: host })),
      ),
    ],
  });
  return `${certificate.toString('pem')}\n`;
}

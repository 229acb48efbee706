import { X509Certificate } from 'node:crypto';
import { rootCertificates } from 'node:tls';
import { expiryWarnings } from '../certificates.ts';
import type { Milliseconds } from '../clock.ts';
import { describeError } from '../errors.ts';
import type { TlsProfile } from '../tls-profile.ts';
import { fail, ok, warn } from './finding.ts';
import type { Look } from './finding.ts';

/** Least bits of an RSA key that every profile but `legacy` shows, and most that small processors handle in good time. */
const RSA_BITS = { least: 2_048, most: 4_096 };

const PEM = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

/** The certificates of a PEM text, in its order. @throws Error for one that cannot be read */
function readChain(pem: string): X509Certificate[] {
  return (pem.match(PEM) ?? []).map((one) => new X509Certificate(one));
}

/**
 * Looks at a certificate chain as a phone does that knows no more than it is shown: whether it is whole, in order and
 * within its time, and whether old firmware can read it.
 *
 * @param about - what shows it
 * @param now - wall time
 */
export function lookAtChain(
  about: string,
  chain: readonly X509Certificate[],
  profile: TlsProfile,
  now: Milliseconds,
): Look[] {
  const [leaf] = chain;
  if (leaf === undefined)
    return [fail(about, 'shows no certificate', 'give it a certificate chain in PEM form')];
  const looks = [
    ...datesOf(about, chain, now),
    ...wholeness(about, chain),
    ...keyOf(about, leaf, profile),
    ...chain.filter((each) => !isSelfSigned(each)).flatMap((each) => signatureOf(about, each)),
  ];
  if (looks.some(({ level }) => level !== 'ok')) return looks.filter(({ level }) => level !== 'ok');
  const until = new Date(leaf.validToDate).toISOString().slice(0, 10);
  const size = chain.length === 1 ? 'one certificate' : `${chain.length} certificates`;
  return [
    ok(
      about,
      `${size}, ${keyName(leaf)}, good until ${until}${isSelfSigned(leaf) ? ', signed by itself' : ''}`,
    ),
  ];
}

function datesOf(about: string, chain: readonly X509Certificate[], now: Milliseconds): Look[] {
  const early = chain.find((each) => each.validFromDate.getTime() > now);
  if (early !== undefined) {
    const from = early.validFromDate.toISOString();
    return [
      fail(
        about,
        `the certificate of ${nameOf(early)} is good only from ${from} on`,
        'set this machine’s clock, or make a new certificate',
      ),
    ];
  }
  const notAfter = Math.min(...chain.map((each) => each.validToDate.getTime()));
  const [says] = expiryWarnings([{ name: 'it', notAfter }], now);
  if (says === undefined) return [];
  const said = says.replace('the certificate of it ', 'the certificate ');
  const fix = 'get a new certificate for the same name, put it in the place of the old one, and send SIGHUP';
  return [notAfter <= now ? fail(about, said, fix) : warn(about, said, fix)];
}

function wholeness(about: string, chain: readonly X509Certificate[]): Look[] {
  const broken = chain.findIndex((each, i) => {
    const next = chain[i + 1];
    return next !== undefined && !each.checkIssued(next);
  });
  if (broken !== -1) {
    return [
      fail(
        about,
        `the chain is broken: ${nameOf(chain[broken]!)} was not issued by ${nameOf(chain[broken + 1]!)}, which comes next`,
        'order the file: first its own certificate, then each time the one that issued the one above',
      ),
    ];
  }
  const last = chain.at(-1)!;
  if (isSelfSigned(last) || issuerIsPublicRoot(last)) return [];
  return [
    warn(
      about,
      `the chain ends with ${nameOf(last)}, issued by ${commonName(last.issuer)}, which is not shown`,
      `if ${commonName(last.issuer)} is an intermediate, append its certificate to the file: phones fetch none; if it is the root that phones have, all is well`,
    ),
  ];
}

function keyOf(about: string, leaf: X509Certificate, profile: TlsProfile): Look[] {
  const { asymmetricKeyType: type, asymmetricKeyDetails: details } = leaf.publicKey;
  const bits = details?.modulusLength ?? 0;
  if (type === 'rsa' && bits < RSA_BITS.least) {
    const says = `its RSA key has ${bits} bits`;
    const fix = `make a key of ${RSA_BITS.least} bits, unless the phones’ firmware takes no larger one`;
    return [profile === 'legacy' ? warn(about, says, fix) : fail(about, says, fix)];
  }
  if (type === 'rsa' && bits > RSA_BITS.most) {
    return [
      warn(
        about,
        `its RSA key has ${bits} bits, which costs old phones seconds at each call`,
        `make one of ${RSA_BITS.least}`,
      ),
    ];
  }
  if (type !== 'rsa' && profile === 'legacy') {
    return [
      warn(
        about,
        `its key is ${keyName(leaf)}: phones that offer no ECDSA ciphers cannot connect`,
        `give a legacy door an RSA key of ${RSA_BITS.least} bits, which all its ciphers but the ECDSA ones take`,
      ),
    ];
  }
  return [];
}

function signatureOf(about: string, certificate: X509Certificate): Look[] {
  const algorithm = certificate.signatureAlgorithm ?? '';
  if (/md[245]/i.test(algorithm)) {
    return [
      fail(
        about,
        `${nameOf(certificate)} is signed with ${algorithm}, which anybody can forge`,
        'have it issued anew, with SHA-256',
      ),
    ];
  }
  if (!/sha1/i.test(algorithm)) return [];
  return [
    warn(
      about,
      `${nameOf(certificate)} is signed with SHA-1, which many phones refuse`,
      'have it issued anew, with SHA-256',
    ),
  ];
}

const isSelfSigned = (certificate: X509Certificate): boolean => certificate.checkIssued(certificate);

let publicRoots: Map<string, X509Certificate[]> | null = null;

/** Whether one of the roots that browsers trust has issued it: phones have that root, or none will do. */
function issuerIsPublicRoot(certificate: X509Certificate): boolean {
  if (publicRoots === null) {
    publicRoots = new Map();
    for (const pem of rootCertificates) {
      const root = new X509Certificate(pem);
      publicRoots.set(root.subject, [...(publicRoots.get(root.subject) ?? []), root]);
    }
  }
  return (publicRoots.get(certificate.issuer) ?? []).some((root) => certificate.checkIssued(root));
}

function keyName({ publicKey }: X509Certificate): string {
  const { asymmetricKeyType: type, asymmetricKeyDetails: details } = publicKey;
  if (type === 'rsa') return `RSA ${details?.modulusLength ?? 0}`;
  return type === 'ec' ? `ECDSA ${details?.namedCurve ?? ''}`.trim() : String(type);
}

const nameOf = (certificate: X509Certificate): string => commonName(certificate.subject);

function commonName(name: string): string {
  const [, common = name.replaceAll('\n', ', ')] = /^CN=(.*)$/m.exec(name) ?? [];
  return common === '' ? 'a certificate without a name' : common;
}

/** {@link lookAtChain} of a file's text; what cannot be read is a failure. */
export function lookAtChainText(about: string, pem: string, profile: TlsProfile, now: Milliseconds): Look[] {
  try {
    return lookAtChain(about, readChain(pem), profile, now);
  } catch (error) {
    return [
      fail(
        about,
        `a certificate cannot be read: ${describeError(error)}`,
        'give it a certificate chain in PEM form',
      ),
    ];
  }
}

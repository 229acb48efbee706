import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { connect, createSecureContext } from 'node:tls';
import type { ConnectionOptions } from 'node:tls';
import t from 'tap';
import { parseAddress } from '../../shared/address.ts';
import { pairFault } from '../../shared/certificates.ts';
import { TLS_PROFILES } from '../../shared/tls-profile.ts';
import { readDocument, tableUnder } from '../fixtures/documents.ts';
import { makePair, startTlsDoors } from '../fixtures/tls-doors.ts';

const page = readDocument('docs/tls.md');

/** The cipher of a handshake with what one phone offers; null = none came about. */
async function shake(address: string, options: ConnectionOptions): Promise<string | null> {
  const { host, port } = parseAddress(address);
  const socket = connect({ host, port, rejectUnauthorized: false, minVersion: 'TLSv1', ...options });
  try {
    return await new Promise((resolve) => {
      socket.once('secureConnect', () => resolve(socket.getCipher().name));
      socket.once('error', () => resolve(null));
      socket.once('close', () => resolve(null));
    });
  } finally {
    socket.destroy();
  }
}

t.test('each cipher is spoken where docs/tls.md says so', async (t) => {
  const addresses = await startTlsDoors(t);
  for (const [cipher = '', ...documented] of tableUnder(page, '## Ciphers of TLS 1.2 and before')) {
    for (const [i, profile] of (['intermediate', 'legacy'] as const).entries()) {
      const offer = { maxVersion: 'TLSv1.2', ciphers: `${cipher}:@SECLEVEL=0` } as const;
      const spoken = await shake(addresses[profile], offer);
      t.equal(spoken === null ? 'no' : 'yes', documented[i], `${cipher} at ${profile}`);
    }
  }
});

t.test('what docs/tls.md calls gone cannot even be asked for', async (t) => {
  for (const [name = ''] of tableUnder(page, '## What no profile can speak')) {
    const attempt = (): unknown =>
      name === 'SSLv3'
        ? createSecureContext({ secureProtocol: 'SSLv3_method' })
        : createSecureContext({ ciphers: `${name}:@SECLEVEL=0`, minVersion: 'TLSv1' });
    t.throws(attempt, { message: /SSLv3 methods disabled|no cipher match/ }, name);
  }
  t.throws(() => createSecureContext({ secureProtocol: 'SSLv2_method' }), {
    message: /SSLv2 methods disabled/,
  });
});

t.test('certificates are taken by the profiles that docs/tls.md says', async (t) => {
  const dir = t.testdir();
  const pairs: Record<string, { cert: string; key: string }> = {
    'RSA 2048, SHA-256': makePair(dir, 'usual', '-newkey', 'rsa:2048', '-sha256'),
    'RSA 1024': makePair(dir, 'short', '-newkey', 'rsa:1024', '-sha256'),
    'signed with SHA-1': signedWithSha1(dir),
  };
  const rows = tableUnder(page, '## Certificates');
  t.same(
    rows.map(([what]) => what),
    Object.keys(pairs),
  );
  for (const [what = '', ...documented] of rows) {
    const { cert = '', key = '' } = pairs[what] ?? {};
    const taken = TLS_PROFILES.map((profile) =>
      pairFault(readFileSync(cert, 'utf8'), readFileSync(key, 'utf8'), profile) === null ? 'yes' : 'no',
    );
    t.same(taken, documented, what);
  }
});

/** A self-signed one's signature is looked at by nobody, so this one has an issuer. */
function signedWithSha1(dir: string): { cert: string; key: string } {
  const issuer = makePair(dir, 'issuer', '-newkey', 'rsa:2048');
  const [request, cert, key] = ['sha1.csr', 'sha1.pem', 'sha1.key'].map((name) => join(dir, name)) as [
    string,
    string,
    string,
  ];
  const subject = ['req', '-new', '-nodes', '-newkey', 'rsa:2048', '-subj', '/CN=sha1', '-keyout', key];
  execFileSync('openssl', [...subject, '-out', request], { stdio: 'ignore' });
  const sign = [
    'x509',
    '-req',
    '-sha1',
    '-days',
    '300',
    '-in',
    request,
    '-CA',
    issuer.cert,
    '-CAkey',
    issuer.key,
  ];
  execFileSync('openssl', [...sign, '-CAcreateserial', '-out', cert], { stdio: 'ignore' });
  return { cert, key };
}

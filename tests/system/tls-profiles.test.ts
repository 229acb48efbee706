import { execFile, execFileSync, spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { connect, createSecureContext } from 'node:tls';
import type { ConnectionOptions } from 'node:tls';
import { promisify } from 'node:util';
import t from 'tap';
import type { Test } from 'tap';
import { stringify } from 'yaml';
import { parseAddress } from '../../shared/address.ts';
import { pairFault } from '../../shared/certificates.ts';
import { TLS_PROFILES } from '../../shared/tls-profile.ts';
import type { TlsProfile } from '../../shared/tls-profile.ts';
import { readDocument, tableUnder } from '../fixtures/documents.ts';
import { runProgram, startProgram } from '../fixtures/program.ts';

const page = readDocument('docs/tls.md');
const run = promisify(execFile);

/** A certificate as nobody should have one any more, made by OpenSSL's own program. */
function makePair(dir: string, name: string, ...more: string[]): { cert: string; key: string } {
  const [cert, key] = [join(dir, `${name}.pem`), join(dir, `${name}.key`)];
  const subject = ['-x509', '-nodes', '-days', '300', '-subj', `/CN=${name}`, '-keyout', key, '-out', cert];
  execFileSync('openssl', ['req', ...subject, ...more], { stdio: 'ignore' });
  return { cert, key };
}

/** A proxy with a door of each profile; the session door, a legacy one, ends TLS in a process of its own. */
async function startDoors(t: Test): Promise<Record<TlsProfile, string>> {
  const dir = join(t.testdir(), 'proxy');
  await runProgram('sallyport-proxy', ['init', dir]);
  const { cert, key } = makePair(dir, 'door', '-newkey', 'rsa:2048');
  const file = join(dir, 'proxy.yaml');
  const config = {
    poll: ['modern', 'intermediate'].map((profile) => ({
      listen: '127.0.0.1:0',
      tls: { cert, key, profile },
    })),
    doors: [
      { name: 'old', service: 'wpi', listen: '127.0.0.1:0', tls: 'proxy', cert, key, profile: 'legacy' },
    ],
    relay: { listen: '127.0.0.1:0', tls: { cert: 'proxy.pem', key: 'proxy.key' }, state: './state' },
    ops: { listen: '127.0.0.1:0' },
    workers: 1,
  };
  writeFileSync(file, stringify(config));
  const proxy = await startProgram('sallyport-proxy', ['run', '--config', file]);
  t.teardown(() => proxy.stop());
  const { poll, doors } = proxy.ready as unknown as { poll: string[]; doors: { old: string } };
  const [modern = '', intermediate = ''] = poll;
  return { modern, intermediate, legacy: doors.old };
}

/** What testssl.sh calls the rows of the table. */
const FINDINGS: Record<string, string> = {
  'SSL 2': 'SSLv2',
  'SSL 3': 'SSLv3',
  'TLS 1.0': 'TLS1',
  'TLS 1.1': 'TLS1_1',
  'TLS 1.2': 'TLS1_2',
  'TLS 1.3': 'TLS1_3',
  'ciphers without encryption': 'cipherlist_NULL',
  'ciphers without authentication': 'cipherlist_aNULL',
  'export ciphers': 'cipherlist_EXPORT',
  'RC4, DES': 'cipherlist_LOW',
  'Triple DES, IDEA': 'cipherlist_3DES_IDEA',
  'AES with CBC': 'cipherlist_AVERAGE',
  'AES with GCM, ChaCha20': 'cipherlist_STRONG',
};

/** The ends by which testssl.sh says that so many of its probes were ambiguous, as on a busy machine (its manual, EXIT STATUS). */
const AMBIGUOUS_MOST = 49;
const SCANS = 3;

/** What testssl.sh finds: `yes` or `no` by its own names. A scan that it calls ambiguous is made again. */
async function scan(address: string, dir: string): Promise<Record<string, string>> {
  const options = ['-p', '-s', '--quiet', '--color', '0', '--warnings', 'off', '--nodns', 'none'];
  let file = '';
  for (let n = 1; n <= SCANS; n++) {
    file = join(dir, `${n}.json`);
    try {
      await run('testssl', [...options, '--ip', '127.0.0.1', '--jsonfile', file, address], {
        timeout: 150_000,
      });
      break;
    } catch (error) {
      const { code } = error as { code?: number | null };
      if (typeof code !== 'number' || code > AMBIGUOUS_MOST || n === SCANS) throw error;
    }
  }
  const found = JSON.parse(readFileSync(file, 'utf8')) as { id: string; finding: string }[];
  return Object.fromEntries(
    found.map(({ id, finding }) => [id, /^offered|^supported/.test(finding) ? 'yes' : 'no']),
  );
}

const noTestssl = spawnSync('testssl', ['--version']).error === undefined ? false : 'needs testssl.sh';

t.test('doors speak what docs/tls.md says, as testssl.sh sees it', { skip: noTestssl }, async (t) => {
  const addresses = await startDoors(t);
  const dir = t.testdir({ modern: {}, intermediate: {}, legacy: {} });
  const found = Object.fromEntries(
    await Promise.all(
      TLS_PROFILES.map(async (profile) => [profile, await scan(addresses[profile], join(dir, profile))]),
    ),
  ) as Record<TlsProfile, Record<string, string>>;
  const rows = tableUnder(page, '## What each profile speaks');
  t.same(
    rows.map(([what]) => what),
    Object.keys(FINDINGS),
  );
  for (const [what = '', ...documented] of rows) {
    const id = FINDINGS[what] ?? '';
    t.same(
      TLS_PROFILES.map((profile) => found[profile][id]),
      documented,
      what,
    );
  }
});

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
  const addresses = await startDoors(t);
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

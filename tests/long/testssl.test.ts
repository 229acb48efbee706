import { execFile, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import t from 'tap';
import { TLS_PROFILES } from '../../shared/tls-profile.ts';
import type { TlsProfile } from '../../shared/tls-profile.ts';
import { readDocument, tableUnder } from '../fixtures/documents.ts';
import { startTlsDoors } from '../fixtures/tls-doors.ts';

const page = readDocument('docs/tls.md');
const run = promisify(execFile);

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
  const addresses = await startTlsDoors(t);
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

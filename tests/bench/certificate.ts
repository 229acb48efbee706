import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createAuthority } from '../fixtures/certificates.ts';
import type { Owner } from '../fixtures/gate.ts';
import type { PeerTls } from './peer.ts';

/** The certificate and key of every contender, as files that go with `owner`. */
export async function certificate(owner: Owner): Promise<PeerTls> {
  const dir = mkdtempSync(join(tmpdir(), 'poll-bench-'));
  owner.teardown(() => rmSync(dir, { recursive: true, force: true }));
  const { cert, key } = await (await createAuthority()).issue(['127.0.0.1']);
  const files = { cert: join(dir, 'cert.pem'), key: join(dir, 'key.pem'), both: join(dir, 'both.pem') };
  writeFileSync(files.cert, cert);
  writeFileSync(files.key, key);
  writeFileSync(files.both, `${cert}\n${key}\n`);
  return files;
}

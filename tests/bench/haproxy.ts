import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Owner } from '../fixtures/gate.ts';
import { ownAddress } from '../fixtures/ports.ts';
import { deviceOf, isPending, KNOWN, serving } from './peer.ts';
import type { Peer, PeerTls } from './peer.ts';

/** A HAProxy that looks the device up in a map file and answers 202 or 200 by it, one thread. */
export async function startHaproxy(owner: Owner, wrap: string[], tls: PeerTls): Promise<Peer> {
  const dir = mkdtempSync(join(tmpdir(), 'haproxy-'));
  owner.teardown(() => rmSync(dir, { recursive: true, force: true }));
  const [plain, secure] = [await ownAddress(), await ownAddress()];
  const marks = Array.from({ length: KNOWN }, (_, n) => `${deviceOf(n)} ${isPending(n) ? 202 : 200}`);
  writeFileSync(join(dir, 'marks.map'), `${marks.join('\n')}\n`);
  writeFileSync(
    join(dir, 'haproxy.cfg'),
    `global
  nbthread 1
  maxconn 4096
  ssl-default-bind-options ssl-min-ver TLSv1.3
defaults
  mode http
  timeout client 30s
  timeout connect 5s
  timeout server 5s
frontend polls
  bind ${plain}
  bind ${secure} ssl crt ${tls.both}
  http-request return status 202 if { url_param(device-id),map(${dir}/marks.map,200) -m str 202 }
  http-request return status 200
`,
  );
  let said = '';
  const [command = '', ...args] = [...wrap, 'haproxy', '-db', '-f', join(dir, 'haproxy.cfg')];
  const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  child.stderr.on('data', (chunk: Buffer) => (said += chunk.toString('utf8')));
  return serving(owner, 'haproxy', child, { plain, secure }, () => said);
}

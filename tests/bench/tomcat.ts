import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Owner } from '../fixtures/gate.ts';
import { ownAddress } from '../fixtures/ports.ts';
import { KNOWN, serving } from './peer.ts';
import type { Peer, PeerTls } from './peer.ts';

/** Where Debian's libtomcat10-java puts what an embedded Tomcat needs, each file under a name without version. */
const LIBRARIES = '/usr/share/java';
const jars = (): string[] =>
  existsSync(LIBRARIES) ? readdirSync(LIBRARIES).filter((name) => /^tomcat10-[a-z-]+\.jar$/.test(name)) : [];

/** Whether there is a Tomcat to be measured; whether there is a JDK the caller asks. */
export const hasTomcat = (): boolean => jars().includes('tomcat10-catalina.jar');

/** A Tomcat whose servlet looks the device up in a concurrent map. */
export async function startTomcat(owner: Owner, wrap: string[], tls: PeerTls): Promise<Peer> {
  const dir = mkdtempSync(join(tmpdir(), 'tomcat-'));
  owner.teardown(() => rmSync(dir, { recursive: true, force: true }));
  const [plain, secure] = [await ownAddress(), await ownAddress()];
  const port = (address: string): string => address.split(':').at(-1) ?? '';
  const source = new URL('tomcat/PollServlet.java', import.meta.url).pathname;
  const path = jars()
    .map((name) => join(LIBRARIES, name))
    .join(':');
  const [command = '', ...args] = [
    ...[...wrap, 'java', '-cp', path, source],
    ...[dir, port(plain), port(secure), tls.cert, tls.key, String(KNOWN)],
  ];
  let said = '';
  const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  child.stderr.on('data', (chunk: Buffer) => (said = `${said}${chunk.toString('utf8')}`.slice(-4_000)));
  return serving(owner, 'tomcat', child, { plain, secure }, () => said);
}

import { execFileSync, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { connect } from 'node:tls';
import type { ConnectionOptions, TLSSocket } from 'node:tls';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import type { Test } from 'tap';
import type { DoorTls } from '../../../proxy/config.ts';
import { CONFINEMENT, createProcessTlsEnd } from '../../../proxy/tls-end/own-process.ts';
import { systemClock } from '../../../shared/clock.ts';
import { createPrivateKeyPem } from '../../../shared/key-pair.ts';
import { createLog } from '../../../shared/log.ts';
import { createAuthority } from '../../fixtures/certificates.ts';
import { foundInMemory, whyNoMemory } from '../../fixtures/process-memory.ts';
import { until } from '../../fixtures/until.ts';

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));

/** Processes that this one has started and that run still. */
const children = (): number[] =>
  readdirSync('/proc/self/task').flatMap((thread) =>
    readFileSync(`/proc/self/task/${thread}/children`, 'utf8').split(' ').filter(Boolean).map(Number),
  );

/** A door that answers each line in upper case, TLS ending in a process of its own. */
async function startDoor(t: Test, more: Partial<DoorTls> = {}) {
  const { cert, key } = await (await createAuthority()).issue(['old.example'], { rsa: true });
  const dir = t.testdir({ 'c.pem': cert, 'k.pem': key });
  const lines: Record<string, unknown>[] = [];
  const before = children();
  const end = await createProcessTlsEnd(
    { cert: join(dir, 'c.pem'), key: join(dir, 'k.pem'), profile: 'legacy', clientCa: null, ...more },
    {
      most: 10,
      handshakeMs: 20_000,
      clock: systemClock,
      log: createLog('debug', {
        write: (line) => void lines.push(JSON.parse(line) as Record<string, unknown>),
      }),
    },
  );
  const answer = (clear: Duplex): void =>
    void clear.on('data', (bytes: Buffer) => clear.write(bytes.toString().toUpperCase()));
  const sockets = new Set<Socket>();
  const server = createServer({ pauseOnConnect: true, allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.on('error', () => socket.destroy());
    end.accept(socket, answer);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    end.close();
    sockets.forEach((socket) => socket.destroy());
    server.close();
  });
  const phone = (options: ConnectionOptions = {}): TLSSocket => {
    const { port } = server.address() as AddressInfo;
    const socket = connect({ host: '127.0.0.1', port, rejectUnauthorized: false, ...options });
    socket.on('error', () => undefined);
    t.teardown(() => socket.destroy());
    return socket;
  };
  const speak = async (socket: TLSSocket): Promise<string> => {
    socket.write('hello');
    const [bytes] = (await once(socket, 'data')) as [Buffer];
    return bytes.toString();
  };
  const processes = (): number[] => children().filter((pid) => !before.includes(pid));
  return { end, phone, speak, processes, lines, key, dir };
}

const OLD: ConnectionOptions = {
  minVersion: 'TLSv1',
  maxVersion: 'TLSv1',
  ciphers: 'AES128-SHA:@SECLEVEL=0',
};

t.test('a phone of TLS 1.0 is served by a process that is told nothing but its door', async (t) => {
  const { phone, speak, processes } = await startDoor(t);
  const socket = phone(OLD);
  t.equal(await speak(socket), 'HELLO');
  t.equal(socket.getProtocol(), 'TLSv1');
  const [pid = 0, ...more] = processes();
  t.same(more, []);
  t.equal(readFileSync(`/proc/${pid}/environ`, 'utf8'), '', 'nothing is inherited by environment');
});

t.test('its memory has its door’s key and none of the proxy’s', { skip: whyNoMemory() }, async (t) => {
  // Held in this process as the proxy holds the key of its links.
  const linkKey = createPrivateKeyPem();
  const { phone, speak, processes, key } = await startDoor(t);
  await speak(phone(OLD));
  const [pid = 0] = processes();
  const line = (pem: string): string => pem.split('\n')[1] ?? '';
  t.same(foundInMemory(pid, [line(key), line(linkKey)]), [line(key)]);
  t.same(foundInMemory(process.pid, [line(linkKey)]), [line(linkKey)], 'where it is, it is found');
});

t.test('it dies alone, its phones are cut, and others are served again', async (t) => {
  const { phone, speak, processes, lines } = await startDoor(t);
  const cut = phone();
  await speak(cut);
  const [pid] = processes();
  // A signal to process 0 would go to all of this group.
  if (pid === undefined) throw new Error('there is no process apart');
  process.kill(pid, 'SIGTERM');
  t.equal(await speak(cut), 'HELLO', 'a signal to all processes of a unit leaves it to finish');
  const closed = new Promise((resolve) => cut.once('close', resolve));
  process.kill(pid, 'SIGKILL');
  await closed;
  await until('another process is there', () => processes().some((other) => other !== pid));
  t.match(
    lines.find(({ level }) => level === 'error'),
    { msg: /died and is started again/, signal: 'SIGKILL' },
  );
  const served = async (): Promise<boolean> => {
    const socket = phone();
    const answered = speak(socket).catch(() => 'nothing');
    const over = once(socket, 'close').then(
      () => 'nothing',
      () => 'nothing',
    );
    return (await Promise.race([answered, over])) === 'HELLO';
  };
  await until('phones are served again', served);
});

t.test('a new certificate is shown, and phones of before go on', async (t) => {
  const { end, phone, speak, dir, processes } = await startDoor(t);
  const staying = phone();
  await speak(staying);
  const before = processes();
  const fresh = await (await createAuthority()).issue(['new.example']);
  writeFileSync(join(dir, 'c.pem'), fresh.cert);
  t.throws(() => end.reload(), { code: 'KEY_INVALID' });
  writeFileSync(join(dir, 'k.pem'), fresh.key);
  end.reload();
  const newcomer = phone();
  await once(newcomer, 'secureConnect');
  t.equal(newcomer.getPeerCertificate().subject.CN, 'new.example');
  t.equal(await speak(staying), 'HELLO');
  t.same(processes(), before, 'in the same process');
});

t.test('it goes with its door', async (t) => {
  const { end, processes } = await startDoor(t);
  t.equal(processes().length, 1);
  end.close();
  await until('the process is gone', () => processes().length === 0);
});

t.test(
  'its confinement holds: no files but our code, no processes, no threads, no code from text',
  async (t) => {
    const attempts: Record<string, string> = {
      'a file': "require('fs').readFileSync('/etc/hostname')",
      'a file to write': "require('fs').writeFileSync('/tmp/x', '')",
      'a process': "require('child_process').execSync('true')",
      'a thread': "new (require('worker_threads').Worker)('1', { eval: true })",
      eval: "Function('return 1')()",
    };
    for (const [what, code] of Object.entries(attempts)) {
      const { status, stderr } = spawnSync(process.execPath, [...CONFINEMENT, '-e', code], { env: {} });
      t.not(status, 0, what);
      t.match(stderr.toString(), /ERR_ACCESS_DENIED|EvalError/, what);
    }
    const { stdout } = spawnSync(process.execPath, [...CONFINEMENT, '-p', '1 + 1'], { env: {} });
    t.equal(stdout.toString(), '2\n', 'and the rest of it works');
  },
);

const folders = (path: string): string[] => (path === '/' ? [path] : [path, ...folders(dirname(path))]);
const readable = [ROOT, process.execPath]
  .flatMap(folders)
  .every((path) => (statSync(path).mode & 0o001) !== 0);
const noOther =
  process.getuid?.() !== 0 ? 'needs root' : readable ? false : 'needs a checkout that every user can read';

t.test('as root, it runs as the user that it is told', { skip: noOther }, async (t) => {
  const { phone, speak, processes } = await startDoor(t, { runAs: { uid: 65_534, gid: 65_534 } });
  t.equal(await speak(phone()), 'HELLO');
  const status = readFileSync(`/proc/${processes()[0]}/status`, 'utf8');
  t.match(status, /^Uid:\t65534\t65534\t65534\t65534$/m);
  t.match(status, /^Gid:\t65534\t65534\t65534\t65534$/m);
  t.match(status, /^CapEff:\t0+$/m);
});

t.test('that it cannot be started is said', async (t) => {
  const missing = startDoor(t, { cert: '/nowhere.pem' });
  await t.rejects(missing, { code: 'FILE_UNREADABLE', message: /nowhere\.pem/ });
  const user = execFileSync('id', ['-u']).toString().trim();
  if (user === '0') return;
  await t.rejects(startDoor(t, { runAs: { uid: 65_534, gid: 65_534 } }), {
    code: 'CONFIG_INVALID',
    message: /EPERM/,
  });
});

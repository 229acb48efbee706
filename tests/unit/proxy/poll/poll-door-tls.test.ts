import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { connect as connectPlain } from 'node:net';
import { connect, type ConnectionOptions, type TLSSocket } from 'node:tls';
import t from 'tap';
import type { PollDoor } from '../../../../proxy/poll/poll-door.ts';
import { createAuthority } from '../../../fixtures/certificates.ts';
import { foundInMemory, whyNoMemory } from '../../../fixtures/process-memory.ts';
import {
  PENDING,
  certificateFiles,
  pollRequest,
  readAll,
  startPollDoor,
  statusOf,
} from '../../../fixtures/start-poll-door.ts';
import { PATIENCE_MS, until } from '../../../fixtures/until.ts';

const authority = await createAuthority();
const credentials = await authority.issue(['127.0.0.1']);

function dial(port: number, options: ConnectionOptions = {}): TLSSocket {
  return connect({ port, host: '127.0.0.1', ca: authority.cert, ...options });
}

async function poll(port: number, options: ConnectionOptions = {}): Promise<number | null> {
  const socket = dial(port, options);
  const all = readAll(socket);
  socket.write(pollRequest(PENDING, 'Connection: close\r\n'));
  return statusOf(await all);
}

/** How many connections the door has open when it has noticed what the phones did. */
async function openAtLast(door: PollDoor): Promise<number> {
  await until('no connection is open', () => door.stats().connections.open === 0);
  return door.stats().connections.open;
}

for (const profile of ['modern', 'legacy'] as const)
  t.test(`HTTPS (${profile}) is answered like HTTP and closed within TLS`, async (t) => {
    const files = certificateFiles(t, credentials);
    const { ports, door } = await startPollDoor(t, { listeners: [{ tls: { ...files, profile } }] });
    const socket = dial(ports[0]!);
    socket.write(pollRequest(PENDING) + pollRequest(PENDING, 'Connection: close\r\n'));
    let text = '';
    socket.setEncoding('latin1').on('data', (chunk: string) => (text += chunk));
    await once(socket, 'end');
    t.match(text, /^HTTP\/1.1 202 .*HTTP\/1.1 202 .*Connection: close\r\n\r\n$/s);
    t.equal(await openAtLast(door), 0);
  });

t.test('a profile says which versions of TLS are spoken', async (t) => {
  const files = certificateFiles(t, credentials);
  const { ports } = await startPollDoor(t, {
    listeners: (['modern', 'intermediate', 'legacy'] as const).map((profile) => ({
      tls: { ...files, profile },
    })),
  });
  const versions = ['TLSv1', 'TLSv1.2', 'TLSv1.3'] as const;
  const spoken = await Promise.all(
    ports.map((port) =>
      Promise.all(
        versions.map((version) =>
          poll(port, { minVersion: version, maxVersion: version, ciphers: 'DEFAULT:@SECLEVEL=0' }),
        ),
      ),
    ),
  );
  t.strictSame(spoken, [
    [null, null, 202],
    [null, 202, 202],
    [202, 202, 202],
  ]);
});

t.test('a session is resumed by whichever worker gets it', async (t) => {
  const files = certificateFiles(t, credentials);
  const { ports } = await startPollDoor(t, {
    workers: 3,
    listeners: [{ tls: { ...files, profile: 'modern' } }],
  });
  const first = dial(ports[0]!);
  first.write(pollRequest(PENDING, 'Connection: close\r\n'));
  const ended = readAll(first);
  const [session] = (await once(first, 'session')) as [Buffer];
  await ended;
  const reused = await Promise.all(
    Array.from({ length: 20 }, async () => {
      const socket = dial(ports[0]!, { session });
      await once(socket, 'secureConnect');
      const resumed = socket.isSessionReused();
      socket.destroy();
      return resumed;
    }),
  );
  t.ok(reused.every(Boolean), `${reused.filter(Boolean).length} of ${reused.length} resumed`);
});

for (const profile of ['modern', 'legacy'] as const)
  t.test(`certificates (${profile}) are read again on demand, and a bad one changes nothing`, async (t) => {
    const files = certificateFiles(t, credentials);
    const { ports, door } = await startPollDoor(t, {
      workers: 2,
      listeners: [{ tls: { ...files, profile } }, {}],
    });
    const serial = async (): Promise<string> => {
      const socket = dial(ports[0]!);
      await once(socket, 'secureConnect');
      const { serialNumber } = socket.getPeerCertificate();
      socket.destroy();
      return serialNumber;
    };
    const before = await serial();
    const kept = dial(ports[0]!);
    await once(kept, 'secureConnect');

    files.write({ cert: credentials.cert, key: (await authority.issue(['127.0.0.1'])).key });
    t.throws(() => door.reload(), { code: 'KEY_INVALID', message: /cert\.pem with .*key\.pem/ });
    t.equal(await serial(), before);

    files.write(await authority.issue(['127.0.0.1']));
    door.reload();
    const changed = performance.now() + PATIENCE_MS;
    let serials: string[];
    do serials = await Promise.all(Array.from({ length: 12 }, serial));
    while (serials.includes(before) && performance.now() < changed);
    t.notOk(serials.includes(before), 'all workers show the new one');
    const all = readAll(kept);
    kept.write(pollRequest(PENDING, 'Connection: close\r\n'));
    t.equal(statusOf(await all), 202, 'a connection from before goes on');
  });

t.test('a certificate that cannot be used keeps the door from opening, with the file named', async (t) => {
  const files = certificateFiles(t, credentials);
  const tls = { cert: files.cert, key: files.key, profile: 'modern' as const };
  await t.rejects(startPollDoor(t, { listeners: [{ tls: { ...tls, key: `${files.key}.none` } }] }), {
    code: 'FILE_UNREADABLE',
    message: /key\.pem\.none.*ENOENT/,
  });
  files.write({ cert: 'no certificate', key: credentials.key });
  await t.rejects(startPollDoor(t, { listeners: [{ tls }] }), { code: 'KEY_INVALID' });
});

/** Processes that this one has started and that run still. */
const children = (): number[] =>
  readdirSync('/proc/self/task').flatMap((thread) =>
    readFileSync(`/proc/self/task/${thread}/children`, 'utf8').split(' ').filter(Boolean).map(Number),
  );

t.test('TLS of old ends in one process apart, which has no key but that of its door', async (t) => {
  const old = await authority.issue(['127.0.0.1'], { rsa: true });
  const [files, oldFiles] = [certificateFiles(t, credentials), certificateFiles(t, old)];
  const before = children();
  const { ports, door } = await startPollDoor(t, {
    workers: 3,
    listeners: [{ tls: { ...files, profile: 'modern' } }, { tls: { ...oldFiles, profile: 'legacy' } }],
  });
  const [modern = 0, legacy = 0] = ports;
  const apart = (): number[] => children().filter((pid) => !before.includes(pid));
  const tls10 = { minVersion: 'TLSv1', maxVersion: 'TLSv1', ciphers: 'AES128-SHA:@SECLEVEL=0' } as const;
  t.equal(await poll(legacy, tls10), 202);
  const [pid, ...more] = apart();
  // A signal to process 0 would go to all of this group.
  if (pid === undefined) throw new Error('there is no process apart');
  t.same(more, [], 'one for all workers');
  const held = dial(legacy, tls10);
  held.write(pollRequest(PENDING));
  await once(held, 'data');

  await t.test('seen in its memory', { skip: whyNoMemory() }, async (t) => {
    const line = (pem: string): string => pem.split('\n')[1] ?? '';
    const keys = [line(old.key), line(credentials.key)];
    t.same(foundInMemory(pid, keys), [line(old.key)]);
    t.same(foundInMemory(process.pid, keys), keys, 'where they are, they are found');
  });

  const cut = readAll(held);
  process.kill(pid, 'SIGKILL');
  await cut;
  t.equal(await poll(modern), 202, 'it dies alone');
  await until('another process has taken its place', () => apart().length > 0);
  await until('old phones are served again', async () => (await poll(legacy, tls10)) === 202);
  t.equal(await openAtLast(door), 0);
  await door.close();
  await until('the process is gone with its door', () => apart().length === 0);
});

for (const profile of ['modern', 'legacy'] as const)
  t.test(`a handshake (${profile}) that is not finished, or is none, is cut`, async (t) => {
    const files = certificateFiles(t, credentials);
    const { ports, door } = await startPollDoor(t, {
      listeners: [{ tls: { ...files, profile } }],
      limits: { handshakeMs: 200 },
    });
    const silent = connectPlain(ports[0]!, '127.0.0.1');
    const half = connectPlain(ports[0]!, '127.0.0.1');
    half.write(Buffer.from([0x16, 0x03, 0x01, 0x02, 0x00, 0x01]));
    const plain = connectPlain(ports[0]!, '127.0.0.1');
    plain.write(pollRequest(PENDING));
    const answers = await Promise.all([silent, half, plain].map(readAll));
    t.notOk(answers.some((text) => text.includes('HTTP/')));
    // A phone may see its end before the door has counted it.
    await until('three handshakes are cut', () => door.stats().cut.tls_handshake >= 3);
    t.equal(door.stats().cut.tls_handshake, 3);
    t.equal(await openAtLast(door), 0);
  });

t.test('at the limit of connections a TLS phone is cut before its handshake', async (t) => {
  const files = certificateFiles(t, credentials);
  const { ports, door } = await startPollDoor(t, {
    listeners: [{ tls: { ...files, profile: 'modern' } }],
    limits: { connections: 1 },
  });
  const first = dial(ports[0]!);
  await once(first, 'secureConnect');
  t.equal(await poll(ports[0]!), null);
  t.equal(door.stats().cut.connections, 1);
  first.destroy();
});

import { once } from 'node:events';
import { connect as connectPlain } from 'node:net';
import { connect, type ConnectionOptions, type TLSSocket } from 'node:tls';
import t from 'tap';
import type { PollDoor } from '../../../../proxy/poll/poll-door.ts';
import { createAuthority } from '../../../fixtures/certificates.ts';
import {
  PENDING,
  certificateFiles,
  pollRequest,
  readAll,
  startPollDoor,
  statusOf,
} from '../../../fixtures/start-poll-door.ts';

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
  const deadline = performance.now() + 5_000;
  while (door.stats().connections.open > 0 && performance.now() < deadline) await new Promise(setImmediate);
  return door.stats().connections.open;
}

t.test('HTTPS is answered like HTTP and closed within TLS', async (t) => {
  const files = certificateFiles(t, credentials);
  const { ports, door } = await startPollDoor(t, { listeners: [{ tls: { ...files, profile: 'modern' } }] });
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

t.test('certificates are read again on demand, and a bad one changes nothing', async (t) => {
  const files = certificateFiles(t, credentials);
  const { ports, door } = await startPollDoor(t, {
    workers: 2,
    listeners: [{ tls: { ...files, profile: 'modern' } }, {}],
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
  const changed = performance.now() + 5_000;
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

t.test('a handshake that is not finished, or is none, is cut', async (t) => {
  const files = certificateFiles(t, credentials);
  const { ports, door } = await startPollDoor(t, {
    listeners: [{ tls: { ...files, profile: 'modern' } }],
    limits: { handshakeMs: 200 },
  });
  const silent = connectPlain(ports[0]!, '127.0.0.1');
  const half = connectPlain(ports[0]!, '127.0.0.1');
  half.write(Buffer.from([0x16, 0x03, 0x01, 0x02, 0x00, 0x01]));
  const plain = connectPlain(ports[0]!, '127.0.0.1');
  plain.write(pollRequest(PENDING));
  const answers = await Promise.all([silent, half, plain].map(readAll));
  t.notOk(answers.some((text) => text.includes('HTTP/')));
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

import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { connect as connectTcp } from 'node:net';
import { duplexPair } from 'node:stream';
import { connect as connectTls } from 'node:tls';
import type { ConnectionOptions, SecureVersion, TLSSocket } from 'node:tls';
import t from 'tap';
import { isSallyportError } from '../../../shared/errors.ts';
import type { PhoneOrigin } from '../../../relay-client/services/service.ts';
import { createWpiService } from '../../../relay-client/services/wpi.ts';
import { systemClock } from '../../../shared/clock.ts';
import { silentLog } from '../../../shared/log.ts';
import { createAuthority } from '../../fixtures/certificates.ts';
import {
  answering,
  authority,
  connectPhone,
  eventually,
  ok,
  passiveObserver,
  post,
  recordingObserver,
  startRawUpstream,
  startWpi,
  temporaryDirectory,
  writeCredentials,
} from './harness.ts';
import type { WpiUnderTest } from './harness.ts';

const only = (version: SecureVersion, ciphers?: string): ConnectionOptions => ({
  minVersion: version,
  maxVersion: version,
  ...(ciphers === undefined ? {} : { ciphers }),
});

/** Whether one message passes. */
async function serves(wpi: WpiUnderTest, options: ConnectionOptions): Promise<string> {
  const { socket, send, answer } = await wpi.phone(options);
  send(post('<x/>'));
  const { body } = await answer();
  socket.end();
  return `${body} ${(socket as TLSSocket).getProtocol() ?? ''}`;
}

const refuses = async (wpi: WpiUnderTest, options: ConnectionOptions): Promise<string> =>
  serves(wpi, options).then(
    (answer) => `served: ${answer}`,
    () => 'refused',
  );

t.test('profile legacy serves phones of TLS 1.0 with old ciphers', async (t) => {
  const upstream = await startRawUpstream(t, answering(ok()));
  const files = writeCredentials(
    temporaryDirectory(t),
    'rsa',
    await (await authority()).issue(['127.0.0.1'], { rsa: true }),
  );
  const wpi = await startWpi(t, { upstream: upstream.url, tls: { ...files, profile: 'legacy' } });
  t.equal(await serves(wpi, only('TLSv1', 'AES128-SHA:@SECLEVEL=0')), 'ok TLSv1');
  t.equal(await serves(wpi, only('TLSv1.1', 'ECDHE-RSA-AES256-SHA:@SECLEVEL=0')), 'ok TLSv1.1');
  t.equal(await serves(wpi, only('TLSv1.2')), 'ok TLSv1.2');
  t.equal(await serves(wpi, only('TLSv1.3')), 'ok TLSv1.3');
});

t.test('profile intermediate serves TLS 1.2 and 1.3, modern 1.3 alone', async (t) => {
  const upstream = await startRawUpstream(t, answering(ok()));
  const intermediate = await startWpi(t, { upstream: upstream.url, tls: { profile: 'intermediate' } });
  t.equal(await refuses(intermediate, only('TLSv1.1', 'DEFAULT:@SECLEVEL=0')), 'refused');
  t.equal(await serves(intermediate, only('TLSv1.2')), 'ok TLSv1.2');
  t.equal(await refuses(intermediate, only('TLSv1.2', 'ECDHE-ECDSA-AES128-SHA')), 'refused', 'no CBC');
  t.equal(await serves(intermediate, only('TLSv1.3')), 'ok TLSv1.3');
  const modern = await startWpi(t, { upstream: upstream.url, tls: { profile: 'modern' } });
  t.equal(await refuses(modern, only('TLSv1.2')), 'refused');
  t.equal(await serves(modern, only('TLSv1.3')), 'ok TLSv1.3');
});

for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
  for (const clientCa of [false, true]) {
    t.test(`sessions are resumed: ${version}${clientCa ? ' with client certificates' : ''}`, async (t) => {
      const upstream = await startRawUpstream(t, answering(ok()));
      const ca = await authority();
      const caFile = join(temporaryDirectory(t), 'ca.pem');
      writeFileSync(caFile, ca.cert);
      const wpi = await startWpi(t, { upstream: upstream.url, tls: { clientCa: clientCa ? caFile : null } });
      const options = { ...only(version), ...(clientCa ? await ca.issue(['phone']) : {}) };
      const first = await wpi.phone(options);
      first.send(post('x'));
      await first.answer();
      const session = (first.socket as TLSSocket).getSession();
      first.socket.end();
      await first.over;
      t.ok(session, 'a ticket came');
      const second = await wpi.phone({ ...options, ...(session === undefined ? {} : { session }) });
      second.send(post('x'));
      t.equal((await second.answer()).body, 'ok');
      t.ok((second.socket as TLSSocket).isSessionReused());
    });
  }
}

t.test('with client_ca, a phone needs a certificate of that authority', async (t) => {
  const upstream = await startRawUpstream(t, answering(ok()));
  const ca = await authority();
  const caFile = join(temporaryDirectory(t), 'ca.pem');
  writeFileSync(caFile, ca.cert);
  const wpi = await startWpi(t, { upstream: upstream.url, tls: { clientCa: caFile } });
  const stranger = await createAuthority('Another');
  t.equal(await refuses(wpi, {}), 'refused', 'none');
  t.equal(await refuses(wpi, await stranger.issue(['phone'])), 'refused', 'of another authority');
  t.equal(await refuses(wpi, only('TLSv1.2')), 'refused', 'none in TLS 1.2');
  t.equal(await refuses(wpi, { ...only('TLSv1.2'), ...(await stranger.issue(['phone'])) }), 'refused');
  t.equal(await serves(wpi, await ca.issue(['phone'])), 'ok TLSv1.3', 'its own');
  t.equal(upstream.connections.length, 1, 'only the last one was heard upstream');
});

t.test('a handshake that does not come is cut in time and leaves nothing', async (t) => {
  const upstream = await startRawUpstream(t);
  const wpi = await startWpi(t, { upstream: upstream.url, tls: {}, limits: { handshakeMs: 50 } });
  for (const first of ['', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03']) {
    const raw = await connectPhone(t, connectTcp(wpi.door.port, '127.0.0.1'), 'connect');
    raw.send(first);
    t.equal(await raw.over, 'cut');
  }
  t.equal(wpi.service.connections(), 0);
  t.equal(wpi.door.streams(), 0);
  t.strictSame(wpi.counted, ['connection', 'handshake_failed', 'connection', 'handshake_failed']);
});

t.test(
  'a phone that ends its connection during the handshake is let go at once',
  { timeout: 60_000 },
  async (t) => {
    const upstream = await startRawUpstream(t);
    const wpi = await startWpi(t, { upstream: upstream.url, tls: {}, limits: { handshakeMs: 600_000 } });
    for (const first of ['', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03']) {
      const raw = await connectPhone(t, connectTcp(wpi.door.port, '127.0.0.1'), 'connect');
      raw.send(first);
      raw.socket.end();
      t.equal(await raw.over, 'cut');
    }
    t.equal(wpi.service.connections(), 0);
    t.equal(wpi.door.streams(), 0);
  },
);

t.test('bytes that are no TLS are cut at once, before and after the handshake', async (t) => {
  const upstream = await startRawUpstream(t, answering(ok()));
  const wpi = await startWpi(t, { upstream: upstream.url, tls: {} });
  const clear = await connectPhone(t, connectTcp(wpi.door.port, '127.0.0.1'), 'connect');
  clear.send(post('in the clear'));
  t.equal(await clear.over, 'cut');

  const under = connectTcp(wpi.door.port, '127.0.0.1');
  await once(under, 'connect');
  const [near, far] = duplexPair();
  far.pipe(under).pipe(far);
  const phone = await connectPhone(
    t,
    connectTls({ socket: near, ca: (await authority()).cert, servername: 'wpi.test' }),
    'secureConnect',
  );
  phone.send(post('<x/>'));
  await phone.answer();
  under.on('error', () => undefined);
  under.write('this is no record of TLS');
  await new Promise((resolve) => under.once('close', resolve));
  await wpi.observer.until('closed');
  t.match(wpi.observer.seen.at(-1), { how: 'cut' });
  t.equal(wpi.service.connections(), 0);
});

t.test('each sealed connection is known by its own origin, however many shake hands at once', async (t) => {
  const upstream = await startRawUpstream(t, answering(ok()));
  const pairs: [number, string][] = [];
  const observer = {
    ...recordingObserver(),
    connection: (origin: PhoneOrigin) => ({
      ...passiveObserver.connection(origin),
      message(request: { path: string; headers: readonly string[]; body: Buffer }) {
        pairs.push([origin.port, request.body.toString()]);
        return passiveObserver.connection(origin).message(request);
      },
    }),
  };
  const wpi = await startWpi(t, { upstream: upstream.url, tls: {}, observer });
  await Promise.all(
    Array.from({ length: 100 }, async () => {
      const { socket, send, answer } = await wpi.phone();
      send(post(String(socket.localPort)));
      await answer();
    }),
  );
  t.equal(pairs.length, 100);
  t.strictSame(
    pairs.filter(([port, body]) => String(port) !== body),
    [],
  );
});

t.test('a phone that ends TLS in order ends its connection in order', async (t) => {
  const upstream = await startRawUpstream(t, answering(ok()));
  const wpi = await startWpi(t, { upstream: upstream.url, tls: {} });
  for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
    const { socket, send, answer, over } = await wpi.phone(only(version));
    send(post('x'));
    await answer();
    socket.end();
    t.equal(await over, 'ended');
  }
  await wpi.observer.until('closed', 2);
  t.match(wpi.observer.seen.at(-1), { how: 'ended' });
  await eventually(() => wpi.door.streams() === 0);
  t.equal(wpi.door.cuts(), 0, 'no reset follows, which might overtake the last bytes');
});

t.test('a sealed answer that upstream cut off does not end in order', async (t) => {
  const upstream = await startRawUpstream(t, ({ socket }) => {
    socket.write(`HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n${'x'.repeat(50_000)}`);
  });
  const wpi = await startWpi(t, { upstream: upstream.url, tls: {} });
  const { socket, send, received, over } = await wpi.phone();
  send('GET /f HTTP/1.1\r\nHost: a\r\n\r\n');
  while (received().length < 50_000) await once(socket, 'data');
  upstream.connections[0]?.socket.end();
  t.equal(await over, 'cut');
});

t.test('a service without a certificate refuses sealed connections', async (t) => {
  const upstream = await startRawUpstream(t, answering(ok()));
  const wpi = await startWpi(t, { upstream: upstream.url });
  const { stream, closed } = await new Promise<{ stream: TLSSocket; closed: Promise<unknown> }>((resolve) => {
    const socket = connectTcp(wpi.door.port, '127.0.0.1', () => {
      resolve({ stream: socket as TLSSocket, closed: once(socket, 'close') });
    });
  });
  wpi.service.accept(stream, { proxy: 'dmz', door: 'sealed', address: '127.0.0.1', port: 1, tls: 'relay' });
  await closed;
  t.equal(wpi.service.connections(), 0);
});

t.test('reload shows a new certificate, and keeps the old one where the new is unusable', async (t) => {
  const upstream = await startRawUpstream(t, answering(ok()));
  const ca = await authority();
  const files = writeCredentials(
    temporaryDirectory(t),
    'dls',
    await ca.issue(['127.0.0.1'], { commonName: 'old' }),
  );
  const wpi = await startWpi(t, { upstream: upstream.url, tls: files });
  const shown = async (): Promise<string | undefined> => {
    const { socket } = await wpi.phone();
    return (socket as TLSSocket).getPeerX509Certificate()?.subject;
  };
  t.equal(await shown(), 'CN=old');
  const running = await wpi.phone();
  const next = await ca.issue(['127.0.0.1'], { commonName: 'new' });
  writeFileSync(files.cert, next.cert);
  await t.rejects(wpi.service.reload(), { code: 'KEY_INVALID' }, 'the key is still the old one');
  t.equal(await shown(), 'CN=old');
  writeFileSync(files.key, next.key);
  await wpi.service.reload();
  t.equal(await shown(), 'CN=new');
  running.send(post('x'));
  t.equal((await running.answer()).body, 'ok', 'connections from before go on');
  writeFileSync(files.cert, 'not a certificate');
  await t.rejects(wpi.service.reload(), { code: 'KEY_INVALID' });
  t.equal(await shown(), 'CN=new');
});

t.test('files that cannot be used are named at the start', async (t) => {
  const ca = await authority();
  const files = writeCredentials(temporaryDirectory(t), 'dls', await ca.issue(['127.0.0.1']));
  const nothing = join(temporaryDirectory(t), 'nothing.pem');
  const garbage = join(temporaryDirectory(t), 'garbage.pem');
  writeFileSync(garbage, 'garbage');
  const base = { ...files, profile: 'intermediate', clientCa: null } as const;
  for (const [tls, code] of [
    [{ ...base, cert: nothing }, 'FILE_UNREADABLE'],
    [{ ...base, key: nothing }, 'FILE_UNREADABLE'],
    [{ ...base, clientCa: nothing }, 'FILE_UNREADABLE'],
    [{ ...base, key: garbage }, 'KEY_INVALID'],
    [{ ...base, clientCa: garbage }, 'KEY_INVALID'],
  ] as const) {
    try {
      createWpiService(
        {
          name: 'wpi',
          kind: 'wpi',
          tls,
          upstream: 'http://127.0.0.1:1',
          upstreamTls: {},
          forwarded: 'none',
          rewriteContactMe: false,
          limits: {},
        },
        { observer: passiveObserver, clock: systemClock, log: silentLog },
      );
      t.fail('it was made');
    } catch (error) {
      t.ok(isSallyportError(error, code), String(error));
      t.match(String(error), /nothing\.pem|garbage\.pem/);
    }
  }
});

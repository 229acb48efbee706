import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createSecureServer } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { createServer as createTlsServer } from 'node:tls';
import type { TLSSocket } from 'node:tls';
import t from 'tap';
import type { Test } from 'tap';
import { pinOf } from '../../../shared/key-pair.ts';
import type { UpstreamTlsConfig } from '../../../relay-client/services/config.ts';
import { parseUpstreamUrl } from '../../../relay-client/services/upstream.ts';
import { createAuthority } from '../../fixtures/certificates.ts';
import { until } from '../../fixtures/until.ts';
import { answering, authority, ok, post, startRawUpstream, startWpi, temporaryDirectory } from './harness.ts';

/** The status of one message. */
async function status(
  t: Test,
  upstream: string,
  upstreamTls: UpstreamTlsConfig,
  headers = '',
): Promise<string> {
  const { phone } = await startWpi(t, { upstream, upstreamTls });
  const { send, answer } = await phone();
  send(post('<x/>', headers));
  return (await answer()).head.slice(9, 12);
}

async function caFile(t: Test, pem: string): Promise<string> {
  const file = join(temporaryDirectory(t), 'ca.pem');
  writeFileSync(file, pem);
  return file;
}

t.test('upstream is verified: by authority and name, or by pin, or not at all when told so', async (t) => {
  const ca = await authority();
  const other = await createAuthority('Another');
  const own = await ca.issue(['127.0.0.1']);
  const misnamed = await ca.issue(['elsewhere.test']);
  const good = await startRawUpstream(t, answering(ok()), own);
  const wrongName = await startRawUpstream(t, answering(ok()), misnamed);
  const caPem = await caFile(t, ca.cert);
  const otherPem = await caFile(t, other.cert);
  const pin = pinOf(new X509Certificate(own.cert));
  const otherPin = pinOf(new X509Certificate(misnamed.cert));

  t.equal(await status(t, good.url, {}), '502', 'an unknown authority');
  t.equal(await status(t, good.url, { ca: otherPem }), '502', 'another authority');
  t.equal(await status(t, good.url, { ca: caPem }), '200', 'its authority');
  t.equal(await status(t, wrongName.url, { ca: caPem }), '502', 'another name');
  t.equal(await status(t, wrongName.url, { verify: false }), '200', 'verify: false');
  t.equal(await status(t, good.url, { pin }), '200', 'its pin');
  t.equal(await status(t, good.url, { pin: otherPin }), '502', 'another pin');
  t.equal(
    await status(t, good.url, { pin: otherPin, verify: false }),
    '502',
    'a pin counts whatever else is said',
  );
  t.equal(await status(t, good.url, { pin: otherPin, ca: caPem }), '502');
});

t.test("upstream's name for TLS comes from the config and never from the phone", async (t) => {
  const ca = await authority();
  const names: unknown[] = [];
  const server = await startRawUpstream(
    t,
    (connection) => {
      names.push((connection.socket as TLSSocket & { servername?: unknown }).servername);
      answering(ok())(connection);
    },
    await ca.issue(['localhost']),
  );
  const wpi = await startWpi(t, {
    upstream: `https://localhost:${server.port}`,
    upstreamTls: { ca: await caFile(t, ca.cert) },
  });
  const { send, answer } = await wpi.phone();
  for (const host of ['dls.example:18443', 'evil.example']) {
    send(`POST /x HTTP/1.1\r\nHost: ${host}\r\nContent-Length: 0\r\n\r\n`);
    t.match((await answer()).head, /^HTTP\/1\.1 200 /);
  }
  t.strictSame(names, ['localhost'], 'and another Host needs no other connection');
});

t.test('an upstream that offers HTTP/2 is spoken to in HTTP/1.1', async (t) => {
  const ca = await authority();
  const seen: string[] = [];
  const server = createSecureServer(
    { ...(await ca.issue(['127.0.0.1'])), allowHTTP1: true },
    (request, response) => {
      seen.push(request.httpVersion);
      response.end('from either');
    },
  );
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  const { phone } = await startWpi(t, {
    upstream: `https://127.0.0.1:${(server.address() as AddressInfo).port}`,
    upstreamTls: { ca: await caFile(t, ca.cert) },
  });
  const { socket, send, answer } = await phone();
  send(post('<x/>'));
  t.equal((await answer()).body, 'from either');
  t.strictSame(seen, ['1.1']);
  socket.end();
});

t.test('TLS sessions with upstream are resumed, and only after the checks', async (t) => {
  const ca = await authority();
  const own = await ca.issue(['127.0.0.1']);
  for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
    for (const upstreamTls of [
      { ca: await caFile(t, ca.cert) },
      { pin: pinOf(new X509Certificate(own.cert)) },
    ]) {
      const resumed: boolean[] = [];
      const upstream = await startRawUpstream(
        t,
        (connection) => {
          resumed.push((connection.socket as TLSSocket).isSessionReused());
          answering(ok())(connection);
        },
        { ...own, maxVersion },
      );
      const { phone } = await startWpi(t, { upstream: upstream.url, upstreamTls });
      for (let i = 0; i < 2; i++) {
        const { send, answer } = await phone();
        send(post('<x/>'));
        t.match((await answer()).head, /^HTTP\/1\.1 200 /);
      }
      t.strictSame(resumed, [false, true], `${maxVersion} ${Object.keys(upstreamTls).join()}`);
    }
  }
});

t.test(
  'a service with a wrong certificate is down before any phone comes, until a whole handshake succeeds',
  async (t) => {
    const ca = await authority();
    const other = await createAuthority('Another');
    const upstream = await startRawUpstream(t, answering(ok()), await ca.issue(['127.0.0.1']));
    const file = await caFile(t, other.cert);
    const { phone, service } = await startWpi(t, {
      upstream: upstream.url,
      upstreamTls: { ca: file },
      limits: { probeMs: 20 },
    });
    const changes: boolean[] = [];
    service.onHealth(({ up }) => changes.push(up));
    const wrong = /^upstream 127\.0\.0\.1:\d+: .*(certificate|issuer)/;
    await until('the certificate was looked at', () => wrong.test(service.health().why ?? ''));
    const { send, answer } = await phone();
    send(post('<x/>'));
    t.match((await answer()).head, /^HTTP\/1\.1 502 /);
    // Several tries later it's still down, though it takes TCP connections all the time.
    const tries = new Promise<void>((resolve) => {
      let left = 5;
      upstream.onConnection(() => {
        left -= 1;
        if (left === 0) resolve();
      });
    });
    await tries;
    t.notOk(changes.includes(true));
    writeFileSync(file, ca.cert);
    const up = new Promise<void>((resolve) => service.onHealth((health) => health.up && resolve()));
    await service.reload();
    await up;
    t.equal(service.health().why, null);
  },
);

t.test('a service that takes another key while it runs is down before a phone comes', async (t) => {
  const ca = await authority();
  const own = await ca.issue(['127.0.0.1']);
  const server = createTlsServer(own).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  const { service } = await startWpi(t, {
    upstream: `https://127.0.0.1:${(server.address() as AddressInfo).port}`,
    upstreamTls: { pin: pinOf(new X509Certificate(own.cert)) },
    limits: { probeMs: 20, provenMs: 100 },
  });
  await until('it is up', () => service.health().up);
  server.setSecureContext(await ca.issue(['127.0.0.1']));
  await until('its other key was seen', () => /another key than the pin/.test(service.health().why ?? ''));
  t.notOk(service.health().up);
  server.setSecureContext(own);
  await until('it is up again', () => service.health().up);
  t.equal(service.health().why, null);
});

t.test('upstream URLs', async (t) => {
  t.strictSame(parseUpstreamUrl('https://dls.internal:18443'), {
    secure: true,
    address: { host: 'dls.internal', port: 18443 },
  });
  t.strictSame(parseUpstreamUrl('http://[::1]/'), { secure: false, address: { host: '::1', port: 80 } });
  t.strictSame(parseUpstreamUrl('https://10.0.0.1').address, { host: '10.0.0.1', port: 443 });
  for (const url of [
    '',
    'dls:18443',
    'ftp://a',
    'https://a/path',
    'https://a/?q',
    'https://u:p@a',
    'https://a/#f',
  ]) {
    t.throws(() => parseUpstreamUrl(url), { code: 'ADDRESS_INVALID' }, url);
  }
});

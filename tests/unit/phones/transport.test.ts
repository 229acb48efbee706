import t from 'tap';
import { DIALECTS, makeCertificate, type Dialect } from '../../fixtures/services/index.ts';
import type { PhoneOptions } from '../../phones/index.ts';
import { DEVICE, makePhone, startPair, startService } from './start.ts';

const COOKIES: [NonNullable<PhoneOptions['cookie']>, RegExp | undefined][] = [
  ['whole', /^JSESSIONID=[0-9a-f]{32}; Path=\/DeploymentService; Secure$/],
  ['pair', /^JSESSIONID=[0-9a-f]{32}$/],
  ['none', undefined],
];

for (const [cookie, expected] of COOKIES) {
  t.test(`with cookie ${cookie} the session cookie is echoed so`, async (t) => {
    const service = await startService(t);
    const result = await makePhone(t, service, { cookie }).start();
    t.equal(service.requests[0]?.header('cookie'), undefined, 'an initiating message has none');
    const echoed = service.requests[1]?.header('cookie');
    if (expected) t.match(echoed, expected);
    else t.equal(echoed, undefined);
    t.strictSame(
      result?.actions,
      expected ? ['ReadAllItems', 'WriteItems', 'CleanUp'] : ['ReadAllItems', 'CleanUp'],
    );
  });
}

t.test('requests look like a phone’s, each with a nonce of its own', async (t) => {
  const { service } = await startPair(t);
  const [first] = service.requests;
  t.equal(first?.raw.toString('latin1').split('\r\n')[0], 'POST /DeploymentService/LoginService HTTP/1.1');
  t.equal(first?.header('content-type'), 'text/xml');
  t.equal(first?.header('content-length'), String(first?.body.length));
  const nonces = service.requests.map(
    (request) => /nonce="([0-9A-F]{32})"/.exec(request.body.toString())?.[1],
  );
  t.equal(new Set(nonces).size, service.requests.length);
  t.notMatch(service.requests[2]?.body.toString(), 'mac-addr', 'a reply does not say who replies');
});

t.test('close: each request has a connection of its own; keep-alive: one serves all', async (t) => {
  const { service } = await startPair(t, {}, { keepAlive: false });
  t.equal(service.accepted, 3);
  t.ok(service.requests.every((request) => request.header('connection') === 'close'));
  const other = await startPair(t);
  t.equal(other.service.accepted, 1);
});

t.test('a service that closes after each answer is followed over new connections', async (t) => {
  const { service, phone } = await startPair(t, { dialect: { close: true } });
  t.equal(service.accepted, 3);
  t.strictSame(phone.counts.sessionsBy, { completed: 1 });
});

const SPOKEN: Record<string, Partial<Dialect>> = {
  ...DIALECTS,
  'HTTP/1.0': { httpVersion: '1.0' },
  'ended by 204': { end: '204' },
  'full of white space': { whitespace: true },
  'by connection': { cookie: 'none', keyBy: 'connection' },
};
for (const [name, dialect] of Object.entries(SPOKEN)) {
  t.test(`phone and service understand each other: ${name}`, async (t) => {
    const { service, phone } = await startPair(t, { dialect });
    const done = service.enqueue(DEVICE, [{ action: 'WriteItems', items: { realm: 'spoken' } }]);
    const ended = phone.next('session');
    await service.contact(DEVICE);
    t.match(await done, [{ status: 'accepted' }]);
    t.match(await ended, { outcome: 'completed' });
    t.equal(phone.items.get('realm'), 'spoken');
    t.strictSame(phone.counts.sessionsBy, { completed: 2 });
  });
}

t.test('chunked answers are a fault unless the firmware is newer', async (t) => {
  const old = await startPair(t, { dialect: { chunked: true } }, { startUpRetryMs: 0 });
  t.strictSame(old.phone.counts.sessionsBy, { chunked: 1 });
  const newer = await startPair(t, { dialect: { chunked: true } }, { acceptChunked: true });
  t.strictSame(newer.phone.counts.sessionsBy, { completed: 1 });
});

t.test('any certificate is taken, unless the phone is told to verify', async (t) => {
  const service = await startService(t);
  t.equal((await makePhone(t, service).start())?.outcome, 'completed');
  const strict = { startUpRetryMs: 0, tls: { verify: true } };
  t.match(await makePhone(t, service, strict).start(), { outcome: 'failed', failure: 'tls' });
  const ca = service.certificate ?? '';
  t.equal((await makePhone(t, service, { tls: { verify: true, ca } }).start())?.outcome, 'completed');
});

t.test('old firmware speaks TLS 1.0 with a small RSA key to a service that allows it', async (t) => {
  const ciphers = 'DEFAULT@SECLEVEL=0';
  const { cert, key } = makeCertificate({ kind: 'rsa', rsaBits: 1024, hash: 'sha1' });
  const service = await startService(t, { tls: { cert, key, ciphers, minVersion: 'TLSv1' } });
  const tls = { ciphers, minVersion: 'TLSv1', maxVersion: 'TLSv1' } as const;
  t.equal((await makePhone(t, service, { tls }).start())?.outcome, 'completed');
  const modern = await startService(t);
  t.match(await makePhone(t, modern, { tls, startUpRetryMs: 0 }).start(), { failure: 'tls' });
});

t.test('a source address of its own is used throughout', async (t) => {
  const service = await startService(t);
  const phone = makePhone(t, service, { localAddress: '127.9.8.7' });
  await phone.start();
  t.equal(service.device(DEVICE)?.sourceIp, '127.9.8.7');
  t.match(phone.contactMeUri, /^http:\/\/127\.9\.8\.7:/);
});

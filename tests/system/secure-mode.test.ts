import { randomBytes, X509Certificate } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { connect } from 'node:tls';
import t from 'tap';
import { createAuthority } from '../fixtures/certificates.ts';
import { startGate } from '../fixtures/gate.ts';
import { foundInMemory, whyNoMemory } from '../fixtures/process-memory.ts';
import { phoneAt } from '../fixtures/phone-at.ts';
import { createPlainService } from '../fixtures/services/index.ts';
import type { RawAnswer } from '../fixtures/services/index.ts';
import { createPhone } from '../phones/index.ts';
import { untilGood } from '../fixtures/until.ts';

const DEVICE = '00:1A:E8:72:00:01';
const NAME = 'dls.internal';
const CLIENT = 'phone 72:00:01';

/** The certificate that a door shows. */
function shownAt(address: string): Promise<string> {
  const [host = '', port = ''] = address.split(':');
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port: Number(port), rejectUnauthorized: false });
    socket.once('error', reject);
    // A service that demands a client certificate ends the connection later; it has shown its own by then.
    socket.once('secureConnect', () => {
      const shown = socket.getPeerX509Certificate();
      socket.destroy();
      if (shown === undefined) reject(new Error(`${address} showed no certificate`));
      else resolve(shown.fingerprint256);
    });
  });
}

const toItem = (pem: string): string => Buffer.from(pem).toString('base64');
const fromItem = (value: string | undefined): string => Buffer.from(value ?? '', 'base64').toString();

const mentions = (body: Buffer, devices: Set<string>): boolean =>
  [...devices].some((device) => body.includes(`<Item name="mac-addr">${device}</Item>`));

/** How a service turns a phone away. */
function refusal(body: Buffer): RawAnswer {
  const nonce = /nonce="([^"]*)"/.exec(body.toString())?.[1] ?? '';
  const answer = Buffer.from(
    `<DLSMessage xmlns="http://www.siemens.com/DLS"><Message nonce="${nonce}"><Action>CleanUp</Action><ItemList>` +
      '<Item name="cleanup-reason">in secure mode</Item></ItemList></Message></DLSMessage>',
  );
  const head = `HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: ${answer.length}\r\n\r\n`;
  return { head: Buffer.from(head), body: answer, close: false };
}

/** Every file below a directory. */
function filesIn(directory: string): string[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => readFileSync(join(entry.parentPath, entry.name), 'latin1'));
}

t.test('a phone in secure mode and its service, through a gate that knows neither', async (t) => {
  const [services, phones] = await Promise.all([createAuthority('Services'), createAuthority('Phones')]);
  const own = await services.issue([NAME]);
  const client = await phones.issue([], { commonName: CLIENT });
  const password = randomBytes(16).toString('hex');
  const secret = randomBytes(16).toString('hex');
  const service = await createPlainService({
    tls: { ...own, ca: phones.cert, requestCert: true, rejectUnauthorized: true },
    startUpItems: { 'sip-pwd': secret },
  });
  t.teardown(() => service.close());
  /** Whom the service on the default port has moved to the secure one. */
  const moved = new Set<string>();
  const gate = await startGate(t, {
    service: { intercept: async ({ body }) => (mentions(body, moved) ? refusal(body) : undefined) },
    proxy: {
      doors: [
        { name: 'wpi', service: 'wpi', listen: '127.0.0.1:0', tls: 'relay' },
        { name: 'wpi-secure', service: 'wpi-secure', listen: '127.0.0.1:0', tls: 'relay' },
      ],
    },
    services: [{ name: 'wpi-secure', kind: 'tcp', upstream: `127.0.0.1:${service.port}` }],
  });
  const phone = phoneAt(t, gate, DEVICE, {
    forgetPollOnRestart: false,
    items: { 'user-pwd': password },
    secureTls: (items) => ({
      cert: fromItem(items.get('dls-client-certificate')),
      key: fromItem(items.get('dls-client-certificate')),
      ca: fromItem(items.get('dls-server-ca', '0')),
      verify: true,
      servername: NAME,
    }),
  });

  await t.test('the service moves the phone to its secure port, and both prove who they are', async (t) => {
    t.equal((await phone.start())?.outcome, 'completed');
    const order = gate.service.enqueue(DEVICE, [
      {
        action: 'WriteItems',
        items: [
          { name: 'dls-client-certificate', value: toItem(`${client.cert}\n${client.key}`) },
          { name: 'dls-server-ca', index: '0', value: toItem(services.cert) },
          { name: 'dls-secure-port', value: gate.doors['wpi-secure']?.split(':')[1] ?? '' },
          { name: 'goto-secure-mode', value: 'nopin' },
        ],
      },
    ]);
    const startUp = phone.next('session', ({ reason }) => reason === 'start-up');
    await gate.call('POST', `/v1/devices/${DEVICE}/messages?wait=proxy`, {});
    await phone.pollNow();
    t.equal((await order)[0]?.status, 'accepted');
    moved.add(DEVICE);
    const result = await startUp;
    t.equal(result.outcome, 'completed', result.message ?? 'start-up on the secure port');
    t.equal(service.device(DEVICE)?.startUps, 1);
    t.ok(service.requests.length >= 3, 'all of the session came that way');
    t.ok(
      service.requests.every(({ clientName }) => clientName === CLIENT),
      'and the service saw whose certificate it was',
    );
    t.equal(service.device(DEVICE)?.items.get('user-pwd'), password);
    t.equal(phone.items.get('sip-pwd'), secret);
    await gate.polls(DEVICE, 200);
  });

  await t.test('on the default port the service refuses it, and that clears nothing', async (t) => {
    const path = `/v1/devices/${DEVICE}/messages`;
    await gate.call('POST', `${path}?wait=proxy`, {});
    // Somebody in default mode who says that he is the phone; the phone itself does not come here any more.
    const impostor = createPhone({ deviceId: DEVICE, service: gate.phoneService, contactListen: false });
    const session = await impostor.openSession('solicited');
    t.match(session, { actions: ['CleanUp'], cleanupReason: 'in secure mode' });
    await impostor.close();
    await untilGood(
      'the session was noted',
      async () => (await gate.call('GET', `/v1/devices/${DEVICE}`)).body['last_session'],
      (last) => (last as { outcome: string } | null)?.outcome === 'refused',
    );
    t.equal(await gate.poll(DEVICE), 202, 'the work still waits for the phone');
    const atDefault = gate.service.requests.length;
    t.equal((await phone.restart()).outcome, 'completed');
    t.equal(gate.service.requests.length, atDefault, 'even after a restart');
    t.equal(service.device(DEVICE)?.startUps, 2, 'it starts up at the secure port');
    await gate.call('DELETE', path);
    await gate.polls(DEVICE, 200);
  });

  await t.test('a phone is not taken without a certificate of the right authority', async (t) => {
    const before = service.requests.length;
    const foreign = await (await createAuthority('Strangers')).issue([], { commonName: CLIENT });
    for (const tls of [{}, foreign]) {
      const stranger = createPhone({
        deviceId: '00:1A:E8:72:00:02',
        service: `https://${gate.doors['wpi-secure']}`,
        contactListen: false,
        tls,
      });
      t.equal((await stranger.openSession('start-up')).outcome, 'failed');
      await stranger.close();
    }
    t.equal(service.requests.length, before);
  });

  await t.test('the proxy shows certificates whose keys it does not have', async (t) => {
    const sealed = readFileSync(join(gate.dir, 'shown.pem'));
    t.equal(await shownAt(gate.doors['wpi-secure'] ?? ''), new X509Certificate(own.cert).fingerprint256);
    t.equal(await shownAt(gate.doors['wpi'] ?? ''), new X509Certificate(sealed).fingerprint256);
    const held = filesIn(join(gate.dir, 'proxy'));
    const keyOf = (pem: string): string => pem.split('\n').slice(1, -2).join('\n').trim();
    for (const key of [own.key, client.key, readFileSync(join(gate.dir, 'shown.key'), 'latin1')]) {
      t.ok(keyOf(key).length > 100);
      t.notOk(held.some((text) => text.includes(keyOf(key))));
    }
  });

  await t.test('what went through was never readable in the DMZ', { skip: whyNoMemory() }, async (t) => {
    const word = `x-${randomBytes(8).toString('hex')}`;
    await gate.call('POST', `/v1/devices/${word}/messages?wait=proxy`, {});
    await gate.polls(word, 202);
    const found = foundInMemory(gate.proxy.pid, [word, password, secret]);
    t.strictSame(found, [word], 'of all that passed, the proxy has seen only whom to call');
  });

  await t.test('its job is done unseen, so the mark stays until the API clears it', async (t) => {
    const done = service.enqueue(DEVICE, [{ action: 'ReadItems', items: { e164: '' } }]);
    const path = `/v1/devices/${DEVICE}/messages`;
    await gate.call('POST', `${path}?wait=proxy`, {});
    const session = phone.next('session');
    t.equal((await phone.pollNow()).status, 202);
    t.equal((await session).outcome, 'completed');
    t.equal((await done)[0]?.status, 'accepted');
    t.equal(await gate.poll(DEVICE), 202);
    await gate.call('DELETE', path);
    await gate.polls(DEVICE, 200);
  });
});

t.test(
  'where all sessions pass unread, work is offered until it is cleared or expires, and why says so',
  async (t) => {
    const service = await createPlainService();
    t.teardown(() => service.close());
    const gate = await startGate(t, {
      relay: { services: [{ name: 'wpi', kind: 'tcp', upstream: `127.0.0.1:${service.port}` }] },
    });
    const phone = phoneAt(t, gate, DEVICE, {
      forgetPollOnRestart: false,
    });
    t.equal((await phone.start())?.outcome, 'completed');
    const path = `/v1/devices/${DEVICE}/messages`;
    // Polls are told to the relay within a second.
    const whyIs = (verdict: string): Promise<Record<string, unknown>> =>
      untilGood(
        `why says ${verdict}`,
        async () => (await gate.call('GET', `/v1/devices/${DEVICE}/why`)).body,
        (body) => body['verdict'] === verdict,
      );

    await gate.call('POST', `${path}?wait=proxy`, {});
    const session = phone.next('session');
    t.equal((await phone.pollNow()).status, 202);
    t.match(await session, { reason: 'solicited', outcome: 'completed' });
    t.equal(await gate.poll(DEVICE), 202, 'nobody saw that it came');
    const why = await whyIs('blind');
    t.match(
      why['sentence'],
      /told 202, .* pass unread, .* ten minutes from the push on, then for ten minutes in each hour/,
    );
    await gate.call('DELETE', path);
    await gate.polls(DEVICE, 200);

    const pushed = performance.now();
    const { body } = await gate.call('POST', `${path}?wait=proxy`, { ttl_s: 3 });
    const status = await gate.poll(DEVICE);
    if (performance.now() - pushed < 3_000) t.equal(status, 202);
    await gate.polls(DEVICE, 200);
    await whyIs('nothing-pending');
    t.match((await gate.call('GET', `/v1/messages/${String(body['id'])}`)).body, { state: 'expired' });
    const metrics = await (await fetch(`${gate.api}/metrics`)).text();
    t.match(metrics, /sallyport_warnings_total\{what="not-coming"\} 0\n/, 'who cannot be seen is not missed');
  },
);

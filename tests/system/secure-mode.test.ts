import { randomBytes, X509Certificate } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { connect } from 'node:tls';
import t from 'tap';
import { createAuthority } from '../fixtures/certificates.ts';
import { startGate } from '../fixtures/gate.ts';
import { foundInMemory, whyNoMemory } from '../fixtures/process-memory.ts';
import { createPlainService } from '../fixtures/services/index.ts';
import { createPhone } from '../phones/index.ts';

t.setTimeout(60_000);

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
  const gate = await startGate(t, {
    proxy: {
      doors: [
        { name: 'wpi', service: 'wpi', listen: '127.0.0.1:0', tls: 'relay' },
        { name: 'wpi-secure', service: 'wpi-secure', listen: '127.0.0.1:0', tls: 'relay' },
      ],
    },
    services: [{ name: 'wpi-secure', kind: 'tcp', upstream: `127.0.0.1:${service.port}` }],
  });
  const phone = createPhone({
    deviceId: DEVICE,
    service: gate.phoneService,
    pollUrl: gate.pollUrl,
    pollIntervalMs: 0,
    forgetPollOnRestart: false,
    contactListen: false,
    items: { 'user-pwd': password },
    secureTls: { ...client, ca: services.cert, verify: true, servername: NAME },
  });
  t.teardown(() => phone.close());

  await t.test('the service moves the phone to its secure port, and both prove who they are', async (t) => {
    t.equal((await phone.start())?.outcome, 'completed');
    const moved = gate.service.enqueue(DEVICE, [
      {
        action: 'WriteItems',
        items: {
          'dls-client-certificate': 'base64 of a bundle',
          'dls-server-ca': 'base64 of a certificate',
          'dls-secure-port': gate.doors['wpi-secure']?.split(':')[1] ?? '',
          'goto-secure-mode': 'nopin',
        },
      },
    ]);
    const startUp = phone.next('session', ({ reason }) => reason === 'start-up');
    await gate.call('POST', `/v1/devices/${DEVICE}/messages?wait=proxy`, {});
    await phone.pollNow();
    t.equal((await moved)[0]?.status, 'accepted');
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

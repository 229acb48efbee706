import t from 'tap';
import { DEVICE, makePhone, startPair, startService } from './start.ts';

t.test('a start-up registers the phone, reads everything and writes', async (t) => {
  const service = await startService(t, { startUpItems: { realm: 'taught' } });
  const phone = makePhone(t, service, { items: { e164: '4711' } });
  const result = await phone.start();
  t.match(result, { outcome: 'completed', endedBy: 'clean-up', requests: 3, connections: 1 });
  t.strictSame(result?.actions, ['ReadAllItems', 'WriteItems', 'CleanUp']);
  t.equal(phone.items.get('realm'), 'taught');
  const device = service.device(DEVICE);
  t.equal(device?.contactMeUri, phone.contactMeUri);
  t.equal(device?.items.get('e164'), '4711');
  t.equal(device?.items.get('display-text'), 'Töne & <Anrufe> "intern"');
  t.equal(device?.results[0]?.items.length, phone.items.all().length, 'every item came');
});

t.test('queued actions are done in order when the phone is contacted', async (t) => {
  const { service, phone } = await startPair(t);
  const done = service.enqueue(DEVICE, [
    { action: 'WriteItems', items: [{ name: 'key-label-unicode', index: '3', value: 'Küche' }] },
    { action: 'ReadItems', items: [{ name: 'key-label-unicode', index: '3', value: '' }] },
    { action: 'ReadItems', items: { 'codec-priority': '', nosuch: '' } },
    { action: 'MakeCoffee' },
    { action: 'GetNextFragment' },
  ]);
  const ended = phone.next('session');
  t.equal((await service.contact(DEVICE)).status, 204);
  const [write, read, several, unknown, fragment] = await done;
  t.match(write, { status: 'accepted', items: [] });
  t.strictSame(read?.items, [{ name: 'key-label-unicode', index: '3', value: 'Küche' }]);
  t.equal(several?.items.length, 41, 'an item without index brings all of them');
  t.match(several?.items.at(-1), { name: 'nosuch', status: 'failed' });
  t.equal(unknown?.status, 'failed', 'an unknown action fails');
  t.equal(fragment?.status, 'failed', 'there is no fragment to get');
  t.match(await ended, { reason: 'solicited', outcome: 'completed', busy: false });
});

t.test('read-only and unknown items are refused one by one', async (t) => {
  const { service, phone } = await startPair(t, {}, { unknownItems: ['wallpaper'] });
  const done = service.enqueue(DEVICE, [
    { action: 'WriteItems', items: { 'mac-addr': 'x', wallpaper: 'x', 'ntp-addr': '192.0.2.99' } },
  ]);
  await service.contact(DEVICE);
  t.match((await done)[0], {
    status: 'accepted',
    items: [
      { name: 'mac-addr', status: 'read only' },
      { name: 'wallpaper', status: 'unknown item' },
    ],
  });
  t.equal(phone.items.get('ntp-addr'), '192.0.2.99');
  t.equal(phone.items.get('mac-addr'), DEVICE);
});

t.test('Restart brings another start-up and forgets the learnt poll settings', async (t) => {
  const { service, phone } = await startPair(t, {}, { intervalItem: 'poll-seconds' });
  const learned = phone.next('learned');
  const taught = service.enqueue(DEVICE, [
    { action: 'WriteItems', items: { 'dcmp-url': 'http://127.0.0.1:9/dcmp/', 'poll-seconds': '120' } },
  ]);
  await service.contact(DEVICE);
  await taught;
  t.match(await learned, { pollUrl: 'http://127.0.0.1:9/dcmp/', pollIntervalMs: 120_000 });
  const startUp = phone.next('session', (event) => event.reason === 'start-up');
  void service.enqueue(DEVICE, [{ action: 'Restart' }]);
  await service.contact(DEVICE);
  t.equal((await startUp).outcome, 'completed');
  t.equal(service.device(DEVICE)?.startUps, 2);
  t.equal(phone.pollUrl, undefined);
});

t.test('a factory reset needs the vendor’s password and drops what was written', async (t) => {
  const { service, phone } = await startPair(t, { readAllOnStartUp: false, startUpItems: {} });
  const reset = (password: string): Promise<unknown> => {
    const items = { 'restart-type': 'FactoryReset', 'restart-password': password };
    return service.enqueue(DEVICE, [
      { action: 'WriteItems', items: { realm: 'mine' } },
      { action: 'Restart', items },
    ]);
  };
  const refused = reset('000000');
  await service.contact(DEVICE);
  t.match(await refused, [{ status: 'accepted' }, { status: 'failed' }]);
  t.equal(phone.items.get('realm'), 'mine');
  const startUp = phone.next('session', (event) => event.reason === 'start-up');
  const done = reset('124816');
  await service.contact(DEVICE);
  t.match(await done, [{ status: 'accepted' }, { status: 'accepted' }]);
  await startUp;
  t.equal(phone.items.get('realm'), 'phones');
  t.equal(phone.items.get('mac-addr'), DEVICE);
});

t.test('SoftwareDeployment shows as a start-up with the new version', async (t) => {
  const { service, phone } = await startPair(t);
  const startUp = phone.next('session', (event) => event.reason === 'start-up');
  void service.enqueue(DEVICE, [
    { action: 'SoftwareDeployment', items: { 'file-sw-version': 'V3 R5.0.0', 'file-type': 'APP' } },
  ]);
  await service.contact(DEVICE);
  await startUp;
  t.equal(service.device(DEVICE)?.items.get('software-version'), 'V3 R5.0.0');
});

t.test('local changes are reported with the items attached, other sessions as asked', async (t) => {
  const { service, phone } = await startPair(t);
  t.match(await phone.changeLocally({ 'time-zone-offset': '2' }), {
    reason: 'local-changes',
    actions: ['CleanUp'],
  });
  t.equal(service.device(DEVICE)?.items.get('time-zone-offset'), '2');
  t.match(await phone.openSession('inventory-changes', { 'key-module': '1' }), { outcome: 'completed' });
  t.equal(service.device(DEVICE)?.items.get('key-module'), '1');
});

t.test('goto-secure-mode moves the phone to the secure port with its certificate', async (t) => {
  const { makeCertificate } = await import('../../fixtures/services/index.ts');
  const ca = makeCertificate({ ca: true, name: 'phones' });
  const own = ca.issue({ name: DEVICE });
  const server = makeCertificate();
  const secure = await startService(t, {
    tls: { cert: server.cert, key: server.key, ca: ca.cert, requestCert: true, rejectUnauthorized: true },
  });
  const { service, phone } = await startPair(t, {}, { secureTls: { cert: own.cert, key: own.key } });
  const startUp = phone.next('session', (event) => event.reason === 'start-up');
  void service.enqueue(DEVICE, [
    {
      action: 'WriteItems',
      items: { 'goto-secure-mode': 'nopin', 'dls-secure-port': String(secure.port) },
    },
  ]);
  await service.contact(DEVICE);
  t.equal((await startUp).outcome, 'completed');
  t.equal(secure.device(DEVICE)?.startUps, 1);
});

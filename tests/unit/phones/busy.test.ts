import t from 'tap';
import { DEVICE, startPair } from './start.ts';

const WRITE = { action: 'WriteItems', items: { realm: 'later' } };

t.test(
  'in a call WriteItems is busy, and send-solicited brings one session when the call ends',
  async (t) => {
    const { service, phone } = await startPair(t);
    phone.setInCall(true);
    const done = service.enqueue(DEVICE, [WRITE]);
    for (let round = 0; round < 3; round += 1) {
      const busy = phone.next('session');
      await service.contact(DEVICE);
      t.match(await busy, { outcome: 'completed', busy: true, sendSolicited: true, replies: ['busy'] });
    }
    const again = phone.next('session');
    phone.setInCall(false);
    t.match(await again, { reason: 'solicited', busy: false });
    t.match(await done, [{ status: 'accepted' }]);
    t.equal(phone.counts.sessions, 5, 'start-up, three busy ones, and one for all three requests');
    t.equal(phone.items.get('realm'), 'later');
  },
);

t.test('without send-solicited nothing happens when the call ends', async (t) => {
  const { service, phone } = await startPair(t, { sendSolicitedOnBusy: false });
  phone.setInCall(true);
  const done = service.enqueue(DEVICE, [WRITE]);
  const busy = phone.next('session');
  await service.contact(DEVICE);
  t.match(await busy, { busy: true, sendSolicited: false });
  await phone.idle();
  phone.setInCall(false);
  t.equal(phone.inSession, false);
  await service.contact(DEVICE);
  t.match(await done, [{ status: 'accepted' }], 'the service had to trigger it again');
});

t.test('older firmware ignores send-solicited', async (t) => {
  const { service, phone } = await startPair(t, {}, { supportsSendSolicited: false });
  phone.setInCall(true);
  void service.enqueue(DEVICE, [WRITE]);
  const busy = phone.next('session');
  await service.contact(DEVICE);
  await busy;
  await phone.idle();
  phone.setInCall(false);
  t.equal(phone.inSession, false);
});

t.test('while jobs remain the service asks for session after session', async (t) => {
  const { service, phone } = await startPair(t, { actionsPerSession: 1 });
  const done = service.enqueue(DEVICE, [WRITE, { action: 'ReadItems', items: { realm: '' } }, WRITE]);
  await service.contact(DEVICE);
  t.equal((await done).length, 3);
  await phone.next('session', (event) => !event.sendSolicited);
  t.equal(service.device(DEVICE)?.sessions, 4, 'start-up and one per action');
});

t.test('reading works during a call; files wait only when they are not urgent', async (t) => {
  const { service, phone } = await startPair(t, {}, { downloads: 'pretend-ok' });
  phone.setInCall(true);
  const file = { 'file-server': '192.0.2.1', 'file-name': 'logo.bmp', 'file-type': 'LOGO' };
  const done = service.enqueue(DEVICE, [
    { action: 'ReadItems', items: { realm: '' } },
    { action: 'FileDeployment', items: file },
    { action: 'FileDeployment', items: { ...file, 'file-priority': 'normal' } },
  ]);
  const status = phone.next('session', (event) => event.reason === 'status');
  const busy = service.next('session-end', (event) => event.outcome === 'busy');
  await service.contact(DEVICE);
  await busy;
  await status;
  phone.setInCall(false);
  t.match(await done, [{ status: 'accepted' }, { status: 'accepted' }, { status: 'accepted' }]);
});

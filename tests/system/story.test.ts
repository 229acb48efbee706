import t from 'tap';
import { startGate } from '../fixtures/gate.ts';
import { createPhone } from '../phones/index.ts';

const DEVICE = '00:1a:e8:00:00:01';

for (const door of ['sealed', 'inspected'] as const) {
  t.test(`a phone behind a ${door} door is called, provisioned and left alone again`, async (t) => {
    const gate = await startGate(t, { door });
    const phone = createPhone({
      deviceId: DEVICE,
      service: gate.phoneService,
      pollUrl: gate.pollUrl,
      pollIntervalMs: 0,
    });
    t.teardown(() => phone.close());
    const startUp = await phone.start();
    t.equal(startUp?.outcome, 'completed', 'the start-up session reaches the service through the gate');
    t.equal(await gate.poll(DEVICE), 200, 'nothing is pending yet');

    const done = gate.service.enqueue(DEVICE, [{ action: 'WriteItems', items: { realm: 'gate' } }]);
    const pushed = await gate.call('POST', `/v1/devices/${DEVICE}/messages?wait=proxy`, {});
    t.equal(pushed.status, 201, 'the push is accepted');
    const session = phone.next('session');
    const poll = await phone.pollNow();
    t.equal(poll.status, 202, 'the poll says: call home');
    t.equal((await session).outcome, 'completed');
    t.equal((await done)[0]?.status, 'accepted', 'the service wrote its items');
    await gate.polls(DEVICE, 200);
    const message = await gate.call('GET', `/v1/messages/${String(pushed.body['id'])}`);
    t.equal(message.body['state'], 'cleared', 'the message ended as cleared');
  });
}

t.test('a service that knows nothing of the gate triggers a phone through it', async (t) => {
  const gate = await startGate(t);
  const phone = createPhone({
    deviceId: DEVICE,
    service: gate.phoneService,
    pollUrl: gate.pollUrl,
    pollIntervalMs: 0,
  });
  t.teardown(() => phone.close());
  await phone.start();
  const done = gate.service.enqueue(DEVICE, [{ action: 'ReadItems', items: { e164: '' } }]);
  const answer = await gate.service.contact(DEVICE);
  t.equal(answer.status, 204, 'the contact-me is taken as a phone would');
  await gate.polls(DEVICE, 202);
  await phone.pollNow();
  t.equal((await done)[0]?.status, 'accepted');
  await gate.polls(DEVICE, 200);
});

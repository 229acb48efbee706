import t from 'tap';
import { startGate } from '../fixtures/gate.ts';
import { phoneOf } from '../fixtures/gate-phone.ts';
import type { LogLine } from '../fixtures/program.ts';

const DEVICE = '00:1a:e8:00:00:01';

for (const door of ['sealed', 'inspected'] as const) {
  t.test(`a phone behind a ${door} door is called, provisioned and left alone again`, async (t) => {
    const gate = await startGate(t, { door });
    const phone = phoneOf(t, gate, DEVICE);
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

    const { id, generation } = pushed.body;
    const told = { message: id, generation };
    const isIt = (msg: string) => (line: LogLine) => line.msg === msg && line['message'] === id;
    t.match(await gate.relay.line(isIt('message held')), { ...told, device: DEVICE });
    t.match(await gate.relay.line(isIt('message ended')), { ...told, device: DEVICE });
    t.match(await gate.proxy.line(isIt('message held')), told);
    t.match(await gate.proxy.line(isIt('message ended')), told);
    t.notMatch(JSON.stringify(gate.proxy.lines), DEVICE, 'the proxy’s log names no device');
    const began = await gate.relay.line(
      (line) => line['session'] !== undefined && line['generation'] === generation,
    );
    t.match(began, { msg: 'a session began', reason: 'solicited', device: DEVICE });
    t.match(
      await gate.relay.line(({ msg, session }) => msg === 'a session ended' && session === began['session']),
      { outcome: 'completed', generation },
      'by device and generation a message leads to its session',
    );
  });
}

t.test('a service that knows nothing of the gate triggers a phone through it', async (t) => {
  const gate = await startGate(t);
  const phone = phoneOf(t, gate, DEVICE);
  await phone.start();
  const done = gate.service.enqueue(DEVICE, [{ action: 'ReadItems', items: { e164: '' } }]);
  const answer = await gate.service.contact(DEVICE);
  t.equal(answer.status, 204, 'the contact-me is taken as a phone would');
  await gate.polls(DEVICE, 202);
  await phone.pollNow();
  t.equal((await done)[0]?.status, 'accepted');
  await gate.polls(DEVICE, 200);
});

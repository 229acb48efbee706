import t from 'tap';
import { startGate } from '../fixtures/gate.ts';
import { phoneOf } from '../fixtures/gate-phone.ts';
import { PENDING, slowGate, startLoad } from '../fixtures/load.ts';

for (const [each, keepAlive] of Object.entries({ session: true, message: false })) {
  t.test(
    `a relay is restarted under phones with a connection for each ${each}: no poll fails, and no session`,
    async (t) => {
      const gate = await slowGate(t);
      const load = startLoad(t, gate, keepAlive);
      await load.goOn(6);
      const former = gate.relay;
      const began = performance.now();
      former.signal('SIGTERM');
      t.equal(await former.exited, 0);
      t.comment(`ended within ${Math.round(performance.now() - began)} ms`);
      t.equal(await gate.poll(PENDING), 200, 'polls are answered meanwhile');
      await gate.startRelay();
      await gate.polls(PENDING, 202);
      await load.goOn(6);
      await load.stop();
      t.same(load.failures, [], `of ${load.polls} polls and ${load.sessions} sessions`);
    },
  );
}

t.test('a proxy that ends answers polls 200 until its last session is over', async (t) => {
  const released = Promise.withResolvers<void>();
  const arrived = Promise.withResolvers<void>();
  const gate = await startGate(t, {
    service: {
      async intercept() {
        arrived.resolve();
        await released.promise;
        return undefined;
      },
    },
  });
  const device = '00:1A:E8:75:01:01';
  const phone = phoneOf(t, gate, device);
  await gate.call('POST', `/v1/devices/${PENDING}/messages?wait=proxy`, {});
  await gate.polls(PENDING, 202);
  const session = phone.openSession('start-up');
  await arrived.promise;
  gate.proxy.signal('SIGTERM');
  await gate.proxy.line(({ msg }) => msg === 'ending');
  await gate.polls(PENDING, 200);
  for (let n = 0; n < 20; n++) t.equal(await gate.poll(PENDING), 200);
  const { status } = await fetch(`${gate.ops}/readyz`);
  t.equal(status, 503);
  released.resolve();
  t.equal((await session).outcome, 'completed');
  t.equal(await gate.proxy.exited, 0);
});

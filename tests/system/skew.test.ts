import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { startGate } from '../fixtures/gate.ts';
import { phoneOf } from '../fixtures/gate-phone.ts';
import { unpackPrevious } from '../fixtures/previous/unpack.ts';

const DEVICE = '00:1a:e8:00:00:01';

const previous = unpackPrevious(t);
t.comment(`previous: version ${previous.version}, commit ${previous.commit}`);

const pairings = {
  'the previous proxy and the present relay': { proxy: previous.root },
  'the present proxy and the previous relay': { relay: previous.root },
};

for (const [pairing, roots] of Object.entries(pairings)) {
  t.test(`${pairing} tell the whole story, and again after each was restarted`, async (t) => {
    const gate = await startGate(t, { roots });
    const [[which, root] = ['', previous.root]] = Object.entries(roots);
    const { pid } = which === 'proxy' ? gate.proxy : gate.relay;
    t.match(
      readFileSync(`/proc/${pid}/cmdline`, 'utf8'),
      fileURLToPath(root),
      'it is the previous one that runs',
    );
    const phone = phoneOf(t, gate, DEVICE);
    t.equal((await phone.start())?.outcome, 'completed');

    const push = async (): Promise<string> => {
      const pushed = await gate.call('POST', `/v1/devices/${DEVICE}/messages?wait=proxy`, {});
      t.equal(pushed.status, 201);
      return String(pushed.body['id']);
    };
    const comeWhenCalled = async (id: string): Promise<void> => {
      const done = gate.service.enqueue(DEVICE, [{ action: 'WriteItems', items: { realm: 'gate' } }]);
      await gate.polls(DEVICE, 202);
      const session = phone.next('session');
      t.equal((await phone.pollNow()).status, 202);
      t.equal((await session).outcome, 'completed');
      t.equal((await done)[0]?.status, 'accepted');
      await gate.polls(DEVICE, 200);
      t.equal((await gate.call('GET', `/v1/messages/${id}`)).body['state'], 'cleared');
    };

    await comeWhenCalled(await push());
    const kept = await push();
    t.equal(await gate.proxy.stop(), 0);
    await gate.startProxy();
    await gate.polls(DEVICE, 202);
    t.equal(await gate.relay.stop(), 0);
    await gate.startRelay();
    await comeWhenCalled(kept);
  });
}

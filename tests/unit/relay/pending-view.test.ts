import assert from 'node:assert/strict';
import fc from 'fast-check';
import t from 'tap';
import { createModelOutbox } from '../../../relay-client/outbox/model.ts';
import type { Outbox } from '../../../relay-client/outbox/outbox.ts';
import { createPendingView } from '../../../relay-client/pending-view.ts';
import type { DeviceId } from '../../../shared/device-id.ts';
import { silentLog } from '../../../shared/log.ts';
import { createFakeClock } from '../../fixtures/fake-clock.ts';
import { seededRandom } from '../../fixtures/seeded-random.ts';

const ONE = '00:1a:e8:00:00:01' as DeviceId;
const TWO = '00:1a:e8:00:00:02' as DeviceId;
const DAY = 86_400_000;

function setUp() {
  const clock = createFakeClock();
  const outbox = createModelOutbox({ clock, random: seededRandom(1) });
  return { clock, outbox };
}

const contactMe = (outbox: Outbox, device: DeviceId, delay = 0) =>
  outbox.push({ device, kind: 'contact-me', ttl: DAY, delay });
const dls = (outbox: Outbox, device: DeviceId) =>
  outbox.push({ device, kind: 'dls', ttl: DAY, delay: 0, actions: '[]' });

/** Lets the view read what was committed. */
const settle = () => new Promise((resolve) => setImmediate(resolve));

t.test('the view begins with what is held and follows each commit', async (t) => {
  const { clock, outbox } = setUp();
  await contactMe(outbox, ONE);
  await contactMe(outbox, ONE);
  const view = createPendingView({ outbox, clock, log: silentLog });
  await view.ready;
  t.equal(view.generation(ONE), 2);
  t.equal(view.generation(TWO), 0);
  t.equal(view.count(), 1);
  await contactMe(outbox, TWO);
  await settle();
  t.equal(view.generation(TWO), 1);
  t.equal(view.count(), 2);
  await outbox.clear(ONE, { state: 'cleared', by: 'test' });
  await settle();
  t.equal(view.generation(ONE), 0);
  t.equal(view.count(), 1);
  view.close();
  await contactMe(outbox, ONE);
  await settle();
  t.equal(view.generation(ONE), 0, 'closed is closed');
});

t.test('each device is told of for which something is held anew', async (t) => {
  const { clock, outbox } = setUp();
  const told: DeviceId[] = [];
  const view = createPendingView({ outbox, clock, log: silentLog, onHeld: (device) => told.push(device) });
  await view.ready;
  await contactMe(outbox, ONE);
  await outbox.clear(ONE, { state: 'cleared', by: 'test' });
  await dls(outbox, TWO);
  await settle();
  t.same(told, [ONE, TWO]);
  view.close();
});

t.test('only a contact-me whose time has come is due', async (t) => {
  const { clock, outbox } = setUp();
  const view = createPendingView({ outbox, clock, log: silentLog });
  await contactMe(outbox, ONE, 60_000);
  await dls(outbox, ONE);
  await settle();
  t.equal(view.generation(ONE), 2);
  t.equal(view.due(ONE), 0, 'neither what is for later nor what is of another kind');
  clock.advance(60_000);
  t.equal(view.due(ONE), 1);
  t.equal(view.generation(ONE), 2);
});

t.test('where the changes are no longer kept, a snapshot replaces the view', async (t) => {
  const { clock, outbox } = setUp();
  await contactMe(outbox, ONE);
  const view = createPendingView({ outbox: { ...outbox, changes: async () => null }, clock, log: silentLog });
  await view.ready;
  await contactMe(outbox, TWO);
  await outbox.clear(ONE, { state: 'cleared', by: 'test' });
  await settle();
  t.equal(view.generation(ONE), 0);
  t.equal(view.generation(TWO), 1);
});

t.test('a failed reading is tried again, and meanwhile the view stays as it was', async (t) => {
  const { clock, outbox } = setUp();
  let broken = true;
  const changes: Outbox['changes'] = (after, limit) =>
    broken ? Promise.reject(new Error('no disk')) : outbox.changes(after, limit);
  const view = createPendingView({ outbox: { ...outbox, changes }, clock, log: silentLog });
  await view.ready;
  await contactMe(outbox, ONE);
  await settle();
  t.equal(view.generation(ONE), 0);
  broken = false;
  clock.advance(1_000);
  await settle();
  t.equal(view.generation(ONE), 1);
});

t.test('after any history the view holds what the outbox holds', async (t) => {
  const deed = fc.record({
    device: fc.constantFrom(ONE, TWO),
    what: fc.constantFrom('contact-me', 'dls', 'dls', 'clear', 'clear up to', 'end one', 'wait'),
    pick: fc.nat(5),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(deed, { maxLength: 30, size: 'max' }), fc.nat(30), async (deeds, start) => {
      const { clock, outbox } = setUp();
      let view: ReturnType<typeof createPendingView> | null = null;
      for (const [n, { device, what, pick }] of deeds.entries()) {
        if (n === start) view = createPendingView({ outbox, clock, log: silentLog });
        if (what === 'contact-me') await contactMe(outbox, device, pick * 1000);
        else if (what === 'dls') await dls(outbox, device);
        else if (what === 'clear') await outbox.clear(device, { state: 'cleared', by: 'x' });
        else if (what === 'clear up to')
          await outbox.clear(device, { state: 'cleared', by: 'x', generation: pick });
        else if (what === 'wait') {
          await settle();
          clock.advance(pick * 1000);
        } else {
          const messages = await outbox.messages(device, 10);
          const message = messages[pick];
          if (message !== undefined) await outbox.end(message.id, { state: 'cancelled', by: 'x' });
        }
      }
      view ??= createPendingView({ outbox, clock, log: silentLog });
      await view.ready;
      await settle();
      let devices = 0;
      for (const device of [ONE, TWO]) {
        const held = (await outbox.messages(device, 100)).filter(({ state }) => state === 'held');
        if (held.length > 0) devices += 1;
        assert.equal(view.generation(device), Math.max(0, ...held.map(({ generation }) => generation)));
        const due = held.filter(({ kind, dueIn }) => kind === 'contact-me' && dueIn <= 0);
        assert.equal(view.due(device), Math.max(0, ...due.map(({ generation }) => generation)));
      }
      assert.equal(view.count(), devices);
    }),
    { numRuns: 150 },
  );
  t.pass('equal each time');
});

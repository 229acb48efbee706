import t from 'tap';
import type { Test } from 'tap';
import { copyModelDisk, createModelDisk, createModelOutbox } from '../../../relay-client/outbox/model.ts';
import type { ModelOutboxOptions } from '../../../relay-client/outbox/model.ts';
import { createFakeClock } from '../../fixtures/fake-clock.ts';
import { seededRandom } from '../../fixtures/seeded-random.ts';
import { audit, contactMe, DAY, hold, HOUR, phone, refuses } from './conformance/lab.ts';

function lab(t: Test) {
  const clock = createFakeClock();
  const random = seededRandom(7);
  const open = (more: Partial<ModelOutboxOptions> = {}) => {
    const outbox = createModelOutbox({ clock, random, ...more });
    t.teardown(() => outbox.close());
    return outbox;
  };
  return { clock, open };
}

t.test('a crash loses what was not synced, and nothing else', async (t) => {
  const { clock, open } = lab(t);
  const faults = { syncDelay: 10 };
  const outbox = open({ faults });
  const synced = outbox.push(contactMe(phone(1)));
  clock.advance(10);
  await synced;
  const lost = outbox.push(contactMe(phone(2)));
  clock.advance(9);
  outbox.crash();
  await refuses(t, lost, 'CLOSED', /crashed/);
  clock.advance(10);
  await refuses(t, outbox.counts(), 'CLOSED');

  const again = open({ disk: outbox.disk });
  t.equal(again.incarnation, outbox.incarnation);
  t.match(await audit(t, again), { accepted: 1, held: 1 });
  t.equal(await again.device(phone(2)), null);
});

t.test('what a kernel wrote before the crash survives unacknowledged', async (t) => {
  const { open } = lab(t);
  const outbox = open({ faults: { syncDelay: 10 } });
  const pushes = [1, 2, 3].map((n) => outbox.push(contactMe(phone(n))));
  outbox.crash(2);
  for (const push of pushes) await refuses(t, push, 'CLOSED');
  t.match(await audit(t, open({ disk: outbox.disk })), { accepted: 2 });
});

t.test('that the clock was set is remembered, though nothing else is done before a crash', async (t) => {
  const { clock, open } = lab(t);
  clock.jumpWall(-30 * DAY);
  const outbox = open();
  const { id } = await hold(outbox, contactMe(phone(1), { ttl: DAY }));
  clock.jumpWall(30 * DAY);
  clock.advance(HOUR);
  await outbox.counts();
  outbox.crash();
  clock.advance(HOUR);
  const again = open({ disk: outbox.disk });
  t.equal((await again.message(id))?.expiresIn, DAY - 2 * HOUR);
});

t.test('a sync that fails is fatal, once', async (t) => {
  const { open } = lab(t);
  const fatal: Error[] = [];
  const faults = { failSync: false };
  const outbox = open({ faults, onFatal: (error) => fatal.push(error) });
  await hold(outbox, contactMe(phone(1)));
  faults.failSync = true;
  await refuses(t, outbox.push(contactMe(phone(2))), 'OUTBOX_STORAGE', /failed to sync/);
  faults.failSync = false;
  await refuses(t, outbox.push(contactMe(phone(3))), 'OUTBOX_STORAGE', /failed to sync/);
  t.equal(fatal.length, 1);
  t.match(await audit(t, open({ disk: outbox.disk })), { accepted: 1 });
});

t.test('a full disk refuses changes until there is room', async (t) => {
  const { open } = lab(t);
  const faults = { full: false };
  const outbox = open({ faults });
  const { id } = await hold(outbox, contactMe(phone(1)));
  faults.full = true;
  await refuses(t, outbox.push(contactMe(phone(1))), 'OUTBOX_STORAGE', /no room/);
  outbox.note(phone(1), 'start-up');
  t.match(await outbox.message(id), { state: 'held' });
  faults.full = false;
  t.match(await outbox.push(contactMe(phone(1))), { message: { generation: 2 } });
  t.match(await audit(t, outbox), { accepted: 2, held: 1 });
});

t.test('a restored copy of a disk is an older store in a new incarnation', async (t) => {
  const { open } = lab(t);
  const disk = createModelDisk();
  const outbox = open({ disk });
  await hold(outbox, contactMe(phone(1)));
  const backup = copyModelDisk(disk);
  await hold(outbox, contactMe(phone(1)));
  const restored = open({ disk: backup });
  t.not(restored.incarnation, outbox.incarnation);
  t.match(await restored.device(phone(1)), { generation: 1 });
  t.equal(restored.sequence(), 1);
});

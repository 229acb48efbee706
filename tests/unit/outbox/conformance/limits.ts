import type { Test } from 'tap';
import { isSallyportError } from '../../../../shared/errors.ts';
import { ACTIONS_LIMIT_BYTES } from '../../../../relay-client/outbox/outbox.ts';
import { audit, contactMe, DAY, dls, hold, phone, refuses } from './lab.ts';
import type { MakeLab } from './lab.ts';

const API = { state: 'cancelled', by: 'api' } as const;

export function limits(t: Test, makeLab: MakeLab): void {
  t.test('a full outbox refuses the new push, drops nothing, and takes it once there is room', async (t) => {
    const outbox = await makeLab(t).open({ messages: 2 });
    const kept = [await hold(outbox, dls(phone(1), '[1]')), await hold(outbox, contactMe(phone(2)))];
    const before = [await audit(t, outbox), outbox.sequence(), await outbox.device(phone(3))];
    await refuses(t, outbox.push(contactMe(phone(3))), 'OUTBOX_FULL', /limit of 2 messages held in all/);
    t.same([await audit(t, outbox), outbox.sequence(), await outbox.device(phone(3))], before);
    for (const { id } of kept) t.match(await outbox.message(id), { state: 'held' });
    t.match(await outbox.push(contactMe(phone(2))), { known: false }, 'what supersedes makes its own room');
    await outbox.clear(phone(1), API);
    t.match(await outbox.push(contactMe(phone(3))), { known: false });
  });

  t.test('a device has its own limit, which re-driving keeps too', async (t) => {
    const outbox = await makeLab(t).open({ perDevice: 2 });
    const dead = await hold(outbox, dls(phone(1), '[0]'));
    await outbox.fruitless(phone(1), 1, 1);
    await hold(outbox, dls(phone(1), '[1]'));
    await hold(outbox, dls(phone(1), '[2]'));
    await refuses(
      t,
      outbox.push(dls(phone(1), '[3]')),
      'OUTBOX_FULL',
      /limit of 2 messages held for one device/,
    );
    await refuses(t, outbox.redrive(dead.id), 'OUTBOX_FULL');
    t.match(await outbox.message(dead.id), { state: 'dead', generation: 1 });
    t.match(await outbox.push(dls(phone(2), '[3]')), { known: false });
    t.match(await outbox.push(dls(phone(1), '[3]', { replace: true })), { known: false });
    t.equal((await outbox.device(phone(1)))?.pending, 1);
  });

  t.test('held actions are limited by bytes', async (t) => {
    const outbox = await makeLab(t).open({ bytes: 10 });
    await hold(outbox, dls(phone(1), '"äöü"'));
    t.equal((await outbox.counts()).heldBytes, 8);
    await refuses(t, outbox.push(dls(phone(2), '[1]')), 'OUTBOX_FULL', /limit of 10 bytes/);
    t.match(await outbox.push(contactMe(phone(2))), { known: false }, 'what has no body needs no room');
    t.match(await outbox.push(dls(phone(1), '0123456789', { replace: true })), { known: false });
  });

  t.test('actions longer than the limit are refused', async (t) => {
    const outbox = await makeLab(t).open();
    await refuses(
      t,
      outbox.push(dls(phone(1), 'x'.repeat(ACTIONS_LIMIT_BYTES + 1))),
      'TOO_LARGE',
      /at most 4194304/,
    );
    t.match(await outbox.push(dls(phone(1), 'x'.repeat(ACTIONS_LIMIT_BYTES))), { known: false });
  });

  t.test('too many waiting operations are refused as busy; those before them are done', async (t) => {
    const outbox = await makeLab(t).open({ waiting: 3 });
    const outcomes = await Promise.allSettled([1, 2, 3, 4, 5].map((n) => outbox.push(contactMe(phone(n)))));
    t.same(
      outcomes.map(({ status }) => status),
      ['fulfilled', 'fulfilled', 'fulfilled', 'rejected', 'rejected'],
    );
    for (const outcome of outcomes.slice(3)) {
      t.ok(outcome.status === 'rejected' && isSallyportError(outcome.reason, 'OUTBOX_BUSY'));
    }
    t.match(await audit(t, outbox), { accepted: 3 });
    t.match(await outbox.push(contactMe(phone(4))), { known: false });
  });

  t.test('ended messages are kept up to their limit, the oldest forgotten first', async (t) => {
    const { open, clock } = makeLab(t);
    const outbox = await open({ ended: 2 });
    const ids: string[] = [];
    for (let n = 1; n <= 4; n++) {
      clock.advance(1);
      const { id } = await hold(outbox, contactMe(phone(n)));
      await outbox.end(id, API);
      ids.push(id);
    }
    await hold(outbox, contactMe(phone(5)));
    const found = await Promise.all(ids.map(async (id) => (await outbox.message(id))?.state));
    t.same(found, [undefined, undefined, 'cancelled', 'cancelled']);
    t.match(await audit(t, outbox), { accepted: 5, held: 1, ended: { cancelled: 4 } });
  });

  t.test(
    'a key that must be remembered is never forgotten to make room: the next keyed push is refused',
    async (t) => {
      const { open, clock } = makeLab(t);
      const outbox = await open({ ended: 2 });
      for (const n of [1, 2]) {
        const { id } = await hold(outbox, contactMe(phone(n), { key: 'k' }));
        await outbox.end(id, API);
      }
      await refuses(t, outbox.push(contactMe(phone(3), { key: 'k' })), 'OUTBOX_FULL', /keys/);
      t.match(await outbox.push(contactMe(phone(3))), { known: false }, 'without a key it is taken');
      t.match(await outbox.push(contactMe(phone(1), { key: 'k' })), { known: true });
      clock.advance(DAY);
      t.match(await outbox.push(contactMe(phone(4), { key: 'k' })), { known: false });
    },
  );

  t.test('devices that are only noted are limited apart from those pushed to', async (t) => {
    const outbox = await makeLab(t).open({ strangers: 2, devices: 2 });
    for (const n of [1, 2, 3]) outbox.note(phone(n), 'start-up');
    t.equal((await outbox.counts()).devices, 2);
    t.equal(await outbox.device(phone(3)), null);
    await hold(outbox, contactMe(phone(1)));
    await hold(outbox, contactMe(phone(4)));
    await refuses(t, outbox.push(contactMe(phone(5))), 'OUTBOX_FULL', /limit of 2 devices/);
    await refuses(t, outbox.push(contactMe(phone(2))), 'OUTBOX_FULL', /limit of 2 devices/);
    outbox.note(phone(3), 'start-up');
    t.match(await outbox.device(phone(3)), { generation: 0 }, 'a stranger that was pushed to left its place');
  });
}

import type { Test } from 'tap';
import { audit, contactMe, DAY, dls, hold, phone, refuses } from './lab.ts';
import type { MakeLab } from './lab.ts';

const SESSION = { state: 'cleared', by: 'session' } as const;

export function ending(t: Test, makeLab: MakeLab): void {
  t.test('clearing a generation never touches a newer one', async (t) => {
    const { open, clock } = makeLab(t);
    const outbox = await open();
    const one = await hold(outbox, dls(phone(1), '[1]'));
    const two = await hold(outbox, dls(phone(1), '[2]'));
    const three = await hold(outbox, dls(phone(1), '[3]'));
    clock.advance(1000);
    const ended = await outbox.clear(phone(1), { ...SESSION, generation: 2 });
    t.match(ended, [
      { id: one.id, state: 'cleared', endedBy: 'session', endedAt: clock.wall(), dueIn: 0, expiresIn: 0 },
      { id: two.id, state: 'cleared' },
    ]);
    t.match(await outbox.message(three.id), { state: 'held', endedAt: null });
    t.match(await outbox.device(phone(1)), { generation: 3, pending: 1 });
    t.same(await outbox.clear(phone(1), { ...SESSION, generation: 2 }), []);
    t.same(await outbox.clear(phone(9), SESSION), [], 'an unheard-of device has nothing to clear');
    await audit(t, outbox);
  });

  t.test('clearing a kind leaves the other kind', async (t) => {
    const outbox = await makeLab(t).open();
    await hold(outbox, contactMe(phone(1)));
    const work = await hold(outbox, dls(phone(1), '[1]'));
    const ended = await outbox.clear(phone(1), { state: 'cancelled', by: 'api', kind: 'contact-me' });
    t.match(ended, [{ kind: 'contact-me', state: 'cancelled', endedBy: 'api' }]);
    t.match(await outbox.message(work.id), { state: 'held' });
  });

  t.test('a message ends once: a second end finds it as it ended', async (t) => {
    const outbox = await makeLab(t).open();
    const { id } = await hold(outbox, contactMe(phone(1)));
    t.match(await outbox.end(id, { state: 'cancelled', by: 'api' }), { state: 'cancelled', endedBy: 'api' });
    const seq = outbox.sequence();
    t.match(await outbox.end(id, SESSION), { state: 'cancelled', endedBy: 'api' });
    t.equal(outbox.sequence(), seq);
    t.match(await audit(t, outbox), { accepted: 1, held: 0, ended: { cancelled: 1, cleared: 0 } });
    await refuses(t, outbox.end('no-such-message', SESSION), 'NOT_FOUND', /no-such-message/);
  });

  t.test('what a phone was sent is not kept once its message ended, except to re-drive it', async (t) => {
    const outbox = await makeLab(t).open();
    const done = await hold(outbox, dls(phone(1), '["secret"]'));
    const failed = await hold(outbox, dls(phone(2), '["secret"]'));
    t.equal((await outbox.counts()).heldBytes, 20);
    t.equal((await outbox.end(done.id, SESSION)).actions, null);
    await outbox.fruitless(phone(2), 1, 1);
    t.match(await outbox.message(failed.id), { state: 'dead', actions: '["secret"]' });
    t.equal((await outbox.counts()).heldBytes, 0);
  });

  t.test('fruitless sessions count against what was due then, and at the limit it is dead', async (t) => {
    const { open, clock } = makeLab(t);
    const outbox = await open();
    const due = await hold(outbox, dls(phone(1), '[1]'));
    const later = await hold(outbox, dls(phone(1), '[2]', { delay: 1000 }));
    const newer = await hold(outbox, dls(phone(1), '[3]'));
    t.same(await outbox.fruitless(phone(1), 2, 2), []);
    t.match(await outbox.message(due.id), { state: 'held', fruitlessSessions: 1 });
    t.match(await outbox.message(later.id), { fruitlessSessions: 0 }, 'it was not due');
    t.match(await outbox.message(newer.id), { fruitlessSessions: 0 }, 'it came after the session began');
    clock.advance(1000);
    const dead = await outbox.fruitless(phone(1), 2, 2);
    t.match(dead, [{ id: due.id, state: 'dead', endedBy: 'fruitless sessions', fruitlessSessions: 2 }]);
    t.match(await outbox.message(later.id), { state: 'held', fruitlessSessions: 1 });
    t.match(await outbox.device(phone(1)), { pending: 2, dead: 1 });
    for (let i = 0; i < 5; i++)
      t.same(await outbox.fruitless(phone(1), 3, 0), [], 'a limit of 0 ends nothing');
    await audit(t, outbox);
  });

  t.test('a dead message is held again with a new generation and its whole time to live', async (t) => {
    const { open, clock } = makeLab(t);
    const outbox = await open();
    const { id } = await hold(outbox, dls(phone(1), '[1]', { ttl: DAY }));
    await hold(outbox, dls(phone(1), '[2]'));
    await outbox.fruitless(phone(1), 1, 1);
    clock.advance(DAY);
    const again = await outbox.redrive(id);
    t.match(again, { state: 'held', generation: 3, actions: '[1]', endedAt: null, endedBy: null });
    t.match(again, { dueIn: 0, expiresIn: DAY, fruitlessSessions: 0 });
    t.match(await outbox.device(phone(1)), { generation: 3, pending: 2, dead: 0 });
    t.match(await audit(t, outbox), { accepted: 2, held: 2, ended: { dead: 0 } });
    await refuses(t, outbox.redrive(id), 'REQUEST_INVALID', /held/);
    await refuses(t, outbox.redrive('no-such-message'), 'NOT_FOUND');
  });

  t.test('a re-driven contact-me takes the place of the one that came meanwhile', async (t) => {
    const outbox = await makeLab(t).open();
    const { id } = await hold(outbox, contactMe(phone(1)));
    await outbox.fruitless(phone(1), 1, 1);
    const meanwhile = await hold(outbox, contactMe(phone(1)));
    t.match(await outbox.redrive(id), { generation: 3 });
    t.match(await outbox.message(meanwhile.id), { state: 'superseded' });
    t.match(await audit(t, outbox), { accepted: 2, held: 1, ended: { superseded: 1, dead: 0 } });
    t.equal((await outbox.device(phone(1)))?.pending, 1);
  });
}

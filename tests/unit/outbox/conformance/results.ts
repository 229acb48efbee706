import type { Test } from 'tap';
import { RESULTS_LIMIT_BYTES } from '../../../../relay-client/outbox/outbox.ts';
import { audit, contactMe, DAY, dls, hold, HOUR, phone, refuses } from './lab.ts';
import type { MakeLab } from './lab.ts';

const SESSION = { state: 'cleared', by: 'courier' } as const;

export function results(t: Test, makeLab: MakeLab): void {
  t.test('actions come one message after another, when they are due', async (t) => {
    const { open, clock } = makeLab(t);
    const outbox = await open();
    t.equal(await outbox.nextActions(phone(1)), null);
    await hold(outbox, contactMe(phone(1)));
    t.equal(await outbox.nextActions(phone(1)), null, 'a contact-me has none');
    const later = await hold(outbox, dls(phone(1), '[1]', { delay: HOUR }));
    const first = await hold(outbox, dls(phone(1), '[2]'));
    const second = await hold(outbox, dls(phone(1), '[3]'));
    t.match(await outbox.nextActions(phone(1)), { id: first.id, actions: '[2]' });
    await outbox.end(first.id, SESSION);
    t.match(await outbox.nextActions(phone(1)), { id: second.id });
    clock.advance(HOUR);
    t.match(await outbox.nextActions(phone(1)), { id: later.id }, 'the oldest that is due');
  });

  t.test('results end with their message in one commit, and are kept with it', async (t) => {
    const { open } = makeLab(t);
    const outbox = await open();
    const { id } = await hold(outbox, dls(phone(1), '[1]'));
    t.match(await outbox.message(id), { results: null, awaitedFor: null });
    t.match(await outbox.advance(id, { results: '["half"]', wait: 0 }), {
      state: 'held',
      results: '["half"]',
    });
    t.equal(outbox.sequence(), 1, 'proxies need not know');
    const ended = await outbox.end(id, { ...SESSION, results: '["whole"]', facts: { actions: 1 } });
    t.match(ended, { state: 'cleared', results: '["whole"]', actions: null });
    t.match(await outbox.history({ after: 1, limit: 9 }), [{ event: 'cleared', facts: { actions: 1 } }]);
    t.match(await outbox.advance(id, { results: '["late"]', wait: HOUR }), { results: '["whole"]' });
    t.match(await outbox.end(id, { ...SESSION, results: '["late"]' }), { results: '["whole"]' });
    await outbox.close();
    const again = await open();
    t.match(await again.message(id), { state: 'cleared', results: '["whole"]' });
    await refuses(t, again.advance('no-such-message', { results: '', wait: 0 }), 'NOT_FOUND');
  });

  t.test('a message whose word is awaited is not offered meanwhile', async (t) => {
    const { open, clock } = makeLab(t);
    const outbox = await open();
    const { id } = await hold(outbox, dls(phone(1), '[1]'));
    const before = outbox.sequence();
    await outbox.advance(id, { results: '[]', wait: HOUR });
    t.match(await outbox.awaited(phone(1)), [{ id, awaitedFor: HOUR, dueIn: HOUR }]);
    t.same(await outbox.awaited(phone(2)), []);
    t.equal(await outbox.nextActions(phone(1)), null);
    t.match(await outbox.changes(before, 9), { changes: [{ op: 'hold', id, generation: 1, dueIn: HOUR }] });
    t.same(await outbox.fruitless(phone(1), 1, 1), [], 'no session is held against it');
    t.same(await outbox.overdue(9), []);
    clock.advance(HOUR);
    t.match(await outbox.overdue(9), [{ id, awaitedFor: 0 }]);
    const waited = outbox.sequence();
    await outbox.advance(id, { results: '[1]', wait: 0 });
    t.same(await outbox.overdue(9), []);
    t.match(await outbox.nextActions(phone(1)), { id, results: '[1]', awaitedFor: null });
    t.match(await outbox.changes(waited, 9), { changes: [{ op: 'hold', id, dueIn: 0 }] });
    await outbox.advance(id, { results: '[1]', wait: HOUR });
    await outbox.close();
    const again = await open();
    t.match(await again.awaited(phone(1)), [{ id, awaitedFor: HOUR }], 'a restart forgets no wait');
  });

  t.test('a dead message keeps what was answered, and waits for nothing when held again', async (t) => {
    const outbox = await makeLab(t).open();
    const { id } = await hold(outbox, dls(phone(1), '[1]'));
    await outbox.advance(id, { results: '["first"]', wait: 0 });
    await outbox.fruitless(phone(1), 1, 1, 'dls');
    t.match(await outbox.message(id), { state: 'dead', results: '["first"]' });
    t.match(await outbox.redrive(id), { state: 'held', results: '["first"]', awaitedFor: null });
  });

  t.test('a fruitless session counts against the kind that it was about', async (t) => {
    const outbox = await makeLab(t).open();
    const call = await hold(outbox, contactMe(phone(1)));
    const work = await hold(outbox, dls(phone(1), '[1]'));
    t.match(await outbox.fruitless(phone(1), 2, 1, 'dls'), [{ id: work.id, state: 'dead' }]);
    t.match(await outbox.message(call.id), { state: 'held', fruitlessSessions: 0 });
  });

  t.test('results beyond their limit go, the oldest first', async (t) => {
    const { open, clock } = makeLab(t);
    const outbox = await open({ resultBytes: 10 });
    const ids: string[] = [];
    for (let n = 1; n <= 3; n++) {
      const { id } = await hold(outbox, dls(phone(n), '[1]'));
      ids.push(id);
      clock.advance(1000);
      await outbox.end(id, { ...SESSION, results: '12345' });
    }
    const kept = await Promise.all(ids.map(async (id) => (await outbox.message(id))?.results));
    t.same(kept, ['', '12345', '12345']);
    const { id } = await hold(outbox, dls(phone(4), '[1]'));
    await refuses(
      t,
      outbox.end(id, { ...SESSION, results: 'x'.repeat(RESULTS_LIMIT_BYTES + 1) }),
      'TOO_LARGE',
      /results/,
    );
    t.match(await outbox.message(id), { state: 'held' });
    clock.advance(8 * DAY);
    await outbox.expire();
    await audit(t, outbox);
  });
}

import type { Test } from 'tap';
import { audit, contactMe, DAY, dls, hold, HOUR, phone } from './lab.ts';
import type { MakeLab } from './lab.ts';

/** More than one step of any campaign call. */
const MANY = 2_300;

export function campaigns(t: Test, makeLab: MakeLab): void {
  t.test('a parked campaign is held and not offered, and released in order with space between', async (t) => {
    const { open, clock } = makeLab(t);
    const outbox = await open();
    const spring = { campaign: 'spring', ttl: 7 * DAY };
    const first = await hold(outbox, contactMe(phone(1), spring));
    const later = await hold(outbox, contactMe(phone(2), { ...spring, delay: 2 * HOUR }));
    const other = await hold(outbox, contactMe(phone(3), { campaign: 'autumn' }));
    t.equal(await outbox.park('spring'), 2);
    t.equal(await outbox.park('spring'), 0, 'once is enough');
    t.match(await outbox.message(first.id), { state: 'held', parked: true, dueIn: 7 * DAY });
    t.match(await outbox.message(other.id), { parked: false, dueIn: 0 });
    t.match(await outbox.campaign('spring'), { states: { held: 2 }, parked: 2 });
    t.match(await outbox.changes(3, 9), {
      changes: [
        { op: 'hold', id: first.id, dueIn: 7 * DAY },
        { op: 'hold', id: later.id, dueIn: 7 * DAY },
      ],
    });
    const last = await hold(outbox, contactMe(phone(4), { ...spring, parked: true }));
    t.match(last, { parked: true, dueIn: 7 * DAY });
    clock.advance(HOUR);
    t.equal(await outbox.release('spring', { spacing: 10_000, most: 2 }), 2);
    t.match(await outbox.message(first.id), { parked: false, dueIn: 0 });
    t.match(await outbox.message(later.id), { parked: false, dueIn: HOUR }, 'none before its own time');
    t.match(await outbox.message(last.id), { parked: true });
    t.equal(await outbox.release('spring', { spacing: 10_000 }), 1);
    t.match(await outbox.campaign('spring'), { states: { held: 3 }, parked: 0 });
    await audit(t, outbox);
  });

  t.test('parked messages expire, can be cleared, and are kept over a restart', async (t) => {
    const { open, clock } = makeLab(t);
    const outbox = await open();
    const short = await hold(outbox, contactMe(phone(1), { campaign: 'c', ttl: HOUR }));
    const long = await hold(outbox, contactMe(phone(2), { campaign: 'c', ttl: DAY }));
    const cleared = await hold(outbox, contactMe(phone(3), { campaign: 'c', ttl: DAY }));
    await outbox.park('c');
    await outbox.clear(phone(3), { state: 'cleared', by: 'api' });
    clock.advance(HOUR);
    t.match(await outbox.expire(), [{ id: short.id, state: 'expired', parked: false }]);
    t.match(await outbox.message(cleared.id), { state: 'cleared', parked: false });
    await outbox.close();
    const again = await open();
    t.match(await again.message(long.id), { state: 'held', parked: true });
    t.equal(await again.release('c', { spacing: 0 }), 1);
    t.match(await again.message(long.id), { parked: false, dueIn: 0 });
    await audit(t, again);
  });

  t.test(
    'a message whose word is awaited is not parked, and one parked is not offered by a wait',
    async (t) => {
      const { open } = makeLab(t);
      const outbox = await open();
      const awaited = await hold(outbox, dls(phone(1), '[1]', { campaign: 'c' }));
      await outbox.advance(awaited.id, { results: '[]', wait: HOUR });
      const parked = await hold(outbox, dls(phone(2), '[1]', { campaign: 'c' }));
      t.equal(await outbox.park('c'), 1);
      await outbox.advance(parked.id, { results: '[]', wait: HOUR });
      await outbox.advance(parked.id, { results: '[]', wait: 0 });
      t.equal(await outbox.nextActions(phone(2)), null);
      await outbox.release('c', { spacing: 0 });
      t.match(await outbox.nextActions(phone(2)), { id: parked.id });
    },
  );

  t.test('an abandoned campaign ends as cancelled, each message once, in steps', async (t) => {
    const { open } = makeLab(t);
    const outbox = await open();
    await outbox.pushMany(
      Array.from({ length: MANY }, (_, i) =>
        contactMe(phone(i + 1), { campaign: 'big', parked: i % 2 === 0 }),
      ),
    );
    await outbox.clear(phone(1), { state: 'cleared', by: 'session' });
    await hold(outbox, contactMe(phone(MANY + 1)));
    t.equal(await outbox.park('big'), MANY / 2);
    t.equal(await outbox.abandon('big', 'campaign aborted'), MANY - 1);
    t.equal(await outbox.abandon('big', 'campaign aborted'), 0);
    t.match(await outbox.campaign('big'), { states: { cancelled: MANY - 1, cleared: 1 }, parked: 0 });
    t.match(await outbox.counts(), { held: 1, ended: { cancelled: MANY - 1, cleared: 1 } });
  });

  t.test('what failed is counted, until it is tried again', async (t) => {
    const { open } = makeLab(t);
    const outbox = await open();
    const good = await hold(outbox, dls(phone(1), '[1]', { campaign: 'c' }));
    const bad = await hold(outbox, dls(phone(2), '[1]', { campaign: 'c' }));
    await outbox.end(good.id, { state: 'cleared', by: 'courier', results: '[]' });
    const ended = await outbox.end(bad.id, { state: 'cleared', by: 'courier', results: '[]', failed: true });
    t.equal(ended.failed, true);
    t.match(await outbox.message(good.id), { failed: false });
    t.same(await outbox.campaign('c'), { states: { cleared: 2 }, parked: 0, failed: 1 });
  });

  t.test('records of campaigns are kept, the newest of each, in order of their names', async (t) => {
    const { open } = makeLab(t);
    const outbox = await open();
    t.equal(await outbox.campaignRecord('a'), null);
    for (const [name, settings] of [
      ['b', '{"n":1}'],
      ['a', '{}'],
      ['b', '{"n":2}'],
      ['c', '{}'],
    ] as const) {
      await outbox.keepCampaign(name, settings);
    }
    await outbox.close();
    const again = await open();
    t.equal(await again.campaignRecord('b'), '{"n":2}');
    t.same(await again.campaigns('', 2), [
      { name: 'a', settings: '{}' },
      { name: 'b', settings: '{"n":2}' },
    ]);
    t.same(await again.campaigns('b', 9), [{ name: 'c', settings: '{}' }]);
  });
}

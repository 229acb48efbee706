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
    for (const [name, settings, former] of [
      ['b', '{"n":1}', null],
      ['a', '{}', null],
      ['b', '{"n":2}', '{"n":1}'],
      ['c', '{}', null],
    ] as const) {
      t.equal(await outbox.keepCampaign(name, settings, former), true);
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

  t.test('what becomes of a campaign is told with its record, or not at all', async (t) => {
    const { open } = makeLab(t);
    const outbox = await open();
    const news = (what: string) => ({ what, facts: { campaign: 'c', why: null } });
    t.equal(await outbox.keepCampaign('c', '{}', null, news('begun')), true);
    const held = await hold(outbox, contactMe(phone(1), { campaign: 'c' }));
    t.equal(await outbox.keepCampaign('c', '{"n":1}', '{}', news('paused')), true);
    t.equal(await outbox.keepCampaign('c', '{"n":2}', '{}', news('aborted')), false, 'somebody was faster');
    t.equal(await outbox.keepCampaign('d', '{}', '{}', news('begun')), false, 'there was none');
    t.equal(await outbox.holdsCampaign('c'), true);
    t.equal(await outbox.holdsCampaign('d'), false);
    await outbox.close();
    const again = await open();
    t.equal(await again.campaignRecord('c'), '{"n":1}');
    t.equal(await again.campaignRecord('d'), null);
    const about = { device: null, message: null, generation: 0, event: 'campaign' };
    t.match(await again.history({ after: 0, limit: 9 }), [
      { seq: 1, ...about, ...news('begun') },
      { seq: 2, device: phone(1), event: 'accepted' },
      { seq: 3, ...about, ...news('paused') },
    ]);
    t.match(
      await again.changes(0, 9),
      { seq: 3, changes: [{ op: 'hold', seq: 2, id: held.id }] },
      'proxies hear nothing of it',
    );
    t.match(await again.history({ after: 0, limit: 9, device: phone(1) }), [{ seq: 2 }]);
    await again.clear(phone(1), { state: 'cleared', by: 'api' });
    t.equal(await again.holdsCampaign('c'), false);
    await audit(t, again);
  });

  t.test('of two who change a campaign at the same time one hears that he was late', async (t) => {
    const { open } = makeLab(t);
    const outbox = await open();
    await outbox.keepCampaign('c', '{}', null);
    const kept = await Promise.all(
      Array.from({ length: 20 }, (_, n) =>
        outbox.keepCampaign('c', `{"n":${n}}`, '{}', { what: 'paused', facts: { n } }),
      ),
    );
    t.equal(kept.filter((each) => each).length, 1);
    const told = await outbox.history({ after: 0, limit: 99 });
    t.match(told, [{ facts: { n: kept.indexOf(true) } }]);
    t.equal(told.length, 1);
    t.equal(await outbox.campaignRecord('c'), `{"n":${kept.indexOf(true)}}`);
  });
}

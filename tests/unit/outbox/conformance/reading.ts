import type { Test } from 'tap';
import { rankOf } from '../../../../relay-client/device-order.ts';
import type { DeviceOrder, DeviceQuery, DeviceRank } from '../../../../relay-client/outbox/outbox.ts';
import type { DeviceId } from '../../../../shared/device-id.ts';
import { contactMe, DAY, dls, hold, phone } from './lab.ts';
import type { MakeLab } from './lab.ts';

const SESSION = { state: 'cleared', by: 'session' } as const;

export function reading(t: Test, makeLab: MakeLab): void {
  t.test('what nobody has heard of is null, or empty', async (t) => {
    const outbox = await makeLab(t).open();
    t.equal(await outbox.message('no-such-message'), null);
    t.equal(await outbox.device(phone(1)), null);
    t.same(await outbox.messages(phone(1), 10), []);
    t.same(await outbox.devices({ limit: 10 }), { devices: [], next: null });
    t.same(await outbox.history({ after: 0, limit: 10 }), []);
    t.same(await outbox.recentHistory(phone(1), 10), []);
    t.same(await outbox.campaign('none'), { states: {}, parked: 0, failed: 0 });
    t.equal(outbox.sequence(), 0);
    t.same(await outbox.counts(), {
      devices: 0,
      held: 0,
      heldBytes: 0,
      accepted: 0,
      ended: { cleared: 0, superseded: 0, expired: 0, cancelled: 0, dead: 0 },
    });
  });

  t.test('everything is found again after a restart', async (t) => {
    const { open } = makeLab(t);
    let outbox = await open();
    await hold(outbox, dls(phone(1), '["äöü"]', { key: 'k', campaign: 'c', delay: 5 }));
    await hold(outbox, contactMe(phone(2)));
    await outbox.clear(phone(2), SESSION);
    outbox.note(
      phone(2),
      'session',
      { outcome: 'done', busy: false, count: 3, none: null },
      { session: true },
    );
    const everything = async () => ({
      incarnation: outbox.incarnation,
      sequence: outbox.sequence(),
      counts: await outbox.counts(),
      devices: await outbox.devices({ limit: 10 }),
      messages: [await outbox.messages(phone(1), 10), await outbox.messages(phone(2), 10)],
      history: await outbox.history({ after: 0, limit: 10 }),
      changes: await outbox.changes(0, 10),
      campaign: await outbox.campaign('c'),
    });
    await outbox.counts();
    const before = await everything();
    await outbox.close();
    outbox = await open();
    t.same(await everything(), before);
  });

  t.test('the history tells what happened to a device, in order', async (t) => {
    const { open, clock } = makeLab(t);
    const outbox = await open();
    const first = await hold(outbox, contactMe(phone(1), { campaign: 'spring' }));
    await hold(outbox, contactMe(phone(2)));
    clock.advance(500);
    const second = await hold(outbox, contactMe(phone(1)));
    await outbox.fruitless(phone(1), 2, 1);
    await outbox.redrive(second.id);
    outbox.note(phone(1), 'busy', { times: 2 });
    await outbox.end(second.id, { state: 'cancelled', by: 'api' });
    const entries = await outbox.history({ after: 0, limit: 100, device: phone(1) });
    t.same(
      entries.map(({ event, what, generation, message }) => [event, what, generation, message]),
      [
        ['accepted', 'contact-me', 1, first.id],
        ['accepted', 'contact-me', 2, second.id],
        ['superseded', 'newer push', 1, first.id],
        ['dead', 'fruitless sessions', 2, second.id],
        ['redriven', 'contact-me', 3, second.id],
        ['note', 'busy', 3, null],
        ['cancelled', 'api', 3, second.id],
      ],
    );
    t.same(entries[0]?.facts, { campaign: 'spring' });
    t.same(entries[5]?.facts, { times: 2 });
    t.equal(entries[6]?.at, clock.wall());
    t.same(await outbox.recentHistory(phone(1), 3), entries.toReversed().slice(0, 3));
    const page = await outbox.history({ after: 1, limit: 2 });
    t.same(
      page.map(({ seq }) => seq),
      [2, 3],
    );
  });

  t.test('older history goes first when there is too much', async (t) => {
    const { open } = makeLab(t);
    let outbox = await open({ history: 10 });
    for (let n = 0; n < 25; n++) await hold(outbox, dls(phone(1), '[]'));
    const seqs = async () => (await outbox.history({ after: 0, limit: 100 })).map(({ seq }) => seq);
    t.same(await seqs(), [16, 17, 18, 19, 20, 21, 22, 23, 24, 25]);
    t.equal((await outbox.recentHistory(phone(1), 100)).length, 10);
    await outbox.close();
    outbox = await open({ history: 5 });
    t.same(await seqs(), [21, 22, 23, 24, 25]);
  });

  t.test('a note about a session is the device’s last session', async (t) => {
    const { open, clock } = makeLab(t);
    const outbox = await open();
    outbox.note(phone(1), 'start-up', { address: '192.0.2.1' });
    t.match(await outbox.device(phone(1)), { generation: 0, pending: 0, dead: 0, lastSession: null });
    outbox.note(phone(1), 'session', { outcome: 'busy' }, { session: true });
    clock.advance(1000);
    t.same((await outbox.device(phone(1)))?.lastSession, { at: clock.wall() - 1000, outcome: 'busy' });
    outbox.note(phone(1), 'cut', {}, { session: true });
    t.same((await outbox.device(phone(1)))?.lastSession, { at: clock.wall(), outcome: 'cut' });
  });

  t.test('a note alone is written soon', async (t) => {
    const { open, clock } = makeLab(t);
    const outbox = await open();
    const written = new Promise<number>((resolve) => outbox.onCommit(resolve));
    outbox.note(phone(1), 'start-up');
    clock.advance(1000);
    t.equal(await written, 1);
  });

  t.test('a note keeps its facts short', async (t) => {
    const outbox = await makeLab(t).open();
    const facts = Object.fromEntries(Array.from({ length: 50 }, (_, i) => [`fact${i}`, 'x'.repeat(10_000)]));
    outbox.note(phone(1), 'start-up', facts);
    const [entry] = await outbox.recentHistory(phone(1), 1);
    t.equal(Object.keys(entry?.facts ?? {}).length, 20);
    t.equal(entry?.facts['fact0'], 'x'.repeat(200));
  });

  t.test('the ids of all devices are told in their order, page by page', async (t) => {
    const outbox = await makeLab(t).open();
    t.same(await outbox.deviceIds('', 10), []);
    for (const n of [3, 1, 5, 2]) await hold(outbox, contactMe(phone(n)));
    await outbox.clear(phone(2), SESSION);
    outbox.note(phone(4), 'start-up');
    t.same(await outbox.deviceIds('', 3), [1, 2, 3].map(phone), 'with and without something held');
    t.same(await outbox.deviceIds(phone(3), 3), [4, 5].map(phone), 'those of which there is but a note, too');
    t.same(await outbox.deviceIds(phone(5), 3), []);
  });

  t.test('devices are found by state, by part of their name, and page by page', async (t) => {
    const outbox = await makeLab(t).open();
    for (const n of [5, 3, 1, 4, 2]) await hold(outbox, contactMe(phone(n)));
    await outbox.clear(phone(2), SESSION);
    await outbox.fruitless(phone(3), 1, 1);
    outbox.note(phone(0xabcdef), 'start-up');
    const find = async (query: Partial<DeviceQuery>) => {
      const { devices, next } = await outbox.devices({ limit: 100, ...query });
      return [...devices.map(({ device }) => device), ...(next === null ? [] : ['more'])];
    };
    t.same(await find({}), [...[1, 2, 3, 4, 5].map(phone), phone(0xabcdef)]);
    t.same(await find({ state: 'pending' }), [1, 4, 5].map(phone));
    t.same(await find({ state: 'idle' }), [2, 3, 0xabcdef].map(phone));
    t.same(await find({ state: 'dead' }), [phone(3)]);
    t.same(await find({ q: 'ab:CD' }), [phone(0xabcdef)]);
    t.same(await find({ q: 'ABCDEF' }), [phone(0xabcdef)]);
    t.same(await find({ q: '8abcd' }), [phone(0xabcdef)], 'across the separators');
    t.same(await find({ q: '00-03' }), [phone(3)], 'with other separators');
    t.same(await find({ q: '%' }), [], 'a text, not a pattern');
    t.same(await find({ state: 'idle', q: '02' }), [phone(2)]);
    t.same(await find({ limit: 2 }), [phone(1), phone(2), 'more']);
    t.same(await find({ limit: 2, cursor: phone(2) }), [phone(3), phone(4), 'more']);
    t.same(await find({ limit: 3, cursor: phone(4) }), [phone(5), phone(0xabcdef)]);
  });

  t.test('a search that is repeated finds the same, and what has come since', async (t) => {
    const { open } = makeLab(t);
    const outbox = await open();
    const odd = ['12a', '2-12b', 'x.y', '+'] as DeviceId[];
    await outbox.pushMany(
      [...Array.from({ length: 1_500 }, (_, n) => phone(n + 1)), ...odd].map((each) => contactMe(each)),
    );
    const find = async (query: Partial<DeviceQuery>) => {
      const { devices, next } = await outbox.devices({ limit: 100, ...query });
      return [...devices.map(({ device }) => device), ...(next === null ? [] : ['more'])];
    };
    await outbox.clear(phone(0x12a), { state: 'cleared', by: 'api' });
    // An engine may learn its devices by the first search, beside whatever else it does.
    for (let round = 0; round < 4; round++) {
      t.same(await find({ q: '01:2a' }), [phone(0x12a)]);
      t.same(await find({ q: '12a' }), [phone(0x12a), '12a']);
      t.same(await find({ q: '12', state: 'idle' }), [phone(0x12a)]);
      t.same(await find({ q: '212B' }), ['2-12b']);
      t.same(await find({ q: '-' }), ['2-12b'], 'nothing but a separator');
      t.same(await find({ q: '.' }), ['x.y']);
      t.same(await find({ q: '+' }), ['+']);
      t.same(await find({ q: 'y\n' }), []);
      t.same(await find({ q: 'y\tx' }), []);
      t.same(await find({ q: '00:00', limit: 2 }), [phone(1), phone(2), 'more'], 'most of them fit');
      t.same(await find({ q: '00:05', limit: 2, cursor: phone(5) }), [phone(0x50), phone(0x51), 'more']);
      t.same(await find({ q: '5dc', limit: 2 }), [phone(1_500)]);
      t.same(await find({ q: '12a', order: '-pending' }), ['12a', phone(0x12a)]);
      t.same(await find({ q: '12a', order: '-pending', limit: 1 }), ['12a', 'more']);
      const after = { score: -1, device: '12a' as DeviceId };
      t.same(await find({ q: '12a', order: '-pending', after }), [phone(0x12a)]);
    }
    await hold(outbox, contactMe('late-12a' as DeviceId));
    outbox.note('stranger-12a' as DeviceId, 'start-up');
    const late = [phone(0x12a), '12a', 'late-12a', 'stranger-12a'];
    t.same(await find({ q: '12a' }), late);
    t.same(await find({ q: '12a' }), late);
    await outbox.close();
    t.same(
      (await (await open()).devices({ q: '12a', limit: 9 })).devices.map(({ device }) => device),
      late,
    );
  });

  t.test('devices are ranked by what is held and by their last session, page by page', async (t) => {
    const { open, clock } = makeLab(t);
    const outbox = await open();
    for (const n of [1, 2, 3, 4]) await hold(outbox, contactMe(phone(n)));
    await hold(outbox, dls(phone(3), 'a'));
    await hold(outbox, dls(phone(3), 'b'));
    await hold(outbox, dls(phone(2), 'c'));
    for (const n of [4, 2]) {
      outbox.note(phone(n), 'session', {}, { session: true });
      clock.advance(1000);
    }
    await outbox.clear(phone(1), SESSION);
    const rank = async (order: DeviceOrder, query: Partial<DeviceQuery> = {}) => {
      const seen: DeviceId[] = [];
      let after: DeviceRank | undefined;
      for (;;) {
        const page = await outbox.devices({
          limit: 2,
          order,
          ...query,
          ...(after === undefined ? {} : { after }),
        });
        seen.push(...page.devices.map(({ device }) => device));
        const last = page.devices.at(-1);
        if (page.next === null || last === undefined) return seen;
        t.equal(page.next, last.device);
        t.equal(page.devices.length, 2);
        after = rankOf(order, last);
      }
    };
    t.same(await rank('-pending'), [3, 2, 4, 1].map(phone));
    t.same(await rank('pending'), [1, 4, 2, 3].map(phone));
    t.same(await rank('-last_session'), [2, 4, 1, 3].map(phone), 'who had none comes last, by id');
    t.same(await rank('last_session'), [1, 3, 4, 2].map(phone));
    t.same(await rank('-pending', { state: 'pending' }), [3, 2, 4].map(phone));
    t.same(await rank('pending', { state: 'idle' }), [phone(1)]);
    t.same(await rank('-last_session', { q: '00:04' }), [phone(4)]);
    t.same(await rank('pending', { state: 'dead' }), []);
  });

  t.test('messages of a device come newest first, held or not', async (t) => {
    const outbox = await makeLab(t).open();
    for (let n = 1; n <= 6; n++) await hold(outbox, dls(phone(1), String(n)));
    await outbox.clear(phone(1), { ...SESSION, generation: 2 });
    const generations = async (limit: number) =>
      (await outbox.messages(phone(1), limit)).map(({ generation }) => generation);
    t.same(await generations(100), [6, 5, 4, 3, 2, 1]);
    t.same(await generations(5), [6, 5, 4, 3, 2]);
  });

  t.test('a campaign is counted by state', async (t) => {
    const { open, clock } = makeLab(t);
    const outbox = await open();
    await outbox.pushMany([1, 2, 3].map((n) => contactMe(phone(n), { campaign: 'spring', ttl: n * DAY })));
    await hold(outbox, contactMe(phone(4), { campaign: 'autumn' }));
    await hold(outbox, contactMe(phone(5)));
    await outbox.clear(phone(3), SESSION);
    clock.advance(DAY);
    await outbox.expire();
    t.match(await outbox.campaign('spring'), { states: { held: 1, cleared: 1, expired: 1 } });
    t.match(await outbox.campaign('autumn'), { states: { held: 1 } });
  });
}

import type { Test } from 'tap';
import { ENDED_MEMORY_MS } from '../../../../relay-client/outbox/outbox.ts';
import { audit, contactMe, DAY, dls, hold, HOUR, phone, refuses } from './lab.ts';
import type { MakeLab } from './lab.ts';

export function time(t: Test, makeLab: MakeLab): void {
  t.test('a message expires when its time is over, and not before', async (t) => {
    const { open, clock } = makeLab(t);
    const outbox = await open();
    t.equal(await outbox.nextExpiry(), null, 'nothing held, nothing to wait for');
    const short = await hold(outbox, contactMe(phone(1), { ttl: HOUR }));
    await hold(outbox, contactMe(phone(2), { ttl: DAY }));
    t.equal(await outbox.nextExpiry(), HOUR);
    clock.advance(HOUR - 1);
    t.same(await outbox.expire(), []);
    t.equal((await outbox.message(short.id))?.expiresIn, 1);
    clock.advance(1);
    t.equal(await outbox.nextExpiry(), 0);
    t.match(await outbox.expire(), [
      { id: short.id, state: 'expired', endedBy: 'time', endedAt: clock.wall() },
    ]);
    t.equal(await outbox.nextExpiry(), DAY - HOUR);
    t.match(await audit(t, outbox), { held: 1, ended: { expired: 1 } });
  });

  t.test('expiry takes ten thousand at a time', async (t) => {
    const { open, clock } = makeLab(t);
    const outbox = await open();
    const pushes = Array.from({ length: 10_100 }, (_, i) => contactMe(phone(i), { ttl: HOUR }));
    await outbox.pushMany(pushes);
    clock.advance(HOUR);
    t.equal((await outbox.expire()).length, 10_000);
    t.equal(await outbox.nextExpiry(), 0);
    t.equal((await outbox.expire()).length, 100);
    t.match(await audit(t, outbox), { held: 0, ended: { expired: 10_100 } });
  });

  t.test('a wall clock that jumps while we run moves no expiry', async (t) => {
    const { open, clock } = makeLab(t);
    const outbox = await open();
    const { id } = await hold(outbox, contactMe(phone(1), { ttl: HOUR, delay: 1000 }));
    clock.jumpWall(365 * DAY);
    t.match(await outbox.message(id), { dueIn: 1000, expiresIn: HOUR });
    t.same(await outbox.expire(), []);
    clock.jumpWall(-2 * 365 * DAY);
    clock.advance(HOUR / 2);
    t.match(await outbox.message(id), { dueIn: 0, expiresIn: HOUR / 2 });
    clock.advance(HOUR / 2);
    t.equal((await outbox.expire()).length, 1);
  });

  t.test('the time between two runs counts, by wall clock', async (t) => {
    const { open, clock } = makeLab(t);
    let outbox = await open();
    const { id } = await hold(outbox, contactMe(phone(1), { ttl: DAY }));
    clock.advance(HOUR);
    await outbox.close();
    clock.advance(HOUR);
    outbox = await open();
    t.equal((await outbox.message(id))?.expiresIn, 22 * HOUR);
  });

  t.test('a wall clock set back between two runs gives no time back', async (t) => {
    const { open, clock } = makeLab(t);
    let outbox = await open();
    const { id } = await hold(outbox, contactMe(phone(1), { ttl: DAY }));
    clock.advance(HOUR);
    await outbox.close();
    clock.jumpWall(-10 * DAY);
    outbox = await open();
    t.equal((await outbox.message(id))?.expiresIn, 23 * HOUR);
    clock.advance(HOUR);
    t.equal((await outbox.message(id))?.expiresIn, 22 * HOUR);
  });

  t.test('a clock that had never been set ends nothing when it is set between two runs', async (t) => {
    const { open, clock } = makeLab(t);
    const right = clock.wall();
    clock.jumpWall(-right);
    let outbox = await open();
    const { id } = await hold(outbox, contactMe(phone(1), { ttl: DAY }));
    clock.advance(HOUR);
    await outbox.close();
    clock.advance(HOUR);
    clock.jumpWall(right);
    outbox = await open();
    t.equal((await outbox.message(id))?.expiresIn, 23 * HOUR, 'how long the stop was, nobody knows');
    await outbox.close();
    clock.advance(HOUR);
    outbox = await open();
    t.equal((await outbox.message(id))?.expiresIn, 22 * HOUR, 'the next one is known');
  });

  t.test('a clock that is wrong for a whole run, and right again, takes and gives no time', async (t) => {
    for (const back of [10 * DAY, 50 * 365 * DAY]) {
      const { open, clock } = makeLab(t);
      let outbox = await open();
      const { id } = await hold(outbox, contactMe(phone(1), { ttl: 7 * DAY }));
      await outbox.close();
      clock.jumpWall(-back);
      outbox = await open();
      clock.advance(DAY);
      const second = await hold(outbox, contactMe(phone(2), { ttl: 7 * DAY }));
      await outbox.close();
      clock.jumpWall(back);
      clock.advance(DAY);
      outbox = await open();
      t.equal((await outbox.message(id))?.expiresIn, 5 * DAY, 'it has lived for two days');
      t.equal((await outbox.message(second.id))?.expiresIn, 6 * DAY, 'it has lived for one');
    }
  });

  for (const [how, jumps] of Object.entries({
    'ahead, and then right': [30 * DAY, -30 * DAY],
    'behind, and then right': [-30 * DAY, 30 * DAY],
    'right from the beginning of 1970 on': [-Date.UTC(2026, 0, 5, 8), Date.UTC(2026, 0, 5, 8)],
  })) {
    t.test(`a clock that is ${how} while we run, moves no expiry at the next start`, async (t) => {
      const { open, clock } = makeLab(t);
      clock.jumpWall(Math.min(0, jumps[0] as number));
      let outbox = await open();
      const { id } = await hold(outbox, contactMe(phone(1), { ttl: DAY }));
      clock.jumpWall(Math.max(0, jumps[0] as number));
      await hold(outbox, contactMe(phone(2)));
      clock.advance(HOUR);
      clock.jumpWall(jumps[1] as number);
      clock.advance(HOUR);
      await outbox.close();
      outbox = await open();
      t.equal((await outbox.message(id))?.expiresIn, 22 * HOUR);
      t.same(await outbox.expire(), []);
    });
  }

  t.test(
    'an ended message can be looked up for a week, then it is forgotten, though still counted',
    async (t) => {
      const { open, clock } = makeLab(t);
      const outbox = await open();
      const { id } = await hold(outbox, contactMe(phone(1)));
      await outbox.end(id, { state: 'cleared', by: 'session' });
      const dead = await hold(outbox, dls(phone(2), '[]'));
      await outbox.fruitless(phone(2), 1, 1);
      clock.advance(ENDED_MEMORY_MS - 1);
      await outbox.expire();
      t.match(await outbox.message(id), { state: 'cleared' });
      clock.advance(1);
      await outbox.expire();
      t.equal(await outbox.message(id), null);
      t.same(await outbox.messages(phone(1), 10), []);
      await refuses(t, outbox.redrive(dead.id), 'NOT_FOUND');
      t.match(await outbox.device(phone(2)), { generation: 1, pending: 0, dead: 0 });
      t.match(await audit(t, outbox), { devices: 2, accepted: 2, held: 0, ended: { cleared: 1, dead: 1 } });
      t.equal((await hold(outbox, contactMe(phone(1)))).generation, 2, 'its device keeps its generation');
    },
  );
}

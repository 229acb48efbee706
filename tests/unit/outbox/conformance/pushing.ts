import type { Test } from 'tap';
import { isSallyportError } from '../../../../shared/errors.ts';
import type { Accepted } from '../../../../relay-client/outbox/outbox.ts';
import { audit, contactMe, DAY, dls, hold, HOUR, phone, refuses } from './lab.ts';
import type { MakeLab } from './lab.ts';

export function pushing(t: Test, makeLab: MakeLab): void {
  t.test('a push is held, with the next generation of its device', async (t) => {
    const { open, clock } = makeLab(t);
    const outbox = await open();
    const first = await outbox.push(contactMe(phone(1), { delay: HOUR, campaign: 'spring' }));
    t.same(first, {
      known: false,
      message: {
        id: first.message.id,
        device: phone(1),
        kind: 'contact-me',
        generation: 1,
        state: 'held',
        key: null,
        campaign: 'spring',
        actions: null,
        results: null,
        awaitedFor: null,
        parked: false,
        failed: false,
        acceptedAt: clock.wall(),
        endedAt: null,
        endedBy: null,
        dueIn: HOUR,
        expiresIn: 7 * DAY,
        fruitlessSessions: 0,
      },
    });
    t.match(first.message.id, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    t.equal((await hold(outbox, dls(phone(1), '[]'))).generation, 2);
    t.equal((await hold(outbox, contactMe(phone(2)))).generation, 1, 'each device counts for itself');
    t.same(await outbox.message(first.message.id), first.message);
    await audit(t, outbox);
  });

  t.test('generations go on growing after all messages of a device ended, and after a restart', async (t) => {
    const { open } = makeLab(t);
    let outbox = await open();
    await hold(outbox, contactMe(phone(1)));
    await outbox.clear(phone(1), { state: 'cleared', by: 'session' });
    t.equal((await hold(outbox, contactMe(phone(1)))).generation, 2);
    await outbox.clear(phone(1), { state: 'cleared', by: 'session' });
    await outbox.close();
    outbox = await open();
    t.equal((await hold(outbox, contactMe(phone(1)))).generation, 3);
  });

  t.test('a newer contact-me supersedes the one that is held, and nothing else', async (t) => {
    const outbox = await makeLab(t).open();
    const old = await hold(outbox, contactMe(phone(1)));
    const work = await hold(outbox, dls(phone(1), '[1]'));
    const other = await hold(outbox, contactMe(phone(2)));
    const fresh = await hold(outbox, contactMe(phone(1)));
    t.match(await outbox.message(old.id), { state: 'superseded', endedBy: 'newer push', generation: 1 });
    for (const { id } of [work, other, fresh]) t.match(await outbox.message(id), { state: 'held' });
    t.match(await audit(t, outbox), { accepted: 4, held: 3, ended: { superseded: 1 } });
  });

  t.test('actions pile up, until one is pushed to replace them', async (t) => {
    const outbox = await makeLab(t).open();
    await hold(outbox, dls(phone(1), '[1]'));
    await hold(outbox, dls(phone(1), '[2]'));
    await hold(outbox, contactMe(phone(1)));
    t.equal((await outbox.device(phone(1)))?.pending, 3);
    await hold(outbox, dls(phone(1), '[3]', { replace: true }));
    const messages = await outbox.messages(phone(1), 10);
    t.same(
      messages.map(({ kind, state, generation }) => [kind, state, generation]),
      [
        ['dls', 'held', 4],
        ['contact-me', 'held', 3],
        ['dls', 'superseded', 2],
        ['dls', 'superseded', 1],
      ],
    );
  });

  t.test('the same key with the same content gives the same message and changes nothing', async (t) => {
    const outbox = await makeLab(t).open();
    const push = dls(phone(1), '[1]', { key: 'job-1' });
    const first = await outbox.push(push);
    const before = [await outbox.counts(), outbox.sequence()];
    const again = await outbox.push({ ...push, replace: true, campaign: 'other' });
    t.same(again, { message: first.message, known: true });
    t.same([await outbox.counts(), outbox.sequence()], before);
    t.equal((await outbox.push({ ...push, device: phone(2) })).known, false, 'a key is one device’s own');
  });

  t.test('the same key with other content is refused', async (t) => {
    const outbox = await makeLab(t).open();
    const push = dls(phone(1), '[1]', { key: 'job-1' });
    await outbox.push(push);
    const { key, ...bare } = contactMe(phone(1), { key: 'job-1' });
    const others = [
      { ...push, actions: '[2]' },
      { ...push, ttl: DAY },
      { ...push, delay: 1 },
    ];
    for (const other of [...others, { ...bare, key: String(key) }]) {
      await refuses(t, outbox.push(other), 'KEY_REUSED', /job-1.*00:1a:e8:00:00:01/);
    }
    t.equal((await outbox.counts()).accepted, 1);
  });

  t.test('a caller may say by himself what his key stands for', async (t) => {
    const outbox = await makeLab(t).open();
    const push = dls(phone(1), '[1]', { key: 'job-1', content: 'on Monday' });
    const first = await hold(outbox, push);
    t.match(await outbox.push({ ...push, delay: 1, ttl: DAY }), { known: true, message: { id: first.id } });
    await refuses(t, outbox.push({ ...push, content: 'on Tuesday' }), 'KEY_REUSED');
    await refuses(t, outbox.push({ ...push, actions: '[2]' }), 'KEY_REUSED');
  });

  t.test('a key is remembered for a day after its message ended, also across a restart', async (t) => {
    const { open, clock } = makeLab(t);
    let outbox = await open();
    const push = dls(phone(1), '[1]', { key: 'job-1' });
    const first = await hold(outbox, push);
    clock.advance(2 * DAY);
    await outbox.end(first.id, { state: 'cleared', by: 'session' });
    await outbox.close();
    clock.advance(DAY - 1);
    outbox = await open();
    const known = await outbox.push(push);
    t.match(known, { known: true, message: { id: first.id, state: 'cleared', actions: null } });
    await refuses(t, outbox.push({ ...push, actions: '[2]' }), 'KEY_REUSED');
    clock.advance(1);
    t.match(await outbox.push({ ...push, actions: '[2]' }), { known: false, message: { generation: 2 } });
  });

  t.test('many pushes are answered in their order, refusals included', async (t) => {
    const outbox = await makeLab(t).open({ perDevice: 2 });
    const pushes = Array.from({ length: 1000 }, (_, i) => dls(phone(i >> 1), String(i)));
    pushes.splice(500, 0, dls(phone(0), 'one too many'));
    pushes.splice(10, 0, contactMe(phone(3), { ttl: 0 }));
    const results = await outbox.pushMany(pushes);
    t.equal(results.length, 1002);
    t.ok(isSallyportError(results[10], 'REQUEST_INVALID'));
    t.ok(isSallyportError(results[501], 'OUTBOX_FULL'));
    results.forEach((result, i) => {
      if (i === 10 || i === 501) return;
      const { message } = result as Accepted;
      if (message.device !== pushes[i]?.device || message.actions !== pushes[i]?.actions) {
        t.fail(`result ${i} belongs to another push`);
      }
    });
    t.match(await audit(t, outbox), { accepted: 1000, held: 1000 });
    t.same(await outbox.pushMany([]), []);
  });

  t.test('operations take effect in the order in which they were begun', async (t) => {
    const outbox = await makeLab(t).open();
    const [a, cleared, b, known, gone] = await Promise.all([
      outbox.push(dls(phone(1), '[1]', { key: 'a' })),
      outbox.clear(phone(1), { state: 'cleared', by: 'api' }),
      outbox.push(dls(phone(1), '[2]')),
      outbox.push(dls(phone(1), '[1]', { key: 'a' })),
      outbox.push(dls(phone(1), '[3]', { key: 'a' })).catch((error: unknown) => error),
    ]);
    t.same(
      cleared.map(({ id }) => id),
      [a.message.id],
    );
    t.equal(b.message.generation, 2);
    t.match(known, { known: true, message: { id: a.message.id, state: 'cleared' } });
    t.ok(isSallyportError(gone, 'KEY_REUSED'), 'a refusal spoils nothing beside it');
    t.equal((await outbox.counts()).held, 1);
  });

  t.test('times and names that make no sense are refused', async (t) => {
    const outbox = await makeLab(t).open();
    const bad = [{ ttl: 0 }, { ttl: NaN }, { ttl: Infinity }, { delay: -1 }, { delay: NaN }];
    const names = [{ key: '' }, { key: 'x'.repeat(201) }, { campaign: '' }, { campaign: '\ud800' }];
    for (const more of [...bad, ...names, { actions: '"\ud800"' }]) {
      await refuses(t, outbox.push(contactMe(phone(1), more)), 'REQUEST_INVALID', /must be|half a character/);
    }
    t.equal((await outbox.counts()).accepted, 0);
  });
}

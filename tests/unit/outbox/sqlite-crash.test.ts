import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { audit, contactMe, dls, hold, phone, refuses } from './conformance/lab.ts';
import { mountSmallDisk, noMounting } from '../../fixtures/small-disk.ts';
import { acceptedBy, openAt, startPusher } from './sqlite-lab.ts';

const KILLS = 5;
const ACCEPTED_BEFORE_KILL = [1, 40, 150, 300, 600];

t.test('what was acknowledged is found after the process was killed, however often', async (t) => {
  const path = t.testdir();
  const acknowledged: string[] = [];
  for (let kill = 0; kill < KILLS; kill++) {
    const pusher = startPusher(t, path);
    let enough = ACCEPTED_BEFORE_KILL[kill] ?? 1;
    await pusher.said((line) => line.startsWith('accepted') && --enough <= 0);
    pusher.child.kill('SIGKILL');
    await pusher.ended;
    acknowledged.push(...acceptedBy(pusher));
    const outbox = await openAt(t, path);
    const states = await Promise.all(acknowledged.map(async (id) => (await outbox.message(id))?.state));
    t.equal(states.filter((state) => state !== 'held').length, 0, `none of ${states.length} is missing`);
    const counts = await audit(t, outbox);
    t.ok(counts.accepted >= acknowledged.length);
    const found = await outbox.changes(0, 10_000);
    t.equal(found?.changes.length, counts.accepted, 'each has its place in the history');
    await outbox.close();
  }
});

t.test('a disk that fails under a commit is fatal: it is said, and nothing more is accepted', async (t) => {
  const path = t.testdir();
  // A limit on the size of files makes write(2) fail with EFBIG, which is no lack of room.
  const pusher = startPusher(t, path, ['4', '20000'], ['sh', '-c', 'ulimit -f 2000; exec "$@"', 'sh']);
  await pusher.ended;
  const fatal = pusher.lines.indexOf('fatal OUTBOX_STORAGE');
  t.ok(fatal > 0, 'it is said', { lines: pusher.lines.slice(-5) });
  t.same(
    pusher.lines.slice(fatal + 1),
    ['refused OUTBOX_STORAGE', 'refused OUTBOX_STORAGE', 'refused OUTBOX_STORAGE', 'refused OUTBOX_STORAGE'],
    'and every caller hears of it',
  );
  const outbox = await openAt(t, path);
  for (const id of acceptedBy(pusher)) t.match(await outbox.message(id), { state: 'held' });
  await audit(t, outbox);
});

t.test(
  'a full disk refuses the push, changes nothing, and is over when there is room',
  { skip: noMounting },
  async (t) => {
    const disk = mountSmallDisk(t, 'size=4m');
    const path = join(disk, 'outbox');
    const filler = join(disk, 'filler');
    mkdirSync(path);
    const outbox = await openAt(t, path);
    const first = await hold(outbox, dls(phone(1), '[]'));

    writeFileSync(filler, Buffer.alloc(2 ** 20));
    const actions = JSON.stringify('x'.repeat(50_000));
    const accepted = [first.id];
    let refused = 0;
    for (let n = 2; n < 200 && refused < 3; n++) {
      const before = [await outbox.counts(), outbox.sequence()];
      const push = outbox.push(dls(phone(n), actions));
      const pushed = await push.catch(() => null);
      if (pushed !== null) {
        accepted.push(pushed.message.id);
        continue;
      }
      refused++;
      await refuses(t, push, 'OUTBOX_STORAGE', /no room on its disk/);
      t.same([await outbox.counts(), outbox.sequence()], before, 'nothing was changed');
    }
    t.equal(refused, 3, `refused after ${accepted.length}`);
    const many = await outbox.pushMany([dls(phone(300), actions), dls(phone(301), actions)]);
    t.ok(many.every((result) => result instanceof Error));
    t.match(await outbox.message(first.id), { state: 'held' }, 'reading goes on');

    rmSync(filler);
    for (let n = 400; n < 405; n++) accepted.push((await hold(outbox, contactMe(phone(n)))).id);
    t.equal((await audit(t, outbox)).accepted, accepted.length);
    await outbox.close();
    const again = await openAt(t, path);
    for (const id of accepted) t.match(await again.message(id), { state: 'held' });
    await again.close();
  },
);

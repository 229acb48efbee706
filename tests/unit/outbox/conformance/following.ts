import type { Test } from 'tap';
import type {
  Accepted,
  Change,
  Outbox,
  PendingEntry,
  Sequence,
} from '../../../../relay-client/outbox/outbox.ts';
import { contactMe, DAY, dls, hold, HOUR, phone, refuses } from './lab.ts';
import type { MakeLab } from './lab.ts';

const SESSION = { state: 'cleared', by: 'session' } as const;

/** What a proxy does with changes: an entry is replaced by a newer generation only, and ended by its own or a newer. */
function apply(copy: Map<string, number>, changes: Change[]): void {
  for (const change of changes) {
    const held = copy.get(change.id) ?? 0;
    if (change.op === 'hold' && change.generation >= held) copy.set(change.id, change.generation);
    if (change.op === 'end' && change.generation >= held) copy.delete(change.id);
  }
}

async function follow(
  outbox: Outbox,
  copy: Map<string, number>,
  after: Sequence,
  limit: number,
): Promise<Sequence> {
  for (let seq = after; ;) {
    const found = await outbox.changes(seq, limit);
    if (found === null) throw new Error(`changes after ${seq} are no longer kept`);
    apply(copy, found.changes);
    if (found.seq === seq) return seq;
    seq = found.seq;
  }
}

async function all(outbox: Outbox, limit: number): Promise<{ entries: PendingEntry[]; seqs: Set<Sequence> }> {
  const entries: PendingEntry[] = [];
  const seqs = new Set<Sequence>();
  for await (const part of outbox.snapshot(limit)) {
    entries.push(...part.entries);
    seqs.add(part.seq);
  }
  return { entries, seqs };
}

const generations = (entries: PendingEntry[]) =>
  new Map(entries.map(({ id, generation }) => [id, generation]));

export function following(t: Test, makeLab: MakeLab): void {
  t.test('changes come in order, with what a proxy needs to know', async (t) => {
    const { open, clock } = makeLab(t);
    const outbox = await open();
    const { id } = await hold(outbox, contactMe(phone(1), { ttl: DAY, delay: HOUR }));
    outbox.note(phone(1), 'start-up');
    // A note rides along with the next call that the store itself has to answer.
    await outbox.counts();
    clock.advance(1000);
    t.same(await outbox.changes(0, 10), {
      seq: 2,
      changes: [
        {
          op: 'hold',
          seq: 1,
          id,
          device: phone(1),
          kind: 'contact-me',
          generation: 1,
          dueIn: HOUR - 1000,
          expiresIn: DAY - 1000,
        },
      ],
    });
    t.equal(outbox.sequence(), 2);
    await outbox.end(id, SESSION);
    t.same(await outbox.changes(2, 10), {
      seq: 3,
      changes: [{ op: 'end', seq: 3, id, device: phone(1), generation: 1 }],
    });
    t.same(await outbox.changes(3, 10), { seq: 3, changes: [] });
  });

  t.test('what ended since is not offered for a moment', async (t) => {
    const outbox = await makeLab(t).open();
    const { id } = await hold(outbox, dls(phone(1), '[]'));
    await outbox.fruitless(phone(1), 1, 1);
    await outbox.redrive(id);
    const found = await outbox.changes(0, 10);
    t.match(found?.changes, [
      { op: 'end', generation: 1 },
      { op: 'hold', generation: 2 },
    ]);
    t.equal(found?.changes.length, 2);
  });

  t.test('a newer contact-me is held before the older one ends', async (t) => {
    const outbox = await makeLab(t).open();
    await hold(outbox, contactMe(phone(1)));
    await hold(outbox, contactMe(phone(1)));
    t.match((await outbox.changes(1, 10))?.changes, [
      { op: 'hold', generation: 2, seq: 2 },
      { op: 'end', generation: 1, seq: 3 },
    ]);
  });

  t.test('changes that are no longer kept, or that never were, need a snapshot', async (t) => {
    const outbox = await makeLab(t).open({ history: 3 });
    for (let n = 1; n <= 5; n++) await hold(outbox, contactMe(phone(n)));
    t.equal(await outbox.changes(1, 10), null);
    t.equal((await outbox.changes(2, 10))?.changes.length, 3);
    t.equal(await outbox.changes(6, 10), null, 'a proxy from the future');
  });

  t.test('a snapshot holds everything held, in parts, as of one sequence', async (t) => {
    const outbox = await makeLab(t).open();
    const empty = await all(outbox, 10);
    t.same([empty.entries, [...empty.seqs]], [[], [0]], 'also an empty one says as of when');
    const results = await outbox.pushMany(Array.from({ length: 25 }, (_, n) => contactMe(phone(n))));
    await outbox.clear(phone(7), SESSION);
    const { entries, seqs } = await all(outbox, 10);
    t.same([...seqs], [26]);
    t.equal(entries.length, 24);
    t.equal(new Set(entries.map(({ id }) => id)).size, 24);
    t.notOk(entries.some(({ device }) => device === phone(7)));
    const [first] = results as Accepted[];
    t.match(entries[0], {
      id: first?.message.id,
      kind: 'contact-me',
      generation: 1,
      dueIn: 0,
      expiresIn: 7 * DAY,
    });
  });

  t.test('a snapshot taken while messages come and go is made right by the changes after it', async (t) => {
    const { open, clock } = makeLab(t);
    const outbox = await open();
    await outbox.pushMany(Array.from({ length: 40 }, (_, n) => dls(phone(n), '[]', { ttl: (n + 1) * HOUR })));
    const copy = new Map<string, number>();
    let since: Sequence | null = null;
    let step = 0;
    for await (const { seq, entries } of outbox.snapshot(7)) {
      since ??= seq;
      t.equal(seq, since);
      for (const { id, generation } of entries) copy.set(id, generation);
      await outbox.clear(phone(step), SESSION);
      await outbox.clear(phone(39 - step), SESSION);
      const [dead] = await outbox.fruitless(phone(15 + step), 99, 1);
      if (dead !== undefined) await outbox.redrive(dead.id);
      await hold(outbox, dls(phone(100 + step), '[]', { ttl: HOUR }));
      clock.advance(HOUR);
      await outbox.expire();
      step++;
    }
    await follow(outbox, copy, since ?? 0, 5);
    t.same(copy, generations((await all(outbox, 1000)).entries));
    t.ok(copy.size > 20);
  });

  t.test('listeners hear of each commit that changed something, until they stop', async (t) => {
    const outbox = await makeLab(t).open();
    const heard: Sequence[] = [];
    const stop = outbox.onCommit((seq) => {
      heard.push(seq);
      t.equal(outbox.sequence(), seq);
    });
    await hold(outbox, contactMe(phone(1)));
    await outbox.counts();
    await outbox.clear(phone(9), SESSION);
    await hold(outbox, contactMe(phone(1)));
    t.same(heard, [1, 3]);
    stop();
    await hold(outbox, contactMe(phone(1)));
    t.same(heard, [1, 3]);
  });

  t.test('an incarnation lasts until it is renewed, also across restarts', async (t) => {
    const { open } = makeLab(t);
    let outbox = await open();
    const first = outbox.incarnation;
    t.match(first, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    await hold(outbox, contactMe(phone(1)));
    await outbox.close();
    outbox = await open();
    t.equal(outbox.incarnation, first);
    const second = await outbox.renew();
    t.not(second, first);
    t.equal(outbox.incarnation, second);
    await outbox.close();
    outbox = await open();
    t.equal(outbox.incarnation, second);
    t.match(await outbox.device(phone(1)), { pending: 1, generation: 1 });
  });

  t.test('closing waits for what was begun; afterwards everything is refused as closed', async (t) => {
    const { open } = makeLab(t);
    let outbox = await open();
    const begun = [1, 2, 3].map((n) => outbox.push(contactMe(phone(n))));
    outbox.note(phone(1), 'start-up');
    const parts = outbox.snapshot(1)[Symbol.asyncIterator]();
    await outbox.close();
    for (const push of begun) t.match(await push, { known: false });
    await refuses(t, outbox.push(contactMe(phone(4))), 'CLOSED');
    await refuses(t, outbox.pushMany([contactMe(phone(4))]), 'CLOSED');
    await refuses(t, outbox.counts(), 'CLOSED');
    await refuses(t, parts.next(), 'CLOSED');
    outbox.note(phone(4), 'start-up');
    await outbox.close();
    outbox = await open();
    t.match(await outbox.counts(), { accepted: 3, devices: 3 });
    t.equal((await outbox.recentHistory(phone(1), 1))[0]?.event, 'note');
  });
}

import fc from 'fast-check';
import t from 'tap';
import type { Change } from '../../../relay-client/outbox/outbox.ts';
import { createRecentChanges } from '../../../relay-client/outbox/recent-changes.ts';
import type { RecordedChange } from '../../../relay-client/outbox/recent-changes.ts';
import type { DeviceId } from '../../../shared/device-id.ts';

const DEVICE = '00:1a:e8:00:00:01' as DeviceId;
const hold = (seq: number, id: string, generation = 1, dueAt = 0): RecordedChange => ({
  ...{ op: 'hold', seq, id, device: DEVICE, kind: 'contact-me', generation, dueAt, expiresAt: 1_000 },
});
const end = (seq: number, id: string, generation = 1): RecordedChange => ({
  ...{ op: 'end', seq, id, device: DEVICE, generation },
});

t.test(
  'changes are told as they are now: times from now on, nothing held that has ended since',
  async (t) => {
    const recent = createRecentChanges(0, 1_000);
    recent.add(3, [hold(1, 'a', 1, 500), hold(2, 'b'), end(3, 'b')]);
    t.same(recent.read(0, 10, { seq: 3, at: 400 }), {
      seq: 3,
      changes: [
        {
          ...{ op: 'hold', seq: 1, id: 'a', device: DEVICE, kind: 'contact-me', generation: 1 },
          ...{ dueIn: 100, expiresIn: 600 },
        },
        { op: 'end', seq: 3, id: 'b', device: DEVICE, generation: 1 },
      ],
    });
    recent.add(4, [hold(4, 'a', 1, 900)]);
    const due = recent
      .read(0, 10, { seq: 4, at: 400 })
      ?.changes.map((change) => 'dueIn' in change && change.dueIn);
    t.same(due, [500, false, 500], 'a later time counts for the earlier entry, too');
    recent.add(6, [hold(6, 'b', 2)]);
    t.match(recent.read(4, 10, { seq: 6, at: 0 }), {
      seq: 6,
      changes: [{ op: 'hold', id: 'b', generation: 2 }],
    });
  },
);

t.test('a part ends where it is full, and begins again behind that', async (t) => {
  const recent = createRecentChanges(0, 1_000);
  recent.add(9, [hold(2, 'a'), hold(5, 'b'), hold(7, 'c')]);
  t.match(recent.read(0, 2, { seq: 9, at: 0 }), { seq: 5, changes: { length: 2 } });
  t.match(
    recent.read(5, 2, { seq: 9, at: 0 }),
    { seq: 9, changes: { length: 1 } },
    'the last part reaches the end',
  );
  t.same(recent.read(9, 2, { seq: 9, at: 0 }), { seq: 9, changes: [] });
});

t.test('the store is asked for what is not kept here', async (t) => {
  const recent = createRecentChanges(10, 1_000);
  t.equal(recent.read(9, 5, { seq: 10, at: 0 }), null, 'before the opening');
  t.equal(recent.read(11, 5, { seq: 10, at: 0 }), null, 'of the future');
  t.equal(recent.read(10, 5, { seq: 12, at: 0 }), null, 'a carrier that tells nothing of its commits');
  const many = Array.from({ length: 20_000 }, (_, i) => hold(11 + i, `m${i}`));
  for (const change of many) recent.add(change.seq, [change]);
  const newest = { seq: 20_010, at: 0 };
  t.equal(recent.read(10, 5, newest), null, 'older than what is kept');
  t.equal(recent.read(newest.seq - 1_001, 5, newest), null, 'older than the history');
  t.match(recent.read(newest.seq - 1_000, 5, newest), { changes: { length: 5 } });
});

t.test('nothing is told from here that spans changes of which nothing was told', async (t) => {
  const recent = createRecentChanges(0, 1_000);
  recent.add(2, [hold(1, 'a'), hold(2, 'b')]);
  recent.skip(5);
  t.equal(recent.read(2, 10, { seq: 5, at: 0 }), null, 'they are the store’s to tell');
  recent.add(6, [hold(6, 'c')]);
  t.equal(recent.read(4, 10, { seq: 6, at: 0 }), null);
  t.match(recent.read(5, 10, { seq: 6, at: 0 }), { seq: 6, changes: [{ id: 'c' }] });
});

/** What is held after these changes, by message: its generation and when it is due. */
function held(changes: readonly Change[]): Map<string, string> {
  const found = new Map<string, string>();
  for (const change of changes) {
    if (change.op === 'hold') found.set(change.id, `${change.generation} ${change.dueIn}`);
    else if (Number(found.get(change.id)?.split(' ')[0] ?? 0) <= change.generation) found.delete(change.id);
  }
  return found;
}

t.test('whoever follows in parts of any size comes to hold what is held', async (t) => {
  const step = fc.record({
    id: fc.integer({ min: 0, max: 5 }),
    what: fc.constantFrom('hold', 'defer', 'end'),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), fc.integer({ min: 1, max: 7 }), (steps, limit) => {
      const recent = createRecentChanges(0, 1_000);
      const truth = new Map<string, { generation: number; dueAt: number }>();
      const generations = new Map<string, number>();
      let seq = 0;
      for (const { id: n, what } of steps) {
        const id = `m${n}`;
        const now = truth.get(id);
        if (what === 'hold' && now === undefined) {
          const generation = (generations.get(id) ?? 0) + 1;
          generations.set(id, generation);
          truth.set(id, { generation, dueAt: seq });
        } else if (what === 'defer' && now !== undefined) now.dueAt += 10;
        else if (what === 'end' && now !== undefined) truth.delete(id);
        else continue;
        const after = truth.get(id);
        seq += 1;
        const change =
          after === undefined
            ? end(seq, id, generations.get(id))
            : hold(seq, id, after.generation, after.dueAt);
        recent.add(seq, [change]);
      }
      const told: Change[] = [];
      for (let after = 0; after < seq;) {
        const part = recent.read(after, limit, { seq, at: 0 });
        if (part === null || part.seq <= after) throw new Error(`nothing after ${after} of ${seq}`);
        told.push(...part.changes);
        after = part.seq;
      }
      const wanted = new Map([...truth].map(([id, { generation, dueAt }]) => [id, `${generation} ${dueAt}`]));
      t.same(held(told), wanted);
    }),
    { numRuns: 200 },
  );
});

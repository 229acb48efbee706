import fc from 'fast-check';
import t from 'tap';
import { createJob } from '../../../relay-client/courier/job.ts';
import type { HeldAction } from '../../../relay-client/courier/actions.ts';
import { COURIER_LIMITS } from '../../../relay-client/courier/limits.ts';
import { createByteBudget } from '../../../relay-client/services/limits.ts';
import type { PhoneMessage, WpiItem } from '../../../shared/wpi/message.ts';
import { readServiceMessage } from '../../../shared/wpi/read.ts';

const SECRETS = { isSecret: () => false, secretResults: 'withhold' } as const;
const unlimited = () => createByteBudget(Infinity);

const item = (name: string, more: Partial<WpiItem> = {}): WpiItem => ({
  name,
  index: null,
  status: null,
  value: '',
  ...more,
});
const reply = (items: WpiItem[], more: Partial<PhoneMessage> = {}): PhoneMessage => ({
  nonce: 'N',
  maxItems: null,
  fragment: 'final',
  reason: 'reply-to',
  action: null,
  status: 'accepted',
  items,
  ...more,
});
const actionOf = (document: Buffer): string => {
  const read = readServiceMessage(document);
  return 'action' in read ? read.action : read.unreadable;
};

t.test('however a reply is cut into parts, it is joined to the same', async () => {
  const value = fc.string({ unit: 'grapheme-ascii', maxLength: 20 });
  const items = fc.uniqueArray(
    fc.record({ name: fc.stringMatching(/^[a-z]{1,8}$/), index: fc.nat(9), value }),
    { maxLength: 60, selector: ({ name, index }) => `${name}:${index}` },
  );
  fc.assert(
    fc.property(items, fc.array(fc.nat(60), { maxLength: 6 }), (given, cuts) => {
      const all = given.map(({ name, index, value }) => item(name, { index: String(index), value }));
      const job = createJob({ action: 'ReadAllItems', items: [] }, null, SECRETS, unlimited());
      const places = [
        0,
        ...cuts.map((cut) => Math.min(cut, all.length)).toSorted((a, b) => a - b),
        all.length,
      ];
      if (actionOf(job.document('N')) !== 'ReadAllItems') throw new Error('another action');
      for (let i = 0; i + 1 < places.length; i++) {
        const last = i + 2 === places.length;
        const part = reply(all.slice(places[i], places[i + 1]), { fragment: last ? 'final' : 'next' });
        if (job.take(part) !== last) throw new Error('it ended too early or too late');
        if (!last && actionOf(job.document('N')) !== 'GetNextFragment') throw new Error('not the next part');
      }
      const result = job.result(7);
      const found = result.items.map(({ name, index, value }) => [name, index, value]);
      const expected = all.map(({ name, index, value }) => [name, index, value]);
      if (JSON.stringify(found) !== JSON.stringify(expected)) throw new Error('other items');
      if (result.truncated === true || result.status !== 'accepted') throw new Error('another result');
    }),
  );
});

const WRITE: HeldAction = {
  action: 'WriteItems',
  items: ['a', 'b', 'c'].map((name) => ({ name, value: 'x' })),
};

t.test(
  'a reply that is too long keeps no document from being sent, and leaves no item for accepted',
  async (t) => {
    const job = createJob(WRITE, 1, SECRETS, createByteBudget(10));
    const refused = [item('a', { status: 'read only' }), item('zzzzzzzzzz')];
    job.document('N');
    t.notOk(job.take(reply(refused)));
    job.document('N');
    t.notOk(job.take(reply([item('b', { status: 'read only' })])));
    job.document('N');
    t.ok(job.take(reply([])));
    t.match(job.result(0), {
      truncated: true,
      items: [
        { name: 'a', status: 'read only' },
        { name: 'b', status: 'missing' },
        { name: 'c', status: 'missing' },
      ],
    });
  },
);

t.test('what replies take of the budget is given back', async (t) => {
  const budget = createByteBudget(100);
  const read: HeldAction = { action: 'ReadItems', items: [{ name: 'a' }] };
  const jobs = [1, 2].map(() => createJob(read, null, SECRETS, budget));
  for (const job of jobs) {
    job.document('N');
    job.take(reply([item('a', { value: 'x'.repeat(60) })]));
  }
  t.equal(budget.taken(), 61);
  t.strictSame(
    jobs.map((job) => job.result(0).truncated ?? false),
    [false, true],
  );
  for (const job of jobs) job.release();
  for (const job of jobs) job.release();
  t.equal(budget.taken(), 0);
});

t.test('parts without end are given up', async (t) => {
  const job = createJob({ action: 'ReadAllItems', items: [] }, null, SECRETS, unlimited());
  job.document('N');
  let asked = 1;
  while (!job.take(reply([item('a')], { fragment: 'next' }))) asked += 1;
  t.equal(asked, COURIER_LIMITS.fragments);
  t.match(job.result(0), { truncated: true, status: 'accepted' });
});

t.test('a refused document is failed, its items too, and the others as they are', async (t) => {
  const job = createJob(WRITE, 2, SECRETS, unlimited());
  job.document('N');
  t.notOk(job.take(reply([], { status: 'failed' })));
  job.document('N');
  t.ok(job.take(reply([])));
  t.match(job.result(0), {
    status: 'failed',
    why: 'the phone replied failed',
    items: [{ status: 'failed' }, { status: 'failed' }, { status: 'accepted' }],
  });
});

t.test('odd words of a phone stay out of results', async (t) => {
  const job = createJob(WRITE, null, SECRETS, unlimited());
  job.document('N');
  job.take(
    reply([
      item('A', { status: 'read only' }),
      item('b', { status: '<script>' }),
      item('c', { index: '4', status: 'failed' }),
    ]),
  );
  t.match(job.result(0).items, [
    { name: 'a', status: 'read only' },
    { name: 'b', status: 'odd status' },
    { name: 'c', status: 'accepted' },
  ]);
});

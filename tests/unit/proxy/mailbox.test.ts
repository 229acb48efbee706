import fc from 'fast-check';
import t from 'tap';
import { createMailbox } from '../../../proxy/mailbox.ts';
import type { HeldChange, HeldEntry } from '../../../shared/protocol.ts';
import { createFakeClock } from '../../fixtures/fake-clock.ts';
import { createMailboxMarks } from '../../fixtures/mailbox-marks.ts';

const DEVICE = '00:1a:e8:00:00:01';
const OTHER = '00:1a:e8:00:00:02';

const entry = (id: string, more: Partial<HeldEntry> = {}): HeldEntry => ({
  id,
  device: DEVICE,
  kind: 'contact-me',
  generation: 1,
  dueIn: 0,
  expiresIn: 60_000,
  ...more,
});
const whole = { incarnation: 'i', first: true, last: true };

function start(limit = 100) {
  const clock = createFakeClock();
  const into = createMailboxMarks();
  const { marks, reserved, written } = into;
  const mailbox = createMailbox({ clock, marks: into, limit });
  const offered = (device: string = DEVICE): boolean => {
    const mark = marks.get(device);
    const now = clock.monotonic();
    return mark !== undefined && mark.pending && mark.notBefore <= now && now < mark.expiry;
  };
  /** At which of the next seconds the device is offered. */
  const offeredSeconds = (seconds: number): number[] => {
    const found: number[] = [];
    for (let second = 0; second < seconds; second++) {
      if (offered()) found.push(second);
      clock.advance(1_000);
      mailbox.tick();
    }
    return found;
  };
  return { clock, marks, mailbox, offered, offeredSeconds, reserved, written };
}

const span = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, i) => from + i);

t.test('a message is offered from when it is due until it expires', async (t) => {
  const { mailbox, offeredSeconds } = start();
  mailbox.snapshot({ ...whole, seq: 1, entries: [entry('a', { dueIn: 5_000, expiresIn: 12_000 })] });
  t.same(offeredSeconds(20), span(5, 12));
});

t.test('what is due is offered at once, also in the middle of a millisecond', async (t) => {
  const { clock, mailbox, offered } = start();
  clock.advance(0.25);
  mailbox.snapshot({ ...whole, seq: 1, entries: [entry('a')] });
  t.ok(offered(), 'by a snapshot');
  const held: HeldChange = { op: 'hold', ...entry('b', { device: OTHER }) };
  t.equal(mailbox.changes(2, [held]), null);
  t.ok(offered(OTHER), 'by a change');
});

t.test('of several messages each is offered in its own time', async (t) => {
  const { mailbox, offeredSeconds } = start();
  mailbox.snapshot({
    ...whole,
    seq: 1,
    entries: [
      entry('late', { dueIn: 30_000, expiresIn: 40_000 }),
      entry('first', { dueIn: 2_000, expiresIn: 10_000 }),
      entry('within', { dueIn: 4_000, expiresIn: 6_000 }),
      entry('overlapping', { dueIn: 9_000, expiresIn: 15_000 }),
      entry('gone', { dueIn: 0, expiresIn: 0 }),
    ],
  });
  t.same(offeredSeconds(50), [...span(2, 15), ...span(30, 40)]);
});

t.test('the end of one message leaves the others', async (t) => {
  const { mailbox, offered } = start();
  mailbox.snapshot({ ...whole, seq: 1, entries: [entry('a'), entry('b', { generation: 2 })] });
  mailbox.changes(2, [{ op: 'end', id: 'b', device: DEVICE, generation: 2 }]);
  t.ok(offered());
  mailbox.changes(3, [{ op: 'end', id: 'nobody', device: DEVICE, generation: 9 }]);
  t.ok(offered(), 'what is not there cannot end');
  mailbox.changes(4, [{ op: 'end', id: 'a', device: DEVICE, generation: 1 }]);
  t.notOk(offered());
  t.same(mailbox.counts(), { messages: 0, devices: 0 });
});

t.test('what supersedes and what is superseded change in one, so that no poll falls between', async (t) => {
  const { mailbox, marks, written } = start();
  mailbox.snapshot({ ...whole, seq: 1, entries: [entry('a')] });
  const before = written();
  mailbox.changes(3, [
    { op: 'end', id: 'a', device: DEVICE, generation: 1 },
    { op: 'hold', ...entry('b', { generation: 2 }) },
  ]);
  t.equal(written(), before + 1);
  t.match(marks.get(DEVICE), { pending: true, generation: 2 });
});

t.test('marks stand until the last part of a snapshot has come', async (t) => {
  const { mailbox, offered } = start();
  mailbox.snapshot({ ...whole, seq: 1, entries: [entry('a')] });
  const part = { incarnation: 'j', seq: 7 };
  mailbox.snapshot({ ...part, first: true, last: false, entries: [entry('b', { device: OTHER })] });
  t.same([offered(DEVICE), offered(OTHER)], [true, false]);
  t.same(mailbox.holds(), { incarnation: 'i', seq: 1 });
  t.match(mailbox.changes(8, []), /before a whole snapshot/);
  t.match(mailbox.snapshot({ ...part, seq: 8, first: false, last: true, entries: [] }), /two snapshots/);
  mailbox.snapshot({ ...part, first: false, last: true, entries: [] });
  t.same([offered(DEVICE), offered(OTHER)], [false, true]);
  t.same(mailbox.holds(), { incarnation: 'j', seq: 7 });
});

t.test('what comes out of order is refused', async (t) => {
  const { mailbox } = start();
  t.match(mailbox.changes(1, []), /before a whole snapshot/);
  t.match(
    mailbox.snapshot({ incarnation: 'i', seq: 1, first: false, last: true, entries: [] }),
    /without its first part/,
  );
  mailbox.snapshot({ ...whole, seq: 5, entries: [] });
  t.match(mailbox.changes(4, []), /changes to 4 after 5/);
  t.equal(mailbox.changes(5, []), null);
});

t.test('devices are known with nothing pending, and stay known when something ends', async (t) => {
  const { mailbox, marks } = start();
  mailbox.snapshot({ ...whole, seq: 1, entries: [entry('a')] });
  mailbox.known([DEVICE as never, OTHER as never]);
  t.match(marks.get(DEVICE), { pending: true }, 'to be known takes nothing from what is pending');
  t.match(marks.get(OTHER), { pending: false });
  mailbox.changes(2, [{ op: 'end', id: 'a', device: DEVICE, generation: 1 }]);
  t.match(marks.get(DEVICE), { pending: false });
});

t.test('only marks whose time is over are written anew each second', async (t) => {
  const { clock, mailbox, written } = start(5_000);
  const entries = Array.from({ length: 1_000 }, (_, i) => [
    entry(`a${i}`, { device: `d${i}`, expiresIn: 10_000 }),
    entry(`b${i}`, { device: `d${i}`, dueIn: 20_000 }),
  ]).flat();
  mailbox.snapshot({ ...whole, seq: 1, entries });
  const before = written();
  for (let second = 0; second < 9; second++) {
    clock.advance(1_000);
    mailbox.tick();
  }
  t.equal(written(), before);
  clock.advance(1_000);
  mailbox.tick();
  t.equal(written(), before + 1_000);
});

t.test('whatever snapshots and changes say, counts and marks agree with what is held', (t) => {
  const device = fc.constantFrom('d1', 'd2', 'd3');
  const held = fc.record({
    id: fc.constantFrom('a', 'b', 'c', 'd'),
    device,
    kind: fc.constant('contact-me' as const),
    generation: fc.integer({ min: 1, max: 4 }),
    dueIn: fc.nat(20_000),
    expiresIn: fc.nat(40_000),
  });
  const change: fc.Arbitrary<HeldChange> = fc.oneof(
    held.map((each) => ({ op: 'hold' as const, ...each })),
    held.map(({ id, device, generation }) => ({ op: 'end' as const, id, device, generation })),
  );
  const step = fc.oneof(
    fc.record({ entries: fc.array(held, { maxLength: 6 }) }),
    fc.record({ changes: fc.array(change, { maxLength: 6 }) }),
    fc.record({ pause: fc.nat(15_000) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
      const { clock, mailbox, marks, offered } = start(20);
      // A model that keeps every message by itself.
      let model = new Map<string, { device: string; generation: number; from: number; until: number }>();
      const hold = (each: HeldEntry): void => {
        const key = `${each.device} ${each.id}`;
        if ((model.get(key)?.generation ?? 0) > each.generation) return;
        const now = clock.monotonic();
        const { device, generation } = each;
        model.set(key, { device, generation, from: now + each.dueIn, until: now + each.expiresIn });
      };
      let seq = 1;
      mailbox.snapshot({ ...whole, seq, entries: [] });
      for (const each of steps) {
        if ('pause' in each) {
          clock.advance(each.pause);
          mailbox.tick();
        } else if ('entries' in each) {
          model = new Map();
          each.entries.forEach(hold);
          mailbox.snapshot({ ...whole, seq: (seq += 1), entries: each.entries });
        } else {
          for (const change of each.changes) {
            const known = model.get(`${change.device} ${change.id}`);
            if (change.op === 'hold') hold(change);
            else if (known !== undefined && known.generation <= change.generation) {
              model.delete(`${change.device} ${change.id}`);
            }
          }
          mailbox.changes((seq += 1), each.changes);
        }
        const now = clock.monotonic();
        const all = [...model.values()];
        if (mailbox.counts().messages !== all.length) return false;
        if (mailbox.counts().devices !== new Set(all.map(({ device }) => device)).size) return false;
        for (const name of ['d1', 'd2', 'd3']) {
          const due = all.some(({ device, from, until }) => device === name && from <= now && now < until);
          if (offered(name) !== due) return false;
        }
      }
      return marks.size <= 3;
    }),
    { numRuns: 300 },
  );
  t.end();
});

t.test('between two ticks nothing that goes on being due is let go of', async () => {
  const given = fc.array(
    fc.record({
      kind: fc.constantFrom('contact-me' as const, 'dls' as const),
      dueIn: fc.integer({ min: -2_000, max: 10_000 }),
      lasts: fc.integer({ min: 1, max: 10_000 }),
    }),
    { minLength: 1, maxLength: 4 },
  );
  fc.assert(
    fc.property(given, (messages) => {
      const { clock, mailbox, offered } = start();
      const spans = messages.map(({ dueIn, lasts }) => ({ from: dueIn, until: Math.max(0, dueIn + lasts) }));
      // There is one call at most: a newer one takes its place.
      const entries = messages.map(({ kind }, i) =>
        entry(`m${i}`, {
          kind: i === 0 ? kind : 'dls',
          generation: i + 1,
          dueIn: spans[i]!.from,
          expiresIn: spans[i]!.until,
        }),
      );
      mailbox.snapshot({ ...whole, seq: 1, entries });
      for (let now = 0; now < 22_000; now += 50) {
        if (now % 1_000 === 0) mailbox.tick();
        const due = spans.some(({ from, until }) => from <= now && now < until);
        // One that has fallen due since the last tick may have to wait for the next.
        const surely = spans.some(({ from, until }) => from + 1_000 <= now && now < until);
        if (surely && !offered()) throw new Error(`not offered after ${now} ms`);
        if (!due && offered()) throw new Error(`offered after ${now} ms`);
        clock.advance(50);
      }
    }),
    { numRuns: 1_000 },
  );
});

t.test('whenever actions are due the mark says so, and only then', async () => {
  const given = fc.array(
    fc.record({
      kind: fc.constantFrom('contact-me' as const, 'dls' as const),
      dueIn: fc.integer({ min: -5, max: 20 }),
      lasts: fc.integer({ min: 1, max: 20 }),
    }),
    { minLength: 1, maxLength: 5 },
  );
  fc.assert(
    fc.property(given, (messages) => {
      const { clock, marks, mailbox, offered } = start();
      const entries = messages.map(({ kind, dueIn, lasts }, i) =>
        entry(`m${i}`, {
          kind,
          generation: i + 1,
          dueIn: dueIn * 1_000,
          expiresIn: Math.max(0, dueIn + lasts) * 1_000,
        }),
      );
      mailbox.snapshot({ ...whole, seq: 1, entries });
      for (let second = 0; second < 45; second++) {
        mailbox.tick();
        const due = messages.filter(
          ({ dueIn, lasts }) => dueIn <= second && second < Math.max(0, dueIn + lasts),
        );
        if (offered() !== due.length > 0) throw new Error(`second ${second}: offered ${offered()}`);
        const told = offered() && marks.get(DEVICE)?.actions === true;
        const actions = due.filter(({ kind }) => kind === 'dls');
        if (told && actions.length === 0) throw new Error(`second ${second}: ${told}`);
        // In the last moment of the actions a call that goes on is told in their place.
        const going = actions.some(({ dueIn, lasts }) => second + 1 < dueIn + lasts);
        const must = going || actions.length === due.length;
        if (actions.length > 0 && must && !told) throw new Error(`second ${second}: ${told}`);
        clock.advance(1_000);
      }
    }),
    { numRuns: 300 },
  );
});

t.test(
  'room for all that a relay will tell is made once, within the limit, and only for what is new',
  async (t) => {
    const { mailbox, reserved } = start(5);
    mailbox.snapshot({ ...whole, seq: 1, entries: [entry('a'), entry('b', { device: OTHER })] });
    t.same(reserved, [2], 'those of a snapshot');
    mailbox.snapshot({ ...whole, seq: 2, entries: [entry('a'), entry('b', { device: OTHER })] });
    t.same(reserved, [2, 0], 'none that have a mark already');
    mailbox.known([DEVICE, '00:1a:e8:00:00:03'] as Parameters<typeof mailbox.known>[0], 4);
    t.same(reserved, [2, 0, 2], 'those that are merely known, as many as there will be');
    mailbox.known([], 1_000_000);
    t.same(reserved, [2, 0, 2, 2], 'never more than the limit allows');
    mailbox.known(['00:1a:e8:00:00:04'] as Parameters<typeof mailbox.known>[0]);
    t.equal(reserved.length, 4, 'a relay of an older build says no number');
  },
);

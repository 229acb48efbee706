import fc from 'fast-check';
import t from 'tap';
import { ADMIT_ALL, SITE_BYTES, TICK_MS, writeSite } from '../../../proxy/marks-layout.ts';
import { openMarks, POLL_RESULTS, type MarksReader, type PollResult } from '../../../proxy/marks-reader.ts';
import { createMarks, type Mark, type Marks, type PolledDevice } from '../../../proxy/marks.ts';
import type { DeviceId } from '../../../shared/device-id.ts';
import { createFakeClock, type FakeClock } from '../../fixtures/fake-clock.ts';
import { seededRandom } from '../../fixtures/seeded-random.ts';

const SITE = 'hq';
const ALWAYS: Mark = { pending: true, generation: 1, notBefore: 0, expiry: Infinity };
const IDLE: Mark = { pending: false, generation: 1, notBefore: 0, expiry: 0 };

interface Rig {
  clock: FakeClock;
  marks: Marks;
  reader: MarksReader;
  poll(device: string, site?: number): PollResult;
}

function rig(options: { sites?: string[]; capacity?: number; limit?: number } = {}): Rig {
  const clock = createFakeClock();
  const random = seededRandom(7);
  const marks = createMarks({
    sites: [SITE],
    clock,
    random: (bytes) => bytes.set(random(bytes.length)),
    ...options,
  });
  for (const site of marks.sites) marks.site(site, { aliveUntil: Infinity, upstreamOk: true });
  const reader = openMarks(marks.attach().seed);
  t.teardown(() => marks.close());
  const key = Buffer.alloc(SITE_BYTES + 64);
  return {
    clock,
    marks,
    reader,
    poll(device, site = 0) {
      writeSite(key, site);
      const end = SITE_BYTES + key.write(device, SITE_BYTES, 'latin1');
      return POLL_RESULTS[reader.poll(key, end, site, clock.monotonic())];
    },
  };
}

const id = (text: string): DeviceId => text as DeviceId;
const scanAll = (marks: Marks): PolledDevice[] => [...marks.scan()].flat();

t.test('a device is added once, with nothing pending; one that is known stays as it is', async (t) => {
  const { marks, poll } = rig();
  t.equal(marks.add(SITE, id('a')), true, 'it was unknown');
  t.equal(poll('a'), 'nothing');
  t.equal(marks.stats().known, 1);
  t.equal(marks.set(SITE, id('a'), ALWAYS), false, 'it is known by now');
  t.equal(marks.add(SITE, id('a')), false);
  t.equal(poll('a'), 'offer', 'what is pending stays so');
  t.ok(marks.remove(SITE, id('a')));
  t.equal(marks.add(SITE, id('a')), true, 'it comes back');
  t.equal(poll('a'), 'nothing', 'and nothing is left of what was pending');
  t.equal(marks.set(SITE, id('b'), ALWAYS), true);
  t.equal(marks.stats().known, 2);
});

t.test('a device is unknown until it is set and after it is removed', async (t) => {
  const { marks, poll } = rig();
  t.equal(poll('a'), 'unknown');
  marks.set(SITE, id('a'), IDLE);
  t.equal(poll('a'), 'nothing');
  t.equal(poll('ab'), 'unknown');
  marks.set(SITE, id('a'), ALWAYS);
  t.equal(poll('a'), 'offer');
  t.ok(marks.remove(SITE, id('a')));
  t.equal(poll('a'), 'unknown');
  t.notOk(marks.remove(SITE, id('a')), 'it is gone already');
  t.notOk(marks.quiet(SITE, id('a'), Infinity), 'and cannot be held back');
  t.equal(marks.get(SITE, id('a')), null);
  t.equal(marks.why(SITE, id('a')), null);
  marks.set(SITE, id('a'), ALWAYS);
  t.equal(poll('a'), 'offer', 'coming back it starts anew');
});

t.test(
  'room that is reserved is made by one table, in which polls find what they found before',
  async (t) => {
    const { marks, poll } = rig({ limit: 6_000 });
    marks.set(SITE, id('a'), ALWAYS);
    t.ok(marks.has(SITE, id('a')));
    t.notOk(marks.has(SITE, id('d1')));
    marks.reserve(5_000);
    t.equal(marks.stats().rebuilds, 1);
    for (let n = 0; n < 5_000; n++) marks.set(SITE, id(`d${n}`), IDLE);
    t.equal(marks.stats().rebuilds, 1, 'none more was needed');
    t.equal(poll('a'), 'offer');
    t.equal(poll('d4999'), 'nothing');
    marks.reserve(100);
    t.equal(marks.stats().rebuilds, 1, 'where there is room, none is made');
    const { bytes } = marks.stats();
    marks.reserve(1_000_000_000);
    t.ok(marks.stats().bytes < 2 * bytes, 'nor more than the limit needs');
  },
);

t.test('a mark is offered from its time until its expiry', async (t) => {
  const { clock, marks, poll } = rig();
  const now = clock.monotonic();
  marks.set(SITE, id('a'), { ...ALWAYS, notBefore: now + 1_000, expiry: now + 5_000 });
  t.equal(poll('a'), 'nothing');
  t.equal(marks.why(SITE, id('a')), 'too_early');
  clock.advance(999);
  t.equal(poll('a'), 'nothing', 'not a moment early');
  clock.advance(1 + TICK_MS);
  t.equal(poll('a'), 'offer', 'and at most a tick late');
  clock.advance(4_000);
  t.equal(poll('a'), 'nothing');
  t.equal(marks.why(SITE, id('a')), 'expired');
});

t.test('what may begin now begins now, however coarse the ticks are', async (t) => {
  const { clock, marks, poll } = rig();
  clock.advance(TICK_MS / 2 + 1);
  const now = clock.monotonic();
  marks.set(SITE, id('a'), { ...ALWAYS, notBefore: now });
  marks.quiet(SITE, id('a'), now);
  t.equal(poll('a'), 'offer');
});

t.test('quiet and gap hold 202 back and outlast a new mark', async (t) => {
  const { clock, marks, poll } = rig();
  marks.set(SITE, id('a'), ALWAYS);
  t.ok(marks.quiet(SITE, id('a'), clock.monotonic() + 60_000));
  t.equal(poll('a'), 'nothing');
  marks.set(SITE, id('a'), { ...ALWAYS, generation: 2 });
  t.equal(marks.why(SITE, id('a')), 'in_session');
  t.ok(marks.gap(SITE, id('a'), clock.monotonic() + 30_000));
  marks.quiet(SITE, id('a'), 0);
  t.equal(marks.why(SITE, id('a')), 'session_gap');
  t.match(marks.get(SITE, id('a')), { pending: true, generation: 2, expiry: Infinity });
  clock.advance(30_000 + TICK_MS);
  t.equal(poll('a'), 'offer');
});

t.test('a site whose lease ends turns to 200 by itself', async (t) => {
  const { clock, marks, poll } = rig();
  marks.set(SITE, id('a'), ALWAYS);
  marks.site(SITE, { aliveUntil: clock.monotonic() + 10_000 });
  t.equal(poll('a'), 'offer');
  clock.advance(10_000);
  t.equal(poll('a'), 'nothing');
  t.equal(marks.why(SITE, id('a')), 'link_down');
  marks.site(SITE, { direct: true });
  t.equal(poll('a'), 'offer', 'phones that reach the service by themselves need no link');
});

t.test('a site says whether its upstream is ok and whom it admits', async (t) => {
  const { marks, poll } = rig();
  marks.set(SITE, id('a'), ALWAYS);
  marks.site(SITE, { upstreamOk: false });
  t.equal(marks.why(SITE, id('a')), 'upstream_down');
  marks.site(SITE, { courier: true });
  t.equal(marks.why(SITE, id('a')), 'upstream_down', 'a courier alone is of no use to it');
  marks.set(SITE, id('b'), { ...ALWAYS, actions: true });
  t.equal(poll('b'), 'offer', 'actions can be delivered all the same');
  t.equal(marks.why(SITE, id('b')), 'offer');
  marks.site(SITE, { courier: false });
  t.equal(poll('b'), 'nothing');
  marks.site(SITE, { upstreamOk: true, admit: 0 });
  t.equal(poll('a'), 'nothing');
  t.equal(marks.why(SITE, id('a')), 'not_admitted');
  marks.site(SITE, { admit: ADMIT_ALL });
  t.equal(poll('a'), 'offer');
  t.throws(() => marks.site('elsewhere', {}), { code: 'NOT_FOUND', message: /elsewhere.*hq/ });
});

t.test('sites share no device', async (t) => {
  const { marks, poll } = rig({ sites: ['one', 'two'] });
  marks.set('two', id('a'), ALWAYS);
  t.equal(poll('a', 0), 'unknown');
  t.equal(poll('a', 1), 'offer');
});

t.test('a scan tells who has polled since the last one, and what each was told', async (t) => {
  const { clock, marks, poll } = rig();
  for (const device of ['a', 'b', 'c']) marks.set(SITE, id(device), device === 'a' ? ALWAYS : IDLE);
  clock.advance(1_000);
  poll('a');
  poll('b');
  t.strictSame(scanAll(marks), [], 'the tick that is running is left to the next scan');
  clock.advance(1_000);
  const seen = scanAll(marks).sort((x, y) => x.device.localeCompare(y.device));
  t.match(seen, [
    { site: SITE, device: 'a', status: 202 },
    { site: SITE, device: 'b', status: 200, last202: null },
  ]);
  t.equal(seen.length, 2);
  t.ok(
    seen.every(({ at }) => Math.abs(at - (clock.monotonic() - 1_000)) <= TICK_MS),
    'with the time of the poll',
  );
  t.strictSame(scanAll(marks), [], 'once each');
  marks.set(SITE, id('a'), IDLE);
  poll('a');
  clock.advance(1_000);
  const [again] = scanAll(marks);
  t.match(again, { device: 'a', status: 200 });
  t.ok((again?.last202 ?? 0) > 0, 'the last 202 is still known');
});

t.test('a scan works in steps, and one that is not ended is made again', async (t) => {
  const { clock, marks, poll } = rig({ capacity: 20_000 });
  for (let i = 0; i < 20_000; i++) marks.set(SITE, id(`d${i}`), IDLE);
  for (let i = 0; i < 20_000; i += 100) poll(`d${i}`);
  clock.advance(1_000);
  const scan = marks.scan();
  const first = scan.next();
  t.ok(first.done !== true && first.value.length < 200, 'one step finds a part');
  scan.return();
  const steps = [...marks.scan()];
  t.ok(steps.length > 2);
  t.equal(steps.flat().length, 200);
});

t.test('the table grows under its readers; nothing known and nothing heard is lost', async (t) => {
  const { clock, marks, poll, reader } = rig({ capacity: 10 });
  const devices = Array.from({ length: 5_000 }, (_, i) => `phone-${i}`);
  marks.set(SITE, id('phone-0'), ALWAYS);
  poll('phone-0');
  devices.forEach((device, i) => marks.set(SITE, id(device), i % 2 === 0 ? ALWAYS : IDLE));
  t.ok(marks.stats().rebuilds > 3);
  clock.advance(1_000);
  t.match(
    scanAll(marks),
    [{ device: 'phone-0', status: 202 }],
    'a poll from before the growth is still told',
  );
  const wrong = devices.filter((device, i) => poll(device) !== (i % 2 === 0 ? 'offer' : 'nothing'));
  t.strictSame(wrong, []);
  t.equal(poll('phone-5000'), 'unknown');
  reader.refresh();
  t.ok(
    marks.stats().bytes / marks.stats().known <= 64,
    `${marks.stats().bytes / marks.stats().known} bytes a device`,
  );
});

t.test('at any size beyond a thousand, a device takes 64 bytes at most', async (t) => {
  const { marks } = rig({ capacity: 10 });
  let worst = 0;
  for (let i = 1; i <= 20_000; i++) {
    marks.set(SITE, id(`d${i}`), IDLE);
    if (i > 1_000) worst = Math.max(worst, marks.stats().bytes / i);
  }
  t.ok(worst <= 64, `${worst} bytes`);
});

t.test('devices that come and go do not make the table grow for ever', async (t) => {
  const { marks, poll } = rig({ capacity: 100 });
  for (let i = 0; i < 20_000; i++) {
    marks.set(SITE, id(`d${i}`), ALWAYS);
    if (i >= 100) marks.remove(SITE, id(`d${i - 100}`));
  }
  t.equal(marks.stats().known, 100);
  t.ok(marks.stats().slots < 1_000);
  t.equal(poll('d19999'), 'offer');
  t.equal(poll('d10'), 'unknown');
});

t.test('at the limit of devices a new one is refused, a known one is not', async (t) => {
  const { marks } = rig({ limit: 2 });
  marks.set(SITE, id('a'), IDLE);
  marks.set(SITE, id('b'), IDLE);
  t.throws(() => marks.set(SITE, id('c'), ALWAYS), { code: 'TOO_LARGE', message: /c .*2 devices.*raise/ });
  marks.set(SITE, id('a'), ALWAYS);
  marks.remove(SITE, id('b'));
  marks.set(SITE, id('c'), ALWAYS);
  t.equal(marks.stats().known, 2);
});

interface Model {
  mark: Mark;
  quiet: number;
  gap: number;
}

t.test('whatever is done to the marks, a poll is told what a plain map would tell', async () => {
  const devices = Array.from({ length: 8 }, (_, i) => id(`d${i}`));
  const device = fc.constantFrom(...devices);
  // Whole ticks from now, so that the model needs to know nothing of rounding.
  const later = fc.integer({ min: -3, max: 6 }).map((ticks) => ticks * TICK_MS);
  const step = fc.oneof(
    fc.record({ do: fc.constant('set' as const), device, pending: fc.boolean(), from: later, until: later }),
    fc.record({ do: fc.constant('quiet' as const), device, until: later }),
    fc.record({ do: fc.constant('gap' as const), device, until: later }),
    fc.record({ do: fc.constant('remove' as const), device }),
    fc.record({ do: fc.constant('wait' as const), ticks: fc.nat(4) }),
    fc.record({ do: fc.constant('fill' as const), count: fc.integer({ min: 1, max: 300 }) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const { clock, marks, poll } = rig({ capacity: 1 });
      const model = new Map<DeviceId, Model>();
      let filled = 0;
      return steps.every((step) => {
        const now = clock.monotonic();
        if (step.do === 'set') {
          const mark = {
            pending: step.pending,
            generation: 1,
            notBefore: now + step.from,
            expiry: now + step.until,
          };
          marks.set(SITE, step.device, mark);
          model.set(step.device, { quiet: 0, gap: 0, ...model.get(step.device), mark });
        } else if (step.do === 'quiet' || step.do === 'gap') {
          const known = marks[step.do](SITE, step.device, now + step.until);
          const held = model.get(step.device);
          if (known !== (held !== undefined)) return false;
          if (held !== undefined) held[step.do] = now + step.until;
        } else if (step.do === 'remove') {
          if (marks.remove(SITE, step.device) !== model.delete(step.device)) return false;
        } else if (step.do === 'wait') clock.advance(step.ticks * TICK_MS);
        else for (let i = 0; i < step.count; i++) marks.set(SITE, id(`fill-${filled++}`), IDLE);
        return devices.every((device) => poll(device) === expected(model.get(device), clock.monotonic()));
      });
    }),
    { numRuns: 150 },
  );
});

function expected(held: Model | undefined, now: number): PollResult {
  if (held === undefined) return 'unknown';
  const { mark, quiet, gap } = held;
  const offer = mark.pending && mark.notBefore <= now && now < mark.expiry && quiet <= now && gap <= now;
  return offer ? 'offer' : 'nothing';
}

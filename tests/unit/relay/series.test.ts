import t from 'tap';
import { createFakeClock } from '../../fixtures/fake-clock.ts';
import { device } from '../../fixtures/fake-view.ts';
import { createFiguresOfProxies } from '../../../relay-client/series/proxy-figures.ts';
import { createSeries, PICKUPS_MS, POINTS, STEP_MS } from '../../../relay-client/series/series.ts';
import type { SeriesParts } from '../../../relay-client/series/series.ts';
import { createRecentWarnings, RECENT_WARNINGS } from '../../../relay-client/warnings/recent.ts';
import { createPolls, missedPolls } from '../../../relay-client/polls.ts';
import type { MetricSample } from '../../../shared/protocol.ts';
import { silentLog } from '../../../shared/log.ts';

const PROXY = 'wss://proxy.example:9443';
const DAY_MS = 86_400_000;

/** What has been promised is there. */
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

function makeSeries(changes: Partial<SeriesParts> = {}) {
  const clock = createFakeClock();
  const series = createSeries({
    polls: () => ({ idle: 2, called: 1, refused: 0 }),
    held: async () => 7,
    sessions: () => 3,
    clock,
    log: silentLog,
    ...changes,
  });
  const step = async (steps = 1): Promise<void> => {
    for (let i = 0; i < steps; i++) {
      clock.advance(STEP_MS);
      await settled();
    }
  };
  return { clock, series, step };
}

t.test('a step holds what stood at its end and what happened in it', async (t) => {
  const { series, step, clock } = makeSeries();
  t.same(series.points(0), []);
  for (const waited of [5_000, 1_000, 3_000]) series.pickedUp(waited);
  series.sessionEnded();
  await step();
  const first = {
    polls: { idle: 2, called: 1, refused: 0 },
    held: 7,
    sessions: 3,
    ended: 1,
    at: clock.wall(),
  };
  t.same(series.points(0), [{ ...first, pickups: { count: 3, median: 3_000, longest: 5_000 } }]);
  await step();
  t.match(series.points(0)[1], { ended: 0, pickups: null }, 'the next one begins anew');
  t.equal(series.points(first.at).length, 1, 'only those after a time');
});

t.test('an hour is kept, and an hour only', async (t) => {
  const { series, step } = makeSeries();
  await step(POINTS + 5);
  const points = series.points(0);
  t.equal(points.length, POINTS);
  t.equal(POINTS * STEP_MS, 3_600_000);
  t.equal((points.at(-1)?.at ?? 0) - (points[0]?.at ?? 0), (POINTS - 1) * STEP_MS);
  series.close();
  await step(3);
  t.equal(series.points(0).at(-1)?.at, points.at(-1)?.at, 'closed, it takes no more');
});

t.test('an outbox that fails or hangs makes a gap, and nothing piles up', async (t) => {
  let asked = 0;
  const hang = Promise.withResolvers<number>();
  const answers = [() => Promise.reject(new Error('disk')), () => hang.promise, async () => 1];
  const { series, step } = makeSeries({ held: () => answers[Math.min(asked++, 2)]?.() ?? hang.promise });
  await step();
  t.match(series.points(0), [{ held: null, sessions: 3 }]);
  await step(5);
  t.equal(asked, 2, 'asked once while it hangs');
  t.equal(series.points(0).length, 1);
  hang.resolve(4);
  await settled();
  await step();
  t.same(
    series.points(0).map(({ held }) => held),
    [null, 4, 1],
  );
});

t.test('pick-ups are summed up for ten minutes', async (t) => {
  const { series, clock } = makeSeries();
  t.equal(series.pickups(), null);
  series.pickedUp(60_000);
  clock.advance(PICKUPS_MS - 1);
  series.pickedUp(1_000);
  t.same(series.pickups(), { count: 2, median: 1_000, longest: 60_000 });
  clock.advance(2);
  t.same(series.pickups(), { count: 1, median: 1_000, longest: 1_000 });
  for (let i = 0; i < 5_000; i++) series.pickedUp(i);
  t.equal(series.pickups()?.count, 1_000, 'and no more than so many');
});

const polls = (idle: number, called: number, refused = 0): MetricSample[] =>
  Object.entries({ 200: idle, 202: called, 404: refused }).map(([status, value]) => ({
    name: 'sallyport_polls_total',
    kind: 'counter',
    labels: { status },
    value,
  }));

t.test("a proxy's counts become polls per second, and none where it began anew or fell silent", async (t) => {
  const clock = createFakeClock();
  const figures = createFiguresOfProxies(clock);
  t.equal(figures.of(PROXY), null);
  figures.take(PROXY, polls(100, 10));
  t.match(figures.of(PROXY), { polls: null }, 'one telling is no rate');
  clock.advance(5_000);
  figures.take(PROXY, polls(200, 15, 5));
  t.same(figures.of(PROXY)?.polls, { idle: 20, called: 1, refused: 1 });
  clock.advance(5_000);
  figures.take(PROXY, polls(3, 0));
  t.equal(figures.of(PROXY)?.polls, null, 'another process counts from zero');
  clock.advance(5_000);
  figures.take(PROXY, polls(8, 0));
  t.same(figures.of(PROXY)?.polls, { idle: 1, called: 0, refused: 0 });
  clock.advance(20_001);
  t.equal(figures.of(PROXY), null, 'what it said then says nothing of now');
});

t.test('certificates are dated by what a proxy says, however odd', async (t) => {
  const clock = createFakeClock();
  const figures = createFiguresOfProxies(clock);
  const left = (certificate: string, value: number): MetricSample => ({
    name: 'sallyport_certificate_left_seconds',
    kind: 'gauge',
    labels: { certificate },
    value,
  });
  figures.take(PROXY, [
    left('relay', DAY_MS / 1000),
    left('x'.repeat(500), -1),
    left('never', 1e300),
    ...Array.from({ length: 200 }, () => left('many', 1)),
  ]);
  const certificates = figures.of(PROXY)?.certificates ?? [];
  t.equal(certificates.length, 100);
  t.same(certificates[0], { name: 'relay', notAfter: clock.wall() + DAY_MS });
  t.equal(certificates[1]?.name.length, 100);
  t.notOk(certificates.some(({ name }) => name === 'never'));
});

t.test('missed polls are counted by how often a device used to poll', async (t) => {
  const clock = createFakeClock();
  const seen = createPolls(clock);
  const phone = device('00:1a:e8:00:00:01');
  const poll = (status: 200 | 202 = 200, agoMs = 0): void =>
    seen.take(PROXY, { type: 'polls', polls: [{ device: phone, agoMs, status }], unknown: [] });
  const missed = (): number | null => {
    const last = seen.last(phone);
    return last === null ? null : missedPolls(last, clock.wall());
  };
  poll(202);
  const calledAt = clock.wall();
  t.equal(missed(), null, 'one poll tells no interval');
  clock.advance(60_000);
  poll();
  t.equal(missed(), 0);
  clock.advance(70_000);
  t.equal(missed(), 0, 'a little late is not missed');
  clock.advance(12_000);
  t.equal(missed(), 1);
  clock.advance(60_000);
  t.equal(missed(), 2);
  poll();
  t.equal(missed(), 0);
  t.equal(seen.last(phone)?.calledAt, calledAt, 'when it was last called stays known');
  for (let i = 0; i < 20; i++) {
    clock.advance(60_000);
    poll();
  }
  clock.advance(82_000);
  t.equal(missed(), 1, 'long silences are forgotten again');
  poll(202, 5_000);
  poll();
  t.equal(seen.last(phone)?.calledAt, clock.wall() - 5_000);
  poll(200, 60_000);
  t.equal(seen.last(phone)?.at, clock.wall(), 'what another proxy tells later is no news');
});

t.test('devices are ranked by their last polls, page by page', async (t) => {
  const clock = createFakeClock();
  const seen = createPolls(clock);
  const phone = (n: number) => device(`001ae8${n.toString(16).padStart(6, '0')}`);
  // Fifty phones in an order that is none.
  const order = Array.from({ length: 50 }, (_, i) => (i * 7) % 50);
  for (const n of order) {
    const told = [{ device: phone(n), agoMs: 1_000 * n, status: 200 as const }];
    seen.take(PROXY, { type: 'polls', polls: told, unknown: [] });
  }
  const rank = (newestFirst: boolean, query = {}): number[] => {
    const all: number[] = [];
    let after: { score: number; device: ReturnType<typeof phone> } | null | undefined;
    while (after !== null) {
      const page = seen.rank(
        { limit: 7, newestFirst, ...query, ...(after === undefined ? {} : { after }) },
        (id) => id === phone(3) || id === phone(4),
      );
      t.ok(page.devices.length <= 7);
      all.push(...page.devices.map((id) => parseInt(id.replaceAll(':', '').slice(6), 16)));
      after = page.next;
    }
    return all;
  };
  const upwards = Array.from({ length: 50 }, (_, i) => i);
  t.same(rank(true), upwards);
  t.same(rank(false), upwards.toReversed());
  t.same(rank(true, { state: 'pending' }), [3, 4]);
  t.equal(rank(true, { state: 'idle' }).length, 48);
  t.same(rank(true, { q: '00:0A' }), [10]);
  t.same(rank(false, { state: 'dead', among: new Set([phone(9), phone(30)]) }), [30, 9]);
});

t.test('the newest warnings come first, those of one kind and device as one', async (t) => {
  const clock = createFakeClock();
  const recent = createRecentWarnings(clock);
  const warn = (n: number): void =>
    recent.add({ device: device(`x${n}`), what: 'not-coming', sentence: `s${n}`, facts: {}, count: 2 });
  for (let n = 0; n < RECENT_WARNINGS + 10; n++) warn(n);
  t.equal(recent.list().length, RECENT_WARNINGS);
  t.equal(recent.list().at(-1)?.sentence, 's10', 'the oldest went');
  clock.advance(1_000);
  warn(20);
  t.match(recent.list()[0], { sentence: 's20', count: 4, at: clock.wall() });
  t.equal(recent.list().length, RECENT_WARNINGS);
});

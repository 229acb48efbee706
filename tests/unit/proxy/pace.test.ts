import t from 'tap';
import { createPace, SMALL_BYTES } from '../../../proxy/sessions/pace.ts';
import type { Pace } from '../../../proxy/sessions/pace.ts';
import { createFakeClock } from '../../fixtures/fake-clock.ts';

const RATE = 1_000_000;
const PIECE = 32_768;

/** A flow that always has more. */
function bulk(pace: Pace) {
  const flow = pace.flow();
  const moved = { bytes: 0, stop: () => flow.over() };
  const go = (): void => {
    do moved.bytes += PIECE;
    while (flow.passed(PIECE, go));
  };
  go();
  return moved;
}

t.test('bulk flows share the rate evenly, and together stay within it', async (t) => {
  const clock = createFakeClock();
  const pace = createPace(RATE, clock);
  const flows = Array.from({ length: 10 }, () => bulk(pace));
  const before = flows.map(({ bytes }) => bytes);
  const seconds = 20;
  for (let ms = 0; ms < seconds * 1_000; ms += 10) clock.advance(10);
  const moved = flows.map(({ bytes }, i) => bytes - before[i]!);
  const all = moved.reduce((sum, bytes) => sum + bytes, 0);
  t.ok(all <= 1.1 * RATE * seconds && all >= 0.8 * RATE * seconds, `${all} bytes in ${seconds} s`);
  t.ok(
    Math.max(...moved) <= 1.2 * Math.min(...moved),
    `the most ${Math.max(...moved)}, the least ${Math.min(...moved)}`,
  );
});

t.test('a small flow waits for no turn, and what it moves is taken from bulk', async (t) => {
  const clock = createFakeClock();
  const pace = createPace(RATE, clock);
  const heavy = Array.from({ length: 5 }, () => bulk(pace));
  clock.advance(1_000);
  const small = pace.flow();
  for (let i = 0; i < SMALL_BYTES / 1_024; i++) t.ok(small.passed(1_024, () => t.fail('it never waits')));
  t.notOk(
    small.passed(1_024, () => undefined),
    'beyond that it is bulk',
  );
  heavy.forEach(({ stop }) => stop());
});

t.test('a flow that is over takes no turn from others', async (t) => {
  const clock = createFakeClock();
  const pace = createPace(RATE, clock);
  const [first, second] = [bulk(pace), bulk(pace)];
  first.stop();
  const before = { first: first.bytes, second: second.bytes };
  for (let ms = 0; ms < 2_000; ms += 10) clock.advance(10);
  t.equal(first.bytes, before.first);
  t.ok(second.bytes - before.second > 0.8 * 2 * RATE, 'all of the rate');
});

t.test('a site that was idle has saved a moment of its rate, and no more', async (t) => {
  const clock = createFakeClock();
  const pace = createPace(RATE, clock);
  clock.advance(3_600_000);
  const flow = bulk(pace);
  clock.advance(10);
  t.ok(flow.bytes < RATE, `${flow.bytes}`);
});

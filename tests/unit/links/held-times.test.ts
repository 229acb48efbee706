import t from 'tap';
import { createHeldTimes, STEP_MS, STEPS } from '../../../relay-client/links/held-times.ts';
import { createFakeClock } from '../../fixtures/fake-clock.ts';

t.test('it is known when the proxies held what, for as long as there is room', async (t) => {
  const clock = createFakeClock();
  const times = createHeldTimes(clock);
  t.equal(times.at(1), null);
  times.reached(7);
  t.equal(times.at(7), null, 'of what was there before nobody knows when it came');
  clock.advance(1_000);
  times.reached(9);
  const nine = clock.wall();
  t.same([times.at(7), times.at(8), times.at(9), times.at(10)], [null, nine, nine, null]);
  clock.advance(STEP_MS);
  times.reached(9);
  times.reached(8);
  t.equal(times.at(9), nine, 'once is enough, and nothing goes back');
  clock.advance(60_000);
  times.reached(10);
  clock.advance(STEP_MS - 1);
  times.reached(12);
  t.same([times.at(10), times.at(12)], [clock.wall(), clock.wall()], 'what comes together is one step');
  t.equal(times.at(9), nine);
  const first = clock.wall();
  for (let n = 0; n < STEPS; n++) {
    clock.advance(STEP_MS);
    times.reached(13 + n);
  }
  t.equal(times.at(12), null, 'the oldest is forgotten');
  t.equal(times.at(13), first + STEP_MS);
  t.equal(times.at(12 + STEPS), clock.wall());
  t.equal(times.at(13 + STEPS), null);
  times.forget();
  t.equal(times.at(12 + STEPS), null);
});

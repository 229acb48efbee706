import t from 'tap';
import { createHeldTimes, STEP_MS, STEPS } from '../../../relay-client/links/held-times.ts';
import { createFakeClock } from '../../fixtures/fake-clock.ts';

t.test('it is known when a proxy held what, for as long as there is room', (t) => {
  const clock = createFakeClock();
  const times = createHeldTimes(clock);
  t.equal(times.at(1), null);
  const linked = clock.wall();
  times.linked(7);
  const early = { since: linked, exact: false };
  t.same([times.at(1), times.at(7), times.at(8)], [early, early, null], 'it was there before');
  clock.advance(1_000);
  times.reached(9);
  const nine = { since: clock.wall(), exact: true };
  t.same([times.at(7), times.at(8), times.at(9), times.at(10)], [early, nine, nine, null]);
  clock.advance(STEP_MS);
  times.reached(9);
  times.reached(8);
  t.same(times.at(9), nine, 'once is enough, and nothing goes back');
  clock.advance(60_000);
  times.reached(10);
  clock.advance(STEP_MS - 1);
  times.reached(12);
  const twelve = { since: clock.wall(), exact: true };
  t.same([times.at(10), times.at(12)], [twelve, twelve], 'what comes together is one step');
  t.same(times.at(9), nine);
  const first = clock.wall();
  for (let n = 0; n < STEPS; n++) {
    clock.advance(STEP_MS);
    times.reached(13 + n);
  }
  t.same(
    times.at(9),
    { since: twelve.since, exact: false },
    'of the oldest it is forgotten how old they are',
  );
  t.same(times.at(13), { since: first + STEP_MS, exact: true });
  t.same(times.at(12 + STEPS), { since: clock.wall(), exact: true });
  t.equal(times.at(13 + STEPS), null);
  times.forget();
  t.equal(times.at(12), null);
  t.end();
});

t.test('what a new link finds there counts from then, what it brings from when it was brought', (t) => {
  const clock = createFakeClock();
  const times = createHeldTimes(clock);
  const now = (exact: boolean) => ({ since: clock.wall(), exact });
  times.linked(null);
  t.equal(times.at(1), null, 'an empty proxy holds nothing');
  clock.advance(5);
  times.reached(3);
  const three = now(true);
  t.same(times.at(1), three);
  clock.advance(60_000);
  times.linked(3);
  t.same(times.at(3), three, 'the same link anew changes nothing');
  times.linked(5);
  const five = now(false);
  clock.advance(STEP_MS / 2);
  times.reached(6);
  t.same([times.at(3), times.at(5), times.at(6)], [three, five, now(true)], 'another relay told it more');
  clock.advance(60_000);
  times.linked(null);
  t.same([times.at(3), times.at(6)], [null, null], 'a proxy that starts anew has lost all');
  clock.advance(1_000);
  times.reached(6);
  t.same(times.at(3), now(true), 'and holds it since it was told again');
  t.end();
});

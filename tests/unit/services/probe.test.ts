import t from 'tap';
import type { Clock } from '../../../shared/clock.ts';
import { createProbe } from '../../../relay-client/services/probe.ts';

/** A clock that moves by hand. */
function manualClock(): Clock & { advance(ms: number): void } {
  let now = 1_000;
  const periods: { period: number; due: number; task: () => void }[] = [];
  return {
    monotonic: () => now,
    wall: () => now + 1_700_000_000_000,
    after: () => ({ cancel: () => undefined }),
    every(period, task) {
      const entry = { period, due: now + period, task };
      periods.push(entry);
      return { cancel: () => void periods.splice(periods.indexOf(entry), 1) };
    },
    advance(ms) {
      const end = now + ms;
      for (;;) {
        const next = periods.filter(({ due }) => due <= end).sort((a, b) => a.due - b.due)[0];
        if (next === undefined) break;
        now = next.due;
        next.due += next.period;
        next.task();
      }
      now = end;
    },
  };
}

/** Tries that end when the test says so. */
function tries(): {
  attempt: (done: (error: Error | null) => void) => () => void;
  started: () => number;
  given: () => number;
  finish(error: Error | null): void;
} {
  let started = 0;
  let givenUp = 0;
  let running: ((error: Error | null) => void) | null = null;
  return {
    attempt(done) {
      started += 1;
      running = done;
      return () => {
        givenUp += 1;
        running = null;
      };
    },
    started: () => started,
    given: () => givenUp,
    finish(error) {
      const done = running;
      running = null;
      done?.(error);
    },
  };
}

t.test(
  'upstream counts as down until it was reached, and is tried at once and then each period',
  async (t) => {
    const clock = manualClock();
    const { attempt, started, finish } = tries();
    const probe = createProbe({ clock, periodMs: 5_000, attempt });
    const changes: unknown[] = [];
    probe.onHealth((health) => changes.push(health));
    t.match(probe.health(), { up: false, why: 'not tried yet' });
    t.equal(started(), 1);
    clock.advance(100);
    finish(null);
    t.strictSame(probe.health(), { up: true, why: null, since: clock.wall() });
    clock.advance(10_000);
    t.equal(started(), 2, 'one at a time, even when it takes long');
    const down = clock.wall();
    finish(new Error('refused'));
    t.strictSame(probe.health(), { up: false, why: 'refused', since: down });
    clock.advance(5_000);
    finish(new Error('timed out'));
    t.strictSame(
      probe.health(),
      { up: false, why: 'timed out', since: down },
      'down since then, for another reason',
    );
    clock.advance(5_000);
    finish(null);
    t.equal(changes.length, 4);
    probe.close();
  },
);

t.test('what sessions meet counts at once', async (t) => {
  const clock = manualClock();
  const { attempt, started, finish } = tries();
  const probe = createProbe({ clock, periodMs: 5_000, attempt });
  finish(null);
  probe.failed(new Error('no'));
  t.match(probe.health(), { up: false, why: 'no' });
  probe.succeeded();
  t.match(probe.health(), { up: true });
  clock.advance(4_000);
  probe.succeeded();
  clock.advance(4_000);
  t.equal(started(), 1, 'a session that reached it makes a try needless');
  clock.advance(5_000);
  t.equal(started(), 2);
  probe.close();
});

t.test('a closed probe tries no more and tells nobody', async (t) => {
  const clock = manualClock();
  const { attempt, started, given } = tries();
  const probe = createProbe({ clock, periodMs: 5_000, attempt });
  const changes: unknown[] = [];
  const stop = probe.onHealth((health) => changes.push(health));
  probe.close();
  t.equal(given(), 1);
  probe.succeeded();
  clock.advance(60_000);
  t.equal(started(), 1);
  t.strictSame(changes, []);
  stop();
});

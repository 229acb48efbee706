import t from 'tap';
import { systemClock } from '../../../shared/clock.ts';
import type { Clock } from '../../../shared/clock.ts';
import { createDeadline } from '../../../relay-client/services/deadline.ts';

t.test('a deadline that moves later costs one timer, and is reached at its last place', (t) => {
  let timers = 0;
  const clock: Clock = {
    ...systemClock,
    after(delay, task) {
      timers += 1;
      return systemClock.after(delay, task);
    },
  };
  const deadline = createDeadline(clock);
  const start = clock.monotonic();
  deadline.set(30, () => {
    t.ok(clock.monotonic() - start >= 49, 'not before the last extension');
    t.ok(timers <= 3, `${timers} timers`);
    t.end();
  });
  for (let ms = 0; ms < 20; ms++) deadline.extend(30);
  systemClock.after(20, () => deadline.extend(30));
});

t.test('a deadline may come sooner, be replaced and be stopped', async (t) => {
  const deadline = createDeadline(systemClock);
  deadline.set(60_000, () => t.fail('replaced'));
  await new Promise<void>((resolve) => deadline.set(1, resolve));
  deadline.set(1, () => t.fail('stopped'));
  deadline.stop();
  deadline.extend(1);
  await new Promise<void>((resolve) => systemClock.after(10, resolve));
});

import t from 'tap';
import { LAST_WORD_MS, sessionsFinished, toldOnesFinished } from '../../../shared/finish.ts';
import { createFakeClock } from '../../fixtures/fake-clock.ts';

t.test('a session that is told of a moment after it began is waited for', async (t) => {
  const clock = createFakeClock();
  const until = clock.monotonic() + 9_000;
  let told = 0;
  const ended: string[] = [];
  const parts = { sessions: () => told, connections: () => told };
  void sessionsFinished(parts, clock, until).then(() => ended.push('at once'));
  const done = toldOnesFinished(parts, clock, until).then(() => ended.push('once told'));
  clock.advance(LAST_WORD_MS / 2);
  told = 1;
  for (let n = 0; n < 40; n++) {
    clock.advance(100);
    await new Promise((resolve) => setImmediate(resolve));
  }
  t.strictSame(ended, ['at once'], 'it runs');
  told = 0;
  clock.advance(100);
  await done;
  t.ok(clock.monotonic() < until, 'and no longer than it does');
});

t.test(
  'where nobody began anything, the end waits for a second at most, and never beyond its time',
  async (t) => {
    for (const [most, waited] of [
      [9_000, LAST_WORD_MS],
      [300, 300],
    ] as const) {
      const clock = createFakeClock();
      const began = clock.monotonic();
      const done = toldOnesFinished({ sessions: () => 0, connections: () => 0 }, clock, began + most);
      clock.advance(waited);
      await done;
      t.equal(clock.monotonic() - began, waited);
    }
  },
);

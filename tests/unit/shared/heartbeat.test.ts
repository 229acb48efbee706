import t from 'tap';
import { createHeartbeat } from '../../../shared/heartbeat.ts';
import { HEARTBEAT_MS, SILENCE_MS } from '../../../shared/protocol.ts';
import { createFakeClock } from '../../fixtures/fake-clock.ts';

t.test('a heart beats each HEARTBEAT_MS while the peer is heard', async (t) => {
  const clock = createFakeClock();
  const beats: number[] = [];
  const heartbeat = createHeartbeat({
    clock,
    beat: () => beats.push(clock.monotonic()),
    onSilent: () => t.fail('not silent'),
  });
  const began = clock.monotonic();
  for (let n = 0; n < 40; n += 1) {
    clock.advance(HEARTBEAT_MS / 4);
    heartbeat.heard();
  }
  t.same(
    beats,
    Array.from({ length: 10 }, (_, n) => began + (n + 1) * HEARTBEAT_MS),
  );
  heartbeat.stop();
  clock.advance(10 * SILENCE_MS);
  t.equal(beats.length, 10, 'a stopped one does not');
});

t.test('silence is noticed once, soon after SILENCE_MS, whenever it began', async (t) => {
  for (const heardAt of [0, 1, HEARTBEAT_MS - 1, HEARTBEAT_MS, HEARTBEAT_MS + 1]) {
    const clock = createFakeClock();
    const silences: number[] = [];
    const heartbeat = createHeartbeat({ clock, beat: () => undefined, onSilent: (ms) => silences.push(ms) });
    clock.advance(heardAt);
    heartbeat.heard();
    clock.advance(10 * SILENCE_MS);
    t.equal(silences.length, 1);
    const late = silences[0]! - SILENCE_MS;
    t.ok(late >= 0 && late <= 500, `heard at ${heardAt} ms, missed ${late} ms after its time`);
  }
});

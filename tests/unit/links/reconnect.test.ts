import t from 'tap';
import { CLOSE } from '../../../shared/protocol.ts';
import type { Link, LinkEnd } from '../../../relay-client/links/link.ts';
import {
  keepConnected,
  RECONNECT_WAITS_MS,
  STUBBORN_WAIT_MS,
} from '../../../relay-client/links/reconnect.ts';
import { createFakeClock } from '../../fixtures/fake-clock.ts';

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

function start(random = 0.5) {
  const clock = createFakeClock();
  const waits: number[] = [];
  let made = 0;
  let up = false;
  let end: (end: LinkEnd) => void = () => undefined;
  const reconnect = keepConnected({
    clock,
    random: () => random,
    connect() {
      made += 1;
      const { promise: ended, resolve } = Promise.withResolvers<LinkEnd>();
      end = resolve;
      return { ended, up: () => up, close: (code, reason) => resolve({ code, reason }) } as Link;
    },
    onEnded: (_end, nextIn) => waits.push(nextIn),
  });
  return {
    clock,
    waits,
    reconnect,
    made: () => made,
    setUp: (is: boolean) => (up = is),
    async fail(code: number = CLOSE.going) {
      end({ code, reason: 'test' });
      await turn();
    },
  };
}

t.test('waits grow to their last bound, each a random part of its bound, for ever', async (t) => {
  for (const random of [0, 0.5, 0.999]) {
    const { clock, waits, fail, made } = start(random);
    for (let i = 0; i < 12; i++) {
      await fail();
      clock.advance(10_000);
    }
    const bounds = Array.from(
      { length: 12 },
      (_, i) => RECONNECT_WAITS_MS[i + 1] ?? RECONNECT_WAITS_MS.at(-1)!,
    );
    t.same(
      waits,
      bounds.map((bound) => bound * random),
    );
    t.equal(made(), 13);
  }
});

t.test('a link that was up is mended at once', async (t) => {
  const { clock, waits, fail, setUp } = start();
  for (let i = 0; i < 5; i++) {
    await fail();
    clock.advance(10_000);
  }
  setUp(true);
  clock.advance(1_000);
  await fail();
  t.equal(waits.at(-1), RECONNECT_WAITS_MS[0]! / 2);
});

t.test('what a quick retry would only repeat is tried again late', async (t) => {
  for (const code of [CLOSE.replaced, CLOSE.siteTaken, CLOSE.revoked, CLOSE.violation]) {
    for (const random of [0, 0.999]) {
      const { waits, fail } = start(random);
      await fail(code);
      t.ok(waits[0]! >= STUBBORN_WAIT_MS / 2 && waits[0]! <= STUBBORN_WAIT_MS, `${code}: ${waits[0]} ms`);
    }
  }
});

t.test('once stopped nothing is dialled, neither now nor later', async (t) => {
  const running = start();
  await running.reconnect.stop('over');
  running.clock.advance(60_000);
  t.equal(running.made(), 1);
  const waiting = start();
  await waiting.fail();
  t.equal(waiting.reconnect.current(), null);
  await waiting.reconnect.stop('over');
  waiting.clock.advance(60_000);
  t.equal(waiting.made(), 1);
});

import assert from 'node:assert/strict';
import fc from 'fast-check';
import t from 'tap';
import { createQuiets, QUIET_BUDGET_MS } from '../../../relay-client/sessions/quiets.ts';
import type { DeviceId } from '../../../shared/device-id.ts';
import { createFakeClock } from '../../fixtures/fake-clock.ts';

const ONE = '00:1a:e8:00:00:01' as DeviceId;
const TWO = '00:1a:e8:00:00:02' as DeviceId;

function setUp(devices?: number) {
  const clock = createFakeClock();
  const told: string[] = [];
  const held = new Map<DeviceId, number>([
    [ONE, 1],
    [TWO, 1],
  ]);
  const pending = {
    generation: (device: DeviceId) => held.get(device) ?? 0,
    due: () => 0,
    count: () => held.size,
  };
  const links = {
    quiet: (device: DeviceId, generation: number, ms: number) =>
      told.push(`quiet ${device.slice(-1)} ${generation} ${ms}`),
    loud: (device: DeviceId) => told.push(`loud ${device.slice(-1)}`),
  };
  const quiets = createQuiets({ links, pending, clock, ...(devices === undefined ? {} : { devices }) });
  return { clock, told, held, quiets };
}

t.test('quiet lasts as long as the session, and what is left of the budget is for the next', async (t) => {
  const { clock, told, quiets } = setUp();
  quiets.hold('a', ONE, 1);
  clock.advance(50_000);
  t.equal(quiets.until(ONE), clock.wall() + 70_000);
  t.strictSame(quiets.all(), [{ device: ONE, generation: 1, ms: 70_000 }]);
  quiets.release('a', ONE);
  t.equal(quiets.until(ONE), null);
  clock.advance(1_000_000);
  quiets.hold('b', ONE, 1);
  clock.advance(100_000);
  t.equal(quiets.until(ONE), null, 'used up within the session');
  quiets.release('b', ONE);
  quiets.hold('c', ONE, 1);
  t.strictSame(told, ['quiet 1 1 120000', 'loud 1', 'quiet 1 1 70000', 'loud 1'], 'and then there is none');
  quiets.hold('d', ONE, 2);
  t.equal(told.at(-1), 'quiet 1 2 120000', 'a newer push has a budget of its own');
  quiets.hold('e', ONE, 1);
  t.equal(told.length, 5, 'an older one gets none any more');
});

t.test('sessions at the same time spend one budget', async (t) => {
  const { clock, told, quiets } = setUp();
  quiets.hold('a', ONE, 1);
  quiets.hold('a', ONE, 1);
  quiets.hold('b', ONE, 1);
  clock.advance(10_000);
  quiets.release('a', ONE);
  quiets.release('a', ONE);
  t.strictSame(told, ['quiet 1 1 120000']);
  quiets.release('b', ONE);
  t.strictSame(told, ['quiet 1 1 120000', 'loud 1']);
});

t.test('a device with nothing pending needs no quiet', async (t) => {
  const { told, quiets } = setUp();
  quiets.hold('a', ONE, 0);
  quiets.release('a', ONE);
  t.strictSame(told, []);
});

t.test('the table of budgets is bounded, and only what can never count again is forgotten', async (t) => {
  const { clock, told, held, quiets } = setUp(1);
  quiets.hold('a', ONE, 1);
  clock.advance(QUIET_BUDGET_MS);
  quiets.release('a', ONE);
  quiets.hold('b', TWO, 1);
  t.equal(told.length, 2, 'no room while the first has something pending');
  held.delete(ONE);
  quiets.hold('b', TWO, 1);
  t.equal(told.at(-1), 'quiet 2 1 120000');
});

t.test('what is forgotten gives no session from before another budget', async (t) => {
  const { clock, told, held, quiets } = setUp(1);
  quiets.hold('a', ONE, 1);
  clock.advance(QUIET_BUDGET_MS);
  quiets.release('a', ONE);
  held.delete(ONE);
  quiets.hold('b', TWO, 1);
  quiets.release('b', TWO);
  held.delete(TWO);
  told.length = 0;
  quiets.hold('late', ONE, 1);
  held.set(ONE, 2);
  quiets.hold('late', ONE, 1);
  t.strictSame(told, [], 'neither while nothing is held nor beside a newer push');
  quiets.hold('new', ONE, 2);
  t.strictSame(told, ['quiet 1 2 120000']);
});

t.test(
  'whatever a forger does, polls of one generation are never kept quiet for longer than the budget',
  async (t) => {
    const deed = fc.oneof(
      fc.record({
        deed: fc.constantFrom('hold' as const, 'release' as const),
        session: fc.nat(5),
        device: fc.constantFrom(ONE, TWO),
        generation: fc.nat(3),
      }),
      fc.record({ deed: fc.constant('wait' as const), ms: fc.nat(90_000) }),
      fc.record({ deed: fc.constant('push' as const), device: fc.constantFrom(ONE, TWO) }),
      fc.record({ deed: fc.constant('clear' as const), device: fc.constantFrom(ONE, TWO) }),
    );
    let longest = 0;
    fc.assert(
      fc.property(fc.array(deed, { maxLength: 80, size: 'max' }), fc.constantFrom(1, 2), (deeds, devices) => {
        const clock = createFakeClock();
        const newest = new Map<DeviceId, number>();
        const held = new Map<DeviceId, number>();
        /** What a proxy makes of it: per device, from when until when it is quiet, and for which generation. */
        const quietNow = new Map<DeviceId, { generation: number; from: number; until: number }>();
        const total = new Map<string, number>();
        const settle = (device: DeviceId): void => {
          const quiet = quietNow.get(device);
          if (quiet === undefined) return;
          const key = `${device} ${quiet.generation}`;
          total.set(key, (total.get(key) ?? 0) + Math.min(clock.monotonic(), quiet.until) - quiet.from);
          quietNow.delete(device);
        };
        const quiets = createQuiets({
          clock,
          devices,
          pending: { generation: (device) => held.get(device) ?? 0 },
          links: {
            quiet(device, generation, ms) {
              settle(device);
              quietNow.set(device, { generation, from: clock.monotonic(), until: clock.monotonic() + ms });
            },
            loud: settle,
          },
        });
        for (const each of deeds) {
          if (each.deed === 'wait') clock.advance(each.ms);
          else if (each.deed === 'push') {
            newest.set(each.device, (newest.get(each.device) ?? 0) + 1);
            held.set(each.device, newest.get(each.device) ?? 0);
          } else if (each.deed === 'clear') held.delete(each.device);
          else if (each.deed === 'release') quiets.release(`${each.session}`, each.device);
          // A session holds what was the newest generation when it began, which may be long ago.
          else
            quiets.hold(
              `${each.session}`,
              each.device,
              Math.min(each.generation, newest.get(each.device) ?? 0),
            );
          const told = quiets.all().map(({ device, ms }) => `${device} ${clock.monotonic() + ms}`);
          const applied = [...quietNow].filter(([, { until }]) => until > clock.monotonic());
          assert.deepStrictEqual(
            told.sort(),
            applied.map(([device, { until }]) => `${device} ${until}`).sort(),
          );
        }
        settle(ONE);
        settle(TWO);
        for (const ms of total.values()) {
          assert(ms <= QUIET_BUDGET_MS, `quiet for ${ms} ms`);
          longest = Math.max(longest, ms);
        }
      }),
      { numRuns: 1000 },
    );
    t.equal(longest, QUIET_BUDGET_MS, 'some used it up');
  },
);

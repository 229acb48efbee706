import t from 'tap';
import { createArrivals } from '../../../relay-client/warnings/arrivals.ts';
import { JUMP_MS, watchClockJumps } from '../../../relay-client/warnings/clock-jumps.ts';
import { createContactCheck } from '../../../relay-client/warnings/contacts.ts';
import type { Warning, WarningFacts } from '../../../relay-client/warnings/kinds.ts';
import { createWarnings, TOLD_MS, WARNED_DEVICES } from '../../../relay-client/warnings/warnings.ts';
import type { WarningEvent } from '../../../relay-client/warnings/warnings.ts';
import type { DeviceId } from '../../../shared/device-id.ts';
import { silentLog } from '../../../shared/log.ts';
import type { LogFields } from '../../../shared/log.ts';
import { createFakeClock } from '../../fixtures/fake-clock.ts';

const ONE = '00:1a:e8:00:00:01' as DeviceId;
const TWO = '00:1a:e8:00:00:02' as DeviceId;

function setUp() {
  const clock = createFakeClock();
  const counted: Warning[] = [];
  const told: WarningEvent[] = [];
  const logged: (LogFields | undefined)[] = [];
  const warnings = createWarnings({
    clock,
    log: { ...silentLog, warn: (_msg, fields) => logged.push(fields) },
    count: (what) => counted.push(what),
    tell: (event) => told.push(event),
  });
  return { clock, counted, told, logged, ...warnings };
}

t.test(
  'every warning counts; one in a minute is logged, and one in a minute told of each device',
  async (t) => {
    const { clock, counted, told, logged, warn } = setUp();
    for (let n = 0; n < 5; n += 1) warn('unidentified', { device: null, why: 'x' });
    warn('ftp', { device: ONE });
    warn('ftp', { device: TWO });
    clock.advance(TOLD_MS);
    warn('unidentified', { device: null, why: 'y' });
    t.equal(counted.length, 8);
    t.match(logged, [
      { what: 'unidentified', why: 'x', unlogged_before: 0 },
      { what: 'ftp', device: ONE },
      { what: 'unidentified', why: 'y', unlogged_before: 4 },
    ]);
    t.match(
      told.map(({ what, device, count }) => [what, device, count]),
      [
        ['unidentified', null, 1],
        ['ftp', ONE, 1],
        ['ftp', TWO, 1],
        ['unidentified', null, 5],
      ],
    );
    t.equal(told[3]?.sentence, 'the device could not be known for certain (why y)');
    t.strictSame(told[3]?.facts, { why: 'y' });
  },
);

t.test('of a device the last one of each kind is remembered, and how many there were', async (t) => {
  const { clock, warn, of } = setUp();
  warn('inside-address', { device: ONE, item: 'file-server', address: '10.0.0.1' });
  warn('ftp', { device: ONE });
  clock.advance(1000);
  warn('inside-address', { device: ONE, item: 'dcmp-url', address: '10.0.0.2' });
  t.strictSame(of(ONE), [
    {
      what: 'inside-address',
      count: 2,
      at: clock.wall(),
      sentence:
        'the service writes an address of the inside into the phone (item dcmp-url, address 10.0.0.2)',
    },
    {
      what: 'ftp',
      count: 1,
      at: clock.wall() - 1000,
      sentence: 'the service sends the phone to an FTP server, which is not carried',
    },
  ]);
  t.strictSame(of(TWO), []);
});

t.test('devices without end push out those not warned of for longest', async (t) => {
  const { warn, of } = setUp();
  warn('ftp', { device: ONE });
  warn('ftp', { device: TWO });
  for (let n = 2; n < WARNED_DEVICES; n += 1) {
    if (n === WARNED_DEVICES - 1) warn('ftp', { device: ONE });
    warn('ftp', { device: `d${n}` as DeviceId });
  }
  t.equal(of(TWO).length, 1);
  warn('ftp', { device: 'one-more' as DeviceId });
  t.equal(of(TWO).length, 0);
  t.equal(of(ONE)[0]?.count, 2);
});

function arrivals(pending: (device: DeviceId) => boolean = () => true) {
  const clock = createFakeClock();
  const warned: [Warning, WarningFacts][] = [];
  const made = createArrivals({ clock, within: 60_000, pending, warn: (...each) => void warned.push(each) });
  return { clock, warned, ...made };
}

t.test(
  'a phone that was told 202 and does not come is warned of, once for each time it could have',
  async (t) => {
    const { clock, warned, polled } = arrivals();
    polled(ONE, 202, 0);
    polled(TWO, 200, 0);
    clock.advance(59_000);
    polled(ONE, 202, 0);
    t.strictSame(warned, []);
    clock.advance(1_000);
    t.strictSame(warned, [['not-coming', { device: ONE, waited_s: 60 }]]);
    clock.advance(600_000);
    t.equal(warned.length, 1, 'it must be told again before it is waited for again');
    polled(ONE, 202, 0);
    clock.advance(60_000);
    t.equal(warned.length, 2);
  },
);

t.test('a phone that came is not, even where its poll is told after its session', async (t) => {
  const { clock, warned, polled, came } = arrivals();
  polled(ONE, 202, 0);
  clock.advance(1_000);
  came(ONE);
  came(TWO);
  polled(TWO, 202, 900);
  clock.advance(120_000);
  t.strictSame(warned, []);
  polled(TWO, 202, 0);
  clock.advance(60_000);
  t.match(warned, [['not-coming', { device: TWO }]], 'a later 202 counts anew');
});

t.test('nor is one for which nothing is pending any more', async (t) => {
  const { clock, warned, polled } = arrivals(() => false);
  polled(ONE, 202, 0);
  clock.advance(120_000);
  t.strictSame(warned, []);
});

t.test('contacts within the gap are warned of, others not', async (t) => {
  const clock = createFakeClock();
  const warned: [Warning, WarningFacts][] = [];
  const contacted = createContactCheck({ clock, gap: 60_000, warn: (...each) => void warned.push(each) });
  contacted(ONE);
  contacted(TWO);
  clock.advance(59_999);
  contacted(ONE);
  clock.advance(1);
  contacted(TWO);
  t.strictSame(warned, [['contacted-often', { device: ONE, after_s: 59 }]]);
});

t.test('a clock that is set is warned of, one that is slewed is not', async (t) => {
  const clock = createFakeClock();
  const warned: [Warning, WarningFacts][] = [];
  const timer = watchClockJumps(clock, (...each) => void warned.push(each));
  for (let n = 0; n < 100; n += 1) {
    clock.jumpWall(400);
    clock.advance(1000);
  }
  t.strictSame(warned, []);
  clock.jumpWall(-2 * JUMP_MS);
  clock.advance(10_000);
  t.strictSame(warned, [['clock-jump', { device: null, by_s: -20 }]]);
  timer.cancel();
});

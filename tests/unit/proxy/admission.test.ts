import fc from 'fast-check';
import t from 'tap';
import { ARRIVAL_MS, createAdmission } from '../../../proxy/admission.ts';
import { ADMISSION_WINDOW_MS, admissionTicket } from '../../../proxy/marks-decision.ts';
import { ADMIT_ALL } from '../../../proxy/marks-layout.ts';
import type { DeviceId } from '../../../shared/device-id.ts';
import { createFakeClock } from '../../fixtures/fake-clock.ts';

const device = (n: number) => `phone-${n}` as DeviceId;
/** At the beginning of a window. */
const startAnew = (most: number) => {
  const clock = createFakeClock();
  clock.advance(ADMISSION_WINDOW_MS - (clock.monotonic() % ADMISSION_WINDOW_MS));
  return { clock, ...createAdmission(clock, most) };
};

t.test('while there is room for all, all are admitted, and none while there is no room', async (t) => {
  t.equal(startAnew(200).share(0, 0), ADMIT_ALL);
  t.equal(startAnew(200).share(0, 200), ADMIT_ALL);
  t.equal(startAnew(200).share(50, 150), ADMIT_ALL);
  t.equal(startAnew(200).share(200, 201), 0);
  t.equal(startAnew(200).share(500, 501), 0, 'nor beyond the bound');
  t.equal(
    startAnew(200).share(100, 500),
    ADMIT_ALL / 4,
    'room for a quarter of those that are in no session',
  );
});

t.test('somebody has a turn whenever there is room, however many wait', async (t) => {
  t.ok(startAnew(1).share(0, 2_000_000) > 0);
});

t.test('who is still expected has a place, and who has come has it until the relay tells', async (t) => {
  const { share, arrived, told } = startAnew(100);
  const first = share(0, 1_000);
  t.equal(first, Math.ceil(ADMIT_ALL / 10));
  t.equal(share(0, 1_000), first, 'nobody takes the places of 100 that have not come');
  for (let n = 0; n < 50; n++) arrived(device(n));
  t.equal(share(0, 1_000), first, 'nor of those that the relay does not count yet');
  told();
  t.equal(share(50, 1_000), first);
  t.ok(share(0, 950) > first, 'but of those whose sessions have ended');
});

t.test('when many are pushed at once, those among them that find the door open are counted', async (t) => {
  const { share } = startAnew(40);
  t.equal(share(0, 30), ADMIT_ALL);
  t.equal(share(0, 4_000), Math.ceil((ADMIT_ALL * 40) / 4_000));
});

t.test('the end of a window is for those that were told', async (t) => {
  const { clock, share } = startAnew(40);
  t.ok(share(0, 4_000) > 0);
  clock.advance(ADMISSION_WINDOW_MS - ARRIVAL_MS);
  t.equal(share(0, 4_000), 0);
  t.equal(share(0, 40), ADMIT_ALL, 'unless there is room for all');
  clock.advance(ARRIVAL_MS);
  t.ok(share(0, 4_000) > 0);
});

t.test('the share grows while few come, so that devices that never poll hold back nobody', async (t) => {
  const { clock, share, shut } = startAnew(200);
  const shares: number[] = [];
  for (let window = 0; window < 20; window++) {
    shares.push(share(0, 100_000));
    clock.advance(ADMISSION_WINDOW_MS);
  }
  t.equal(shares[0], Math.ceil(ADMIT_ALL / 500), 'at first as if all of them polled at once');
  t.ok(
    shares.every((each, i) => i === 0 || each >= shares[i - 1]!),
    shares.join(' '),
  );
  t.equal(shares.at(-1), ADMIT_ALL);
  shut();
  t.equal(share(0, 100_000), Math.ceil(ADMIT_ALL / 500), 'after an outage all of them may poll at once');
  for (let window = 0; window < 20; window++) {
    clock.advance(ADMISSION_WINDOW_MS);
    shut();
    t.equal(share(0, 100_000), Math.ceil(ADMIT_ALL / 500), 'that nobody came in it means nothing');
  }
});

t.test('the share shrinks again when more come than were expected', async (t) => {
  const { clock, share, arrived } = startAnew(200);
  for (let window = 0; window < 6; window++) {
    share(0, 100_000);
    clock.advance(ADMISSION_WINDOW_MS);
  }
  const grown = share(0, 100_000);
  for (let n = 0; n < 400; n++) arrived(device(n));
  clock.advance(ADMISSION_WINDOW_MS);
  t.ok(share(0, 100_000) < grown);
});

interface Way {
  phones: number;
  most: number;
  pollMs: number;
  /** From a 202 to the beginning of the session. */
  comesMs: number;
  lastsMs: number;
  /** All at the same moments, or each at its own. */
  together: boolean;
  seed: number;
}

const STEP_MS = 100;
const HEALTH_MS = 200;
const GIVE_UP_MS = 6 * 3_600_000;

/** Phones that poll until each has had its session; resolves to most sessions at a time, and how long it took. */
function play(way: Way): { highest: number; tookMs: number; left: number } {
  const { clock, share, arrived, told } = startAnew(way.most);
  let random = way.seed >>> 0;
  const next = (): number => {
    random = (Math.imul(random, 1_664_525) + 1_013_904_223) >>> 0;
    return random;
  };
  const began = clock.monotonic();
  const waiting = new Map(
    Array.from({ length: way.phones }, (_, n) => [
      n,
      { hash: next() ^ (next() >>> 7), at: began + (way.together ? 0 : next() % way.pollMs) },
    ]),
  );
  const coming: { at: number; n: number }[] = [];
  const ending: { at: number }[] = [];
  let admit = share(0, way.phones);
  let health = 0;
  let highest = 0;
  while (waiting.size + coming.length + ending.length > 0 && clock.monotonic() - began < GIVE_UP_MS) {
    const now = clock.monotonic();
    while (ending[0] !== undefined && ending[0].at <= now) ending.shift();
    while (coming[0] !== undefined && coming[0].at <= now) {
      arrived(device(coming.shift()!.n));
      ending.push({ at: now + way.lastsMs });
    }
    highest = Math.max(highest, ending.length);
    if (now % HEALTH_MS < STEP_MS) {
      health = ending.length;
      told();
    }
    admit = share(health, waiting.size + coming.length + ending.length);
    for (const [n, phone] of waiting) {
      if (phone.at > now) continue;
      phone.at += way.pollMs;
      if (admissionTicket(phone.hash, now) >= admit) continue;
      waiting.delete(n);
      coming.push({ at: now + way.comesMs, n });
    }
    clock.advance(STEP_MS);
  }
  return { highest, tookMs: clock.monotonic() - began, left: waiting.size };
}

/** Who is admitted is drawn by lot: with a mean of `most`, this many are exceeded once in 30 000 draws. */
const bound = (most: number): number => most + 4 * Math.sqrt(most);

t.test('phones that all poll in the same moments keep within the bound, and get done', (t) => {
  fc.assert(
    fc.property(
      fc.record({
        phones: fc.integer({ min: 100, max: 1_500 }),
        most: fc.integer({ min: 20, max: 200 }),
        pollMs: fc.constantFrom(100, 1_000, 5_000, 30_000),
        comesMs: fc.integer({ min: 0, max: 2_000 }),
        lastsMs: fc.integer({ min: 100, max: 8_000 }),
        together: fc.boolean(),
        seed: fc.integer(),
      }),
      (way) => {
        const { highest, left } = play(way);
        return left === 0 && highest <= bound(way.most);
      },
    ),
    // The bound is one of chance: a seed that holds today holds tomorrow.
    { numRuns: 40, seed: 20 },
  );
  t.end();
});

t.test('phones that seldom poll fill the places nevertheless', async (t) => {
  const way = { phones: 6_000, most: 50, pollMs: 600_000, comesMs: 2_000, lastsMs: 8_000, seed: 7 };
  const { highest, tookMs, left } = play({ ...way, together: false });
  t.equal(left, 0);
  t.ok(highest <= bound(50), `${highest} sessions at a time`);
  t.ok(tookMs < 3 * 3_600_000, `${tookMs} ms; one for each place in each window would take 15 hours`);
});

t.test('a share is a whole number of tickets, whatever is told', (t) => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 1_000_000 }),
      fc.array(fc.tuple(fc.nat(2_000_000), fc.nat(2_000_000), fc.nat(30_000), fc.nat(50)), { maxLength: 40 }),
      (most, tellings) => {
        const clock = createFakeClock();
        const { share, arrived, told } = createAdmission(clock, most);
        for (const [sessions, pending, pause, came] of tellings) {
          for (let n = 0; n < came; n++) arrived(device(n));
          told();
          const tickets = share(sessions, pending);
          if (!Number.isInteger(tickets) || tickets < 0 || tickets > ADMIT_ALL) return false;
          if (sessions >= most && tickets !== 0) return false;
          clock.advance(pause);
        }
        return true;
      },
    ),
  );
  t.end();
});

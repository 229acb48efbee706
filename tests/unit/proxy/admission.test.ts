import fc from 'fast-check';
import t from 'tap';
import { createAdmission } from '../../../proxy/admission.ts';
import { ADMISSION_WINDOW_MS, ADMIT_ALL } from '../../../proxy/marks-layout.ts';
import { createFakeClock } from '../../fixtures/fake-clock.ts';

t.test('while there is room for all, all are admitted, and none while there is no room', async (t) => {
  const { share } = createAdmission(createFakeClock(), 200);
  t.equal(share(0, 0), ADMIT_ALL);
  t.equal(share(0, 200), ADMIT_ALL);
  t.equal(share(50, 150), ADMIT_ALL);
  t.equal(share(200, 1), 0);
  t.equal(share(500, 1), 0, 'nor beyond the bound');
  t.equal(share(100, 400), ADMIT_ALL / 4, 'room for a quarter');
});

t.test('somebody has a turn whenever there is room, however many wait', async (t) => {
  const { share } = createAdmission(createFakeClock(), 1);
  t.ok(share(0, 2_000_000) > 0);
});

t.test(
  'the share grows while sessions leave room, so that devices that never poll hold back nobody',
  async (t) => {
    const clock = createFakeClock();
    const { share } = createAdmission(clock, 200);
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
  },
);

t.test('the share shrinks again as sessions come near their bound', async (t) => {
  const clock = createFakeClock();
  const { share } = createAdmission(clock, 200);
  for (let window = 0; window < 6; window++) {
    share(0, 100_000);
    clock.advance(ADMISSION_WINDOW_MS);
  }
  const grown = share(0, 100_000);
  share(190, 100_000);
  clock.advance(ADMISSION_WINDOW_MS);
  t.ok(share(0, 100_000) < grown, 'a crowded moment within the window is remembered');
});

t.test('a site that came to rest begins anew with care', async (t) => {
  const clock = createFakeClock();
  const { share } = createAdmission(clock, 200);
  for (let window = 0; window < 20; window++) {
    share(0, 100_000);
    clock.advance(ADMISSION_WINDOW_MS);
  }
  share(0, 10);
  t.equal(share(0, 100_000), Math.ceil(ADMIT_ALL / 500));
});

t.test(
  'a fleet that polls all the time keeps within twice its bound of sessions, and gets done',
  async (t) => {
    // Each device polls every 60 s; its session begins 2 s after a 202 and takes 8 s. Health comes within the second.
    const clock = createFakeClock();
    const most = 100;
    const { share } = createAdmission(clock, most);
    let waiting = 30_000;
    const begins: number[] = [];
    let sessions = 0;
    let highest = 0;
    for (let second = 0; second < 5_400 && waiting + sessions > 0; second++) {
      const admitted = share(sessions, waiting) / ADMIT_ALL;
      begins[second + 2] = Math.min(waiting, Math.ceil((waiting / 60) * admitted));
      waiting -= begins[second + 2] ?? 0;
      sessions += (begins[second] ?? 0) - (begins[second - 8] ?? 0);
      highest = Math.max(highest, sessions);
      clock.advance(1_000);
    }
    t.equal(waiting, 0, 'within an hour and a half; an even share of the room would take more than five');
    t.ok(highest <= 2 * most, `${highest} sessions at a time`);
  },
);

t.test('a share is a whole number of tickets, whatever is told', (t) => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 1_000_000 }),
      fc.array(fc.tuple(fc.nat(2_000_000), fc.nat(2_000_000), fc.nat(30_000)), { maxLength: 40 }),
      (most, tellings) => {
        const clock = createFakeClock();
        const { share } = createAdmission(clock, most);
        for (const [sessions, pending, pause] of tellings) {
          const tickets = share(sessions, pending);
          if (!Number.isInteger(tickets) || tickets < 0 || tickets > ADMIT_ALL) return false;
          if ((tickets === 0) !== sessions >= most) return false;
          clock.advance(pause);
        }
        return true;
      },
    ),
  );
  t.end();
});

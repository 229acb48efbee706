import fc from 'fast-check';
import t from 'tap';
import {
  ADMISSION_WINDOW_MS,
  admissionTicket,
  decide,
  offers,
  type MarkView,
  type SiteView,
} from '../../../proxy/marks-decision.ts';
import {
  ACTIONS,
  ADMIT,
  ADMIT_ALL,
  ALIVE_UNTIL,
  COURIER,
  DIRECT,
  ENTRY_WORDS,
  EXPIRY,
  FLAGS,
  GAP_UNTIL,
  KNOWN,
  NOT_BEFORE,
  PENDING,
  QUIET_UNTIL,
  SITE_FLAGS,
  SITE_WORDS,
  UPSTREAM_OK,
} from '../../../proxy/marks-layout.ts';

const NOW = 100;
const time = fc.constantFrom(0, 1, NOW - 1, NOW, NOW + 1, 1_000, 0xffff_ffff);
const anyMark: fc.Arbitrary<MarkView> = fc.record({
  pending: fc.boolean(),
  actions: fc.boolean(),
  notBefore: time,
  expiry: time,
  quietUntil: time,
  gapUntil: time,
});
const anySite: fc.Arbitrary<SiteView> = fc.record({
  aliveUntil: time,
  upstreamOk: fc.boolean(),
  courier: fc.boolean(),
  direct: fc.boolean(),
  admit: fc.constantFrom(0, 1, 500, ADMIT_ALL),
});

const offered: MarkView = { pending: true, notBefore: NOW, expiry: NOW + 1, quietUntil: NOW, gapUntil: NOW };
const open: SiteView = { aliveUntil: NOW + 1, upstreamOk: true, direct: false, admit: ADMIT_ALL };

t.test('202 is offered only when a session could succeed now', async () => {
  fc.assert(
    fc.property(anyMark, anySite, fc.constantFrom(0, 499, 500, ADMIT_ALL - 1), (mark, site, ticket) => {
      const due = mark.pending && mark.notBefore <= NOW && NOW < mark.expiry;
      const free = mark.quietUntil <= NOW && mark.gapUntil <= NOW;
      const answered = site.upstreamOk || (mark.actions === true && site.courier === true);
      const reachable = site.direct || (site.aliveUntil > NOW && answered);
      const expected = due && free && reachable && ticket < site.admit;
      return (decide(mark, site, NOW, ticket) === 'offer') === expected;
    }),
    { numRuns: 2_000 },
  );
});

t.test('a worker offers, without a branch, exactly what is decided', async () => {
  const word = fc.constantFrom(
    0,
    1,
    NOW - 1,
    NOW,
    NOW + 1,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_fffe,
    0xffff_ffff,
  );
  fc.assert(
    fc.property(
      anyMark,
      anySite,
      fc.tuple(word, word, word, word, word, word),
      fc.nat(3),
      (m, s, times, at) => {
        const [now, notBefore, expiry, quietUntil, gapUntil, aliveUntil] = times;
        const mark = { ...m, notBefore, expiry, quietUntil, gapUntil };
        const site = { ...s, aliveUntil };
        const ticket = [0, 499, 500, ADMIT_ALL - 1][at] ?? 0;
        const entry = new Int32Array(ENTRY_WORDS);
        entry[FLAGS] = KNOWN | (mark.pending ? PENDING : 0) | (mark.actions === true ? ACTIONS : 0);
        entry[NOT_BEFORE] = notBefore;
        entry[EXPIRY] = expiry;
        entry[QUIET_UNTIL] = quietUntil;
        entry[GAP_UNTIL] = gapUntil;
        const words = new Int32Array(SITE_WORDS);
        words[ALIVE_UNTIL] = aliveUntil;
        words[SITE_FLAGS] =
          (site.upstreamOk ? UPSTREAM_OK : 0) |
          (site.direct ? DIRECT : 0) |
          (site.courier === true ? COURIER : 0);
        words[ADMIT] = site.admit;
        return offers(entry, words, now, ticket) === (decide(mark, site, now, ticket) === 'offer' ? 1 : 0);
      },
    ),
    { numRuns: 20_000 },
  );
});

t.test('each condition alone holds 202 back, and is named', async (t) => {
  t.equal(decide(offered, open, NOW, 0), 'offer');
  t.equal(decide({ ...offered, pending: false }, open, NOW, 0), 'idle');
  t.equal(decide({ ...offered, notBefore: NOW + 1 }, open, NOW, 0), 'too_early');
  t.equal(decide({ ...offered, expiry: NOW }, open, NOW, 0), 'expired');
  t.equal(decide({ ...offered, quietUntil: NOW + 1 }, open, NOW, 0), 'in_session');
  t.equal(decide({ ...offered, gapUntil: NOW + 1 }, open, NOW, 0), 'session_gap');
  t.equal(decide(offered, { ...open, aliveUntil: NOW }, NOW, 0), 'link_down');
  t.equal(decide(offered, { ...open, upstreamOk: false }, NOW, 0), 'upstream_down');
  const alone = { ...open, upstreamOk: false, courier: true };
  t.equal(decide(offered, alone, NOW, 0), 'upstream_down', 'a contact-me needs the service');
  t.equal(decide({ ...offered, actions: true }, alone, NOW, 0), 'offer', 'actions do not');
  t.equal(decide({ ...offered, actions: true }, { ...alone, aliveUntil: NOW }, NOW, 0), 'link_down');
  t.equal(decide(offered, { ...open, admit: 0 }, NOW, 0), 'not_admitted');
  t.equal(decide(offered, { ...open, direct: true, aliveUntil: 0, upstreamOk: false }, NOW, 0), 'offer');
});

t.test('admission lets in its share of the devices, each in its turn', async (t) => {
  const devices = Array.from({ length: 2_000 }, (_, i) => Math.imul(i + 1, 0x9e3779b1) >>> 0);
  const windows = Array.from({ length: 60 }, (_, i) => i * ADMISSION_WINDOW_MS);
  const admit = ADMIT_ALL / 10;
  for (const now of windows) {
    const share = devices.filter((hash) => admissionTicket(hash, now) < admit).length / devices.length;
    t.ok(share > 0.07 && share < 0.13, `a tenth is let in: ${share}`);
  }
  const never = devices.filter((hash) => windows.every((now) => admissionTicket(hash, now) >= admit));
  t.ok(never.length < devices.length * 0.01, 'hardly any waits for sixty windows in vain');
  t.equal(
    admissionTicket(7, 0),
    admissionTicket(7, ADMISSION_WINDOW_MS - 1),
    'a device keeps its ticket for a window',
  );
});

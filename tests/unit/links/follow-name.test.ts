import t from 'tap';
import { followName, UNKNOWN_WAIT_MS } from '../../../relay-client/links/follow-name.ts';
import { createLookup } from '../../../relay-client/links/lookup.ts';
import type { Answers, Family } from '../../../relay-client/links/lookup.ts';
import { silentLog } from '../../../shared/log.ts';
import { createFakeClock } from '../../fixtures/fake-clock.ts';
import { startNameServer } from '../../fixtures/name-server.ts';
import type { Zone } from '../../fixtures/name-server.ts';

const NAME = 'gate.example';
const INTERVAL_MS = 30_000;
const GRACE_MS = 100_000;

/** Follows a name that a real name server holds, in time of the test's own. */
async function start(t: Tap, zone: Zone, options: { family?: Family; most?: number; grace?: number } = {}) {
  const server = await startNameServer(t);
  server.zone = zone;
  const clock = createFakeClock();
  const known = new Set<string>();
  const lookup = createLookup(NAME, options.family ?? 'all', [server.address]);
  let looked = Promise.withResolvers<Answers>();
  let waiting: Promise<Answers> | null = null;
  const following = followName({
    name: NAME,
    lookup() {
      waiting = lookup();
      looked.resolve(waiting);
      return waiting;
    },
    interval: INTERVAL_MS,
    grace: options.grace ?? GRACE_MS,
    most: options.most ?? 16,
    clock,
    log: silentLog,
    onAddress: (address) => {
      t.notOk(known.has(address), `${address} is told once`);
      known.add(address);
    },
    onGone: (address) => t.ok(known.delete(address), `${address} was known`),
  });
  t.teardown(() => following.stop());
  const settle = async (): Promise<void> => {
    await waiting;
    await new Promise<void>((resolve) => setImmediate(resolve));
  };
  return {
    server,
    following,
    known: () => [...known].toSorted(),
    settle,
    /** Lets time pass until the next lookup, and the lookup end. */
    async next(after = INTERVAL_MS): Promise<void> {
      looked = Promise.withResolvers();
      clock.advance(after);
      await looked.promise;
      await settle();
    },
  };
}
type Tap = Parameters<typeof startNameServer>[0] & {
  ok(is: unknown, why: string): unknown;
  notOk(is: unknown, why: string): unknown;
};

t.test(
  'addresses come with the next lookup, and go when lookups have gone without them for the grace',
  async (t) => {
    const { server, known, settle, next } = await start(t, { A: ['192.0.2.1'], AAAA: ['2001:db8::1'] });
    await settle();
    t.same(known(), ['192.0.2.1', '2001:db8::1']);
    server.zone = { A: ['192.0.2.1', '192.0.2.2'], AAAA: [] };
    await next();
    t.same(known(), ['192.0.2.1', '192.0.2.2', '2001:db8::1'], 'what is gone for a moment stays');
    for (let waited = 0; waited < GRACE_MS; waited += INTERVAL_MS) {
      t.ok(known().includes('2001:db8::1'), `still after ${waited} ms`);
      await next();
    }
    t.same(known(), ['192.0.2.1', '192.0.2.2']);
  },
);

t.test('an address that is back within the grace has never been away', async (t) => {
  const both = { A: ['192.0.2.1', '192.0.2.2'], AAAA: [] };
  const { server, known, settle, next } = await start(t, both);
  await settle();
  for (let round = 0; round < 10; round++) {
    server.zone = round % 2 === 0 ? { A: ['192.0.2.1'], AAAA: [] } : both;
    await next();
    t.same(known(), both.A, 'a name server that tells a part each time takes nothing down');
  }
});

t.test('a lookup that fails, or brings nothing at all, changes nothing however long', async (t) => {
  const { server, known, settle, next, following } = await start(t, 'unknown', { grace: 0 });
  await settle();
  t.match(following.problem(), /^cannot look up gate.example: it has no address$/);
  server.zone = 'failure';
  await next(UNKNOWN_WAIT_MS);
  t.match(following.problem(), /SERVFAIL/);
  server.zone = { A: ['192.0.2.1'], AAAA: ['2001:db8::1'] };
  await next(UNKNOWN_WAIT_MS);
  const all = ['192.0.2.1', '2001:db8::1'];
  t.same(known(), all);
  for (const zone of ['failure', 'unknown', { A: [], AAAA: [] }] as const) {
    server.zone = zone === 'failure' || zone === 'unknown' ? zone : { A: [], AAAA: [] };
    await next();
    t.same(known(), all);
    t.equal(following.problem(), null);
  }
  server.zone = { A: ['192.0.2.1'], AAAA: [] };
  server.failing = 'AAAA';
  await next();
  t.same(known(), all, 'a family that could not be asked keeps its addresses');
  server.failing = undefined;
  await next();
  t.same(known(), ['192.0.2.1'], 'without grace what is gone goes at once');
});

t.test('more addresses than the cap are left out, and taken when there is room', async (t) => {
  const { server, known, settle, next } = await start(
    t,
    { A: ['192.0.2.1', '192.0.2.2', '192.0.2.3'], AAAA: [] },
    { most: 2, grace: 0 },
  );
  await settle();
  const first = known();
  t.equal(first.length, 2);
  server.zone = { A: ['192.0.2.1', '192.0.2.2', '192.0.2.3'].filter((each) => each !== first[0]), AAAA: [] };
  await next();
  t.same(known(), server.zone.A.toSorted());
});

for (const [family, wanted] of [
  ['ipv4', ['192.0.2.1']],
  ['ipv6', ['2001:db8::1']],
] as const) {
  t.test(`${family} only`, async (t) => {
    const { known, settle } = await start(t, { A: ['192.0.2.1'], AAAA: ['2001:db8::1'] }, { family });
    await settle();
    t.same(known(), wanted);
  });
}

import t from 'tap';
import { long, until } from '../fixtures/faults/until.ts';
import { startGate } from '../fixtures/gate.ts';
import { createFleet, macAfter } from '../phones/index.ts';

const PHONES = long ? 5_000 : 120;
const MOST_SESSIONS = long ? 200 : 40;
const GAP_MS = 2_000;
const FIRST_MAC = '00:1A:E8:80:00:01';
const WRITE = { action: 'WriteItems', items: { realm: 'storm' } } as const;
/** Who is admitted is drawn by lot; see "How many at a time" in docs/semantics.md: exceeded once in 31 000 draws. */
const BOUND = MOST_SESSIONS + 4 * Math.sqrt(MOST_SESSIONS * (1 - MOST_SESSIONS / PHONES));

t.test(`after an outage ${PHONES} pending phones poll at once`, async (t) => {
  const gate = await startGate(t, {
    logLevel: 'info',
    proxy: {
      sites: [{ name: 'default', session_gap_s: GAP_MS / 1000, max_sessions: MOST_SESSIONS }],
    },
    service: { keepItems: false, recordLimit: 10, answerDelayMs: 20 },
  });
  const began = new Map<string, number>();
  let soonest = Infinity;
  let failed = 0;
  const done = new Set<string>();
  const fleet = createFleet({
    count: PHONES,
    firstMac: FIRST_MAC,
    service: gate.phoneService,
    pollUrl: gate.pollUrl,
    pollIntervalMs: 0,
    // More than may have a session: it is the proxy that has to bound them.
    concurrency: 2 * MOST_SESSIONS,
    onEvent(event) {
      if (event.type === 'session-start') {
        const last = began.get(event.deviceId);
        if (last !== undefined) soonest = Math.min(soonest, performance.now() - last);
        began.set(event.deviceId, performance.now());
      }
      if (event.type !== 'session') return;
      if (event.outcome === 'failed') failed += 1;
      else done.add(event.deviceId);
    },
  });
  t.teardown(() => fleet.close());
  const devices = fleet.phones.map((_, n) => macAfter(FIRST_MAC, n));
  for (const device of devices) void gate.service.enqueue(device, [WRITE]);
  const pushed = await fetch(`${gate.api}/v1/messages`, {
    method: 'POST',
    headers: { 'content-type': 'application/x-ndjson' },
    body: devices.map((device) => JSON.stringify({ device })).join('\n'),
  });
  await pushed.text();
  t.equal(pushed.status, 200);
  await gate.polls(devices.at(-1)!, 202).catch(() => undefined);

  gate.relay.signal('SIGKILL');
  t.equal(await gate.relay.exited, 'SIGKILL', 'the outage took place');
  await gate.polls(devices[0]!, 200);
  t.strictSame(await fleet.pollAll(), { 200: PHONES }, 'all polls are 200 while it lasts');
  await gate.startRelay();

  let most = 0;
  let running = true;
  const watched = (async () => {
    while (running) {
      const { sessions } = (await (await fetch(`${gate.api}/metrics`)).text()).match(
        /^sallyport_sessions (?<sessions>\d+)$/m,
      )?.groups as { sessions: string };
      most = Math.max(most, Number(sessions));
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  })();
  await until(
    'every phone has had its session',
    async () => {
      await fleet.pollAll();
      // A phone in a session does not poll.
      await Promise.all(fleet.phones.map((phone) => phone.idle()));
      return done.size === PHONES;
    },
    long ? 1_500_000 : 120_000,
  );
  running = false;
  await watched;

  const { pollsBy, sessionsBy } = fleet.stats();
  t.comment(JSON.stringify({ pollsBy, sessionsBy, most, soonest: Math.round(soonest) }));
  t.strictSame(Object.keys(pollsBy).sort(), ['200', '202'], 'no poll got anything else');
  t.equal(failed, 0, 'no session failed');
  t.ok(most <= BOUND, `at most ${most} sessions at once, ${MOST_SESSIONS} are allowed`);
  t.ok(soonest >= GAP_MS || soonest === Infinity, `no phone was called twice within ${GAP_MS} ms`);
  const { body } = await gate.call('GET', '/v1/devices?state=pending');
  t.strictSame(body['devices'], [], 'nothing is pending any more');
});

import t from 'tap';
import { startGate } from '../fixtures/gate.ts';
import { phoneAt } from '../fixtures/phone-at.ts';
import { createFleet } from '../phones/index.ts';

const PHONES = 200;
/** Their connections at a time: phones and service are one process here, in which more handshakes at once may take too long. */
const AT_ONCE = 40;
const DEVICE = '00:1A:E8:75:00:01';
/** Long enough to ask in between why the phone is not called. */
const GAP_MS = 4_000;

t.test('a gate with a fleet', async (t) => {
  const gate = await startGate(t, {
    proxy: { sites: [{ name: 'default', session_gap_s: GAP_MS / 1000, max_sessions: 2 * PHONES }] },
    logLevel: 'info',
  });

  await t.test(`${PHONES} phones register, are called, provisioned and left alone`, async (t) => {
    const fleet = createFleet({
      count: PHONES,
      concurrency: AT_ONCE,
      firstMac: '00:1A:E8:74:00:01',
      service: gate.phoneService,
      pollUrl: gate.pollUrl,
      pollIntervalMs: 0,
      startUp: true,
    });
    t.teardown(() => fleet.close());
    await fleet.start();
    t.strictSame(fleet.stats().sessionsBy, { completed: PHONES }, 'all have registered');
    t.strictSame(await fleet.pollAll(), { 200: PHONES }, 'and nothing is pending');

    const jobs = fleet.phones.map(({ deviceId }) =>
      gate.service.enqueue(deviceId, [{ action: 'WriteItems', items: { realm: deviceId } }]),
    );
    const pushes = fleet.phones.map(({ deviceId }) => JSON.stringify({ device: deviceId })).join('\n');
    const pushed = await fetch(`${gate.api}/v1/messages`, {
      method: 'POST',
      headers: { 'content-type': 'application/x-ndjson' },
      body: pushes,
    });
    t.equal(pushed.status, 200);
    await pushed.text();
    // Changes are applied in their order, so the last one tells of all.
    await gate.polls(fleet.phones.at(-1)?.deviceId ?? '', 202);

    t.strictSame(await fleet.pollAll(), { 202: PHONES }, 'all are called');
    const results = await Promise.all(jobs);
    t.strictSame(new Set(results.map(([result]) => result?.status)), new Set(['accepted']));
    await Promise.all(fleet.phones.map((phone) => phone.idle()));
    t.ok(
      fleet.phones.every(({ deviceId, items }) => items.get('realm') === deviceId),
      'each got its own items',
    );
    await Promise.all(fleet.phones.map(({ deviceId }) => gate.polls(deviceId, 200)));

    const { failures, sessionsBy, pollsBy } = fleet.stats();
    t.equal(failures, 0);
    t.strictSame(sessionsBy, { completed: 2 * PHONES });
    t.strictSame(pollsBy, { 200: PHONES, 202: PHONES });
    const { body } = await gate.call('GET', '/v1/devices?state=pending');
    t.strictSame(body['devices'], [], 'nothing is held any more');
  });

  await t.test('after a session its phone is not called again before the gap is over', async (t) => {
    const phone = phoneAt(t, gate, DEVICE);
    const push = async (): Promise<void> => {
      t.equal((await gate.call('POST', `/v1/devices/${DEVICE}/messages?wait=proxy`, {})).status, 201);
    };
    await push();
    await gate.polls(DEVICE, 202);
    const began = performance.now();
    const session = phone.next('session');
    await phone.pollNow();
    t.equal((await session).outcome, 'completed');
    await push();
    const status = await gate.poll(DEVICE);
    if (performance.now() - began < GAP_MS) t.equal(status, 200, 'pending, but not yet');
    const why = await gate.call('GET', `/v1/devices/${DEVICE}/why`);
    if (performance.now() - began < GAP_MS) {
      t.match(why.body, {
        verdict: 'quiet',
        sentence: /kept at 200 for another \d+ s, because a session just ended/,
      });
    }
    await gate.polls(DEVICE, 202);
    const gap = performance.now() - began;
    t.ok(gap >= GAP_MS, `called again after ${Math.round(gap)} ms`);
    const again = phone.next('session');
    await phone.pollNow();
    t.equal((await again).outcome, 'completed');
    await gate.polls(DEVICE, 200);
  });
});

import t from 'tap';
import { createFleet, createManualClock, macAfter } from '../../phones/index.ts';
import { startService } from './start.ts';

t.test('a thousand phones poll from one process, a bounded number at a time', async (t) => {
  const service = await startService(t, {
    tls: false,
    answersPolls: true,
    recordLimit: 10,
    keepItems: false,
  });
  const fleet = createFleet({
    count: 1000,
    service: service.url,
    pollUrl: `${service.url}/dcmp/`,
    concurrency: 50,
  });
  t.teardown(() => fleet.close());
  const wanted = fleet.phones[500]?.deviceId ?? '';
  const done = service.enqueue(wanted, [{ action: 'WriteItems', items: { realm: 'fleet' } }]);
  t.strictSame(await fleet.pollAll(), { 200: 999, 202: 1 });
  t.match(await done, [{ status: 'accepted' }]);
  const stats = fleet.stats();
  t.match(stats, {
    phones: 1000,
    polls: 1000,
    pollsBy: { 200: 999, 202: 1 },
    connectionsPeak: 50,
    failures: 0,
  });
  t.ok(stats.pollLatency.p50 > 0 && stats.pollLatency.p50 <= stats.pollLatency.max);
  t.equal(fleet.phone(wanted.toLowerCase())?.items.get('realm'), 'fleet');
});

t.test('start-ups of a fleet all end and are counted', async (t) => {
  const service = await startService(t, { tls: false });
  const fleet = createFleet({
    count: 40,
    service: service.url,
    startUp: true,
    pollIntervalMs: 0,
    concurrency: 8,
  });
  t.teardown(() => fleet.close());
  await fleet.start();
  t.match(fleet.stats(), {
    sessions: 40,
    sessionsBy: { completed: 40 },
    reasons: { 'start-up': 40 },
    requests: 120,
  });
  t.equal(service.devices().length, 40);
});

t.test('first polls are spread over the interval', async (t) => {
  const clock = createManualClock();
  const fleet = createFleet({ count: 10, pollUrl: 'http://127.0.0.1:9/', pollIntervalMs: 1000, clock });
  t.teardown(() => fleet.close());
  await fleet.start();
  const due: (number | undefined)[] = [];
  for (let round = 0; round < 10; round += 1) {
    due.push(clock.nextIn());
    clock.advance(100);
  }
  t.strictSame(due, Array<number>(10).fill(100));
});

t.test('busy phones, failures and restarts show in the statistics', async (t) => {
  const service = await startService(t, { tls: false });
  const fleet = createFleet({
    count: 4,
    service: service.url,
    busyChance: 1,
    callDurationMs: 60_000,
    startUp: true,
  });
  t.teardown(() => fleet.close());
  await fleet.start();
  t.match(fleet.stats(), { sessionsBy: { busy: 4 }, failures: 0 });
  await service.close();
  await fleet.phones[0]?.openSession('solicited');
  t.match(fleet.stats(), { sessionsBy: { refused: 1 }, failures: 1 });
});

t.test('ids count up in the spelling of the first', async (t) => {
  t.equal(macAfter('00:1A:E8:00:00:FE', 3), '00:1A:E8:00:01:01');
  t.equal(macAfter('001ae80000ff', 1), '001ae8000100');
  t.throws(() => macAfter('phone', 1), TypeError);
  t.throws(() => createFleet({ count: 0 }), TypeError);
});

import t from 'tap';
import { startGate } from '../fixtures/gate.ts';
import { phoneOf } from '../fixtures/gate-phone.ts';
import { startTwoProxies, bothLinked } from '../fixtures/faults/two-proxies.ts';
import { long, until } from '../fixtures/faults/until.ts';
import { createDialer, createPhone, macAfter, pollOnce, pollRequest } from '../phones/index.ts';

const ROUNDS = long ? 10 : 1;
const PHONES = 20;
const FIRST_MAC = '00:1A:E8:7C:00:01';
const POLLED = '00:1A:E8:7C:10:01';
const BETWEEN_PUSHES_MS = 40;
const BETWEEN_POLLS_MS = 10;
const WRITE = { action: 'WriteItems', items: { realm: 'rolling' } } as const;

t.test('relay and both proxies are restarted in turn, under load', async (t) => {
  const { gate, second } = await startTwoProxies(t, { logLevel: 'info' });
  const dialer = createDialer();
  t.teardown(() => dialer.close());
  let on = true;
  const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

  // Polls at both proxies. While one is away, the other must not miss a single one.
  const missed: Record<'first' | 'second', string[]> = { first: [], second: [] };
  let away: 'first' | 'second' | null = null;
  let polls = 0;
  const pollOn = async (which: 'first' | 'second', url: string): Promise<void> => {
    while (on) {
      const expected = away !== which;
      const { status, reason } = await pollOnce(dialer, pollRequest(url, POLLED), () => performance.now());
      polls += 1;
      if (status === undefined && expected && away !== which) missed[which].push(reason ?? 'unknown');
      await pause(BETWEEN_POLLS_MS);
    }
  };

  // Phones that are called and come, at the proxy where they were called; every other poll is at the other one.
  const sessions = { completed: 0, tooLate: 0, broken: [] as string[] };
  const phoneAt = (which: 'first' | 'second', deviceId: string, keepAlive: boolean) =>
    createPhone({
      deviceId,
      service: which === 'first' ? gate.phoneService : second.phoneService,
      pollUrl: which === 'first' ? gate.pollUrl : second.pollUrl,
      pollIntervalMs: 0,
      contactListen: false,
      keepAlive,
      onEvent(event) {
        if (event.type !== 'session') return;
        if (event.outcome === 'completed') sessions.completed += 1;
        // Told 202 a moment before the end, and met nobody: that phone comes again. It had said nothing yet.
        else if (!event.contacted && event.requests <= 1) sessions.tooLate += 1;
        else sessions.broken.push(`${event.failure} ${event.status ?? ''} ${event.message ?? ''}`);
      },
    });
  const pairs = Array.from({ length: PHONES }, (_, n) => {
    const deviceId = macAfter(FIRST_MAC, n);
    // Every other phone opens a connection for each message.
    return [phoneAt('first', deviceId, n % 2 === 0), phoneAt('second', deviceId, n % 2 === 0)] as const;
  });
  t.teardown(() => pairs.flat().forEach((phone) => void phone.close()));
  const call = async ([first, other]: (typeof pairs)[number]): Promise<void> => {
    for (let n = 0; on; n += 1) {
      const tried = n % 2 === 0 ? [first, other] : [other, first];
      // A phone that gets no answer retries at the other address.
      for (const phone of tried) {
        const { status } = await phone.pollNow();
        await phone.idle();
        if (status !== undefined) break;
      }
      await pause(100);
    }
  };

  const accepted: string[] = [];
  let pushesRefused = 0;
  const pushOn = async (): Promise<void> => {
    for (let n = 0; on; n += 1) {
      const device = macAfter(FIRST_MAC, n % PHONES);
      void gate.service.enqueue(device, [WRITE]);
      const answer = await gate.call('POST', `/v1/devices/${device}/messages`, {}).catch(() => null);
      if (answer?.status === 201) accepted.push(String(answer.body['id']));
      else pushesRefused += 1;
      await pause(BETWEEN_PUSHES_MS);
    }
  };

  await gate.call('POST', `/v1/devices/${POLLED}/messages`, {});
  const load = [
    pollOn('first', gate.pollUrl),
    pollOn('second', second.pollUrl),
    pushOn(),
    ...pairs.map(call),
  ];
  const completed = async (more: number): Promise<void> => {
    const before = sessions.completed;
    await until(`${more} more sessions`, () => sessions.completed >= before + more);
  };
  await completed(PHONES);

  let restarts = 0;
  for (let round = 0; round < ROUNDS; round += 1) {
    away = 'first';
    t.equal(await gate.proxy.stop(), 0, 'the first proxy ends in order');
    await completed(5);
    await gate.startProxy();
    await bothLinked(gate);
    away = 'second';
    t.equal(await second.program.stop(), 0, 'the second proxy ends in order');
    await completed(5);
    await second.start();
    await bothLinked(gate);
    away = null;
    t.equal(await gate.relay.stop(), 0, 'the relay ends in order');
    await gate.startRelay();
    await bothLinked(gate);
    await completed(5);
    restarts += 3;
  }
  on = false;
  await Promise.all(load);

  t.ok(accepted.length >= PHONES && polls >= 100, `${accepted.length} pushes, ${polls} polls`);
  t.comment(
    `${sessions.completed} sessions, ${sessions.tooLate} came too late, ${restarts} restarts, ${pushesRefused} pushes found no relay`,
  );
  t.strictSame(missed, { first: [], second: [] }, 'no poll failed at the proxy that was there');
  t.strictSame(sessions.broken, [], 'no session was broken');
  const states: Record<string, number> = {};
  for (const id of accepted) {
    const { status, body } = await gate.call('GET', `/v1/messages/${id}`);
    const state = status === 200 ? String(body['state']) : 'lost';
    states[state] = (states[state] ?? 0) + 1;
  }
  t.equal(states['lost'], undefined, `nothing that was accepted is lost: ${JSON.stringify(states)}`);
  await gate.polls(POLLED, 202);
});

t.test('a session under way when the relay is told to end is led to its end', async (t) => {
  const arrived = Promise.withResolvers<void>();
  const released = Promise.withResolvers<void>();
  const gate = await startGate(t, {
    logLevel: 'info',
    service: {
      async intercept({ body }) {
        if (!body.includes('action="WriteItems"')) return undefined;
        arrived.resolve();
        await released.promise;
        return undefined;
      },
    },
  });
  const deviceId = macAfter(FIRST_MAC, PHONES);
  const phone = phoneOf(t, gate, deviceId);
  const work = gate.service.enqueue(deviceId, [WRITE, WRITE, WRITE]);
  const { body } = await gate.call('POST', `/v1/devices/${deviceId}/messages?wait=proxy`, {});
  const session = phone.openSession('solicited');
  await arrived.promise;
  const ended = gate.relay.stop();
  await gate.relay.line(({ msg }) => msg === 'ending');
  await gate.polls(deviceId, 200);
  released.resolve();
  const { outcome, connections, requests, message } = await session;
  t.strictSame(
    { outcome, connections, requests },
    { outcome: 'completed', connections: 1, requests: 4 },
    message ?? '',
  );
  t.equal((await work).length, 3, 'all of its work is done');
  t.equal(await ended, 0, 'and then the relay ends in order');
  await gate.startRelay();
  t.equal((await gate.call('GET', `/v1/messages/${String(body['id'])}`)).body['state'], 'cleared');
  await gate.polls(deviceId, 200);
});

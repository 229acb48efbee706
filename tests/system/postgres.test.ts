import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { startGate } from '../fixtures/gate.ts';
import { startPostgres, whyNoPostgres } from '../fixtures/postgres.ts';
import { phoneAt } from '../fixtures/phone-at.ts';
import { startSecondRelay } from '../fixtures/second-relay.ts';
import { mountSmallDisk, noMounting } from '../fixtures/small-disk.ts';
import { createPhone } from '../phones/index.ts';
import { untilGood } from '../fixtures/until.ts';

const skip = whyNoPostgres();
// It syncs to disk as in real life: these tests kill it, and what writes to it.
const server = skip === false ? await startPostgres(t, { durable: true }) : null;
const PASSWORD = 'not-to-be-seen-7f3a';
const PUSHERS = 16;

const mac = (n: number): string => `00:1A:E8:50:${hex(n >> 8)}:${hex(n & 255)}`;
const hex = (n: number): string => n.toString(16).padStart(2, '0').toUpperCase();

t.test(
  'PostgreSQL crashes and comes back: nobody is lied to, and nothing else stops',
  { skip },
  async (t) => {
    const server = await startPostgres(t, { durable: true });
    const url = await server.database();
    url.password = PASSWORD;
    const released = Promise.withResolvers<void>();
    const inSession = Promise.withResolvers<void>();
    const gate = await startGate(t, {
      relay: { outbox: { postgres: url.href } },
      service: {
        async intercept(request) {
          if (!request.body.includes('reply-to')) return undefined;
          inSession.resolve();
          await released.promise;
          return undefined;
        },
      },
    });
    const [waits, called] = [mac(1), mac(2)];
    t.equal((await gate.call('POST', `/v1/devices/${waits}/messages?wait=proxy`, {})).status, 201);
    t.equal((await gate.call('POST', `/v1/devices/${called}/messages?wait=proxy`, {})).status, 201);
    await gate.polls(waits, 202);

    const phone = phoneAt(t, gate, called);
    void gate.service.enqueue(called, [{ action: 'WriteItems', items: { realm: 'example' } }]);
    const session = phone.openSession('solicited');
    await inSession.promise;

    // Pushes without end, each to a device of its own, so that afterwards each can be asked for.
    const outcomes = new Map<string, { status: number; code: unknown }>();
    let next = 100;
    let pushing = true;
    const pusher = async (): Promise<void> => {
      while (pushing) {
        const device = mac((next += 1));
        const { status, body } = await gate.call('POST', `/v1/devices/${device}/messages`, { key: 'job' });
        outcomes.set(device, { status, code: body['code'] });
        if (status !== 201) await new Promise((resolve) => setTimeout(resolve, 100));
      }
    };
    const pushers = Array.from({ length: PUSHERS }, pusher);
    await untilGood(
      'pushes are taken',
      async () => outcomes.size,
      (size) => size > 50,
    );
    await server.stop('immediate');
    await untilGood(
      'pushes are refused',
      async () => [...outcomes.values()].filter(({ status }) => status === 503).length,
      (count) => count > 5,
    );
    const refused = await fetch(`${gate.api}/v1/devices/${mac(3)}/messages`, {
      method: 'POST',
      body: '{}',
      headers: { 'content-type': 'application/json' },
    });
    t.equal(refused.status, 503);
    t.ok(Number(refused.headers.get('retry-after')) > 0, 'says when to try again');
    t.match(await refused.json(), { code: 'OUTBOX_UNAVAILABLE' });
    t.equal(await gate.poll(waits), 202, 'polls are answered meanwhile');
    t.equal((await fetch(`${gate.api}/readyz`)).status, 503, 'the relay says that it is not ready');
    t.equal((await fetch(`${gate.api}/metrics`)).status, 200, 'its figures can be read');
    released.resolve();
    t.match(await session, { outcome: 'completed' }, 'the session went on to its end');

    await server.start();
    await untilGood(
      'pushes are taken again',
      async () => [...outcomes.values()].at(-1)?.status,
      (status) => status === 201,
    );
    pushing = false;
    await Promise.all(pushers);
    // What the session came to was kept until the server was back.
    await untilGood(
      'the message of the session has ended',
      async () => (await gate.call('GET', `/v1/devices/${called}`)).body['pending'],
      (pending) => pending === 0,
    );
    await gate.polls(called, 200);
    t.equal(await gate.poll(waits), 202);
    const lies: string[] = [];
    let [taken, kept] = [0, 0];
    for (const [device, { status, code }] of outcomes) {
      const answer = await gate.call('GET', `/v1/devices/${device}`);
      const there = answer.status === 200 && answer.body['pending'] === 1;
      if (status === 201 ? !there : there) lies.push(`${device}: ${status} ${String(code)}, there: ${there}`);
      if (status === 201) taken += 1;
      else kept += 1;
    }
    t.same(lies, [], `of ${taken} accepted none is missing, and of ${kept} refused none is there`);

    const before = (await gate.call('GET', '/v1/status')).body;
    gate.relay.signal('SIGKILL');
    await gate.relay.exited;
    await gate.startRelay();
    const after = (await gate.call('GET', '/v1/status')).body;
    t.same(after['outbox'], before['outbox'], 'a relay killed finds all of it again');
    t.equal(after['incarnation'], before['incarnation'], 'in the same incarnation');
    await gate.polls(waits, 202);
    const said = JSON.stringify(gate.relay.lines);
    t.ok(said.includes('outbox opened'));
    t.notOk(said.includes(PASSWORD), 'the password is in no line of the log');
  },
);

t.test(
  'two relays on one outbox: one is killed in the middle of everything, and nothing is lost',
  { skip },
  async (t) => {
    if (server === null) return;
    const url = await server.database();
    const inSession = Promise.withResolvers<void>();
    let hold = true;
    const gate = await startGate(t, {
      relay: { outbox: { postgres: url.href } },
      service: {
        async intercept(request) {
          if (!hold || !request.body.includes('reply-to')) return undefined;
          inSession.resolve();
          await new Promise(() => undefined);
          return undefined;
        },
      },
    });
    const second = await startSecondRelay(t, gate);
    const apis = [gate.api, second.api];
    const call = async (api: string, method: string, path: string, body?: object) => {
      const response = await fetch(`${api}${path}`, {
        method,
        ...(body === undefined
          ? {}
          : { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }),
      });
      return { status: response.status, body: (await response.json()) as Record<string, unknown> };
    };
    const site = async () => {
      const status = (await (await fetch(`${gate.ops}/status`)).json()) as {
        sites: {
          ready: boolean;
          relays: { name: string }[];
          position: { incarnation: string; seq: number };
        }[];
      };
      return status.sites[0]!;
    };
    t.same((await site()).relays.map(({ name }) => name).sort(), ['hq-1', 'hq-2'], 'both are linked');
    const [one, two] = await Promise.all(apis.map((api) => call(api, 'GET', '/v1/status')));
    t.equal(one!.body['incarnation'], two!.body['incarnation'], 'both speak for one outbox');

    for (const [n, api] of apis.entries()) {
      const pushed = await call(api, 'POST', `/v1/devices/${mac(n)}/messages?wait=proxy`, {});
      t.equal(pushed.status, 201);
      await gate.polls(mac(n), 202);
    }
    await call(apis[0]!, 'DELETE', `/v1/devices/${mac(1)}/messages`);
    await gate.polls(mac(1), 200);
    t.match(
      (await call(apis[1]!, 'GET', `/v1/devices/${mac(1)}`)).body,
      { pending: 0 },
      'either can clear it',
    );

    // Phones at addresses of their own, until each relay has one; the session of one of them is under way.
    const phones = Array.from({ length: 12 }, (_, n) =>
      createPhone({
        deviceId: mac(20 + n),
        service: gate.phoneService,
        pollUrl: gate.pollUrl,
        pollIntervalMs: 0,
        contactListen: false,
        localAddress: `127.0.1.${n + 1}`,
      }),
    );
    t.teardown(() => Promise.all(phones.map((phone) => phone.close())));
    hold = false;
    for (const phone of phones) t.equal((await phone.openSession('start-up')).outcome, 'completed');
    const served = (program: { lines: readonly Record<string, unknown>[] }): unknown[] =>
      program.lines.filter(({ msg }) => msg === 'a session began').map(({ device }) => device);
    const own = await untilGood(
      'the logs tell of every session',
      () => [served(gate.relay), served(second.program)],
      (told) => told.flat().length >= 12,
    );
    t.equal(own.flat().length, 12);
    t.ok(
      own.every((devices) => devices.length > 0),
      'sessions are spread over both',
    );
    const victim = phones.find(({ deviceId }) => own[0]!.includes(deviceId.toLowerCase()))!;
    t.ok(victim !== undefined, 'one that the first relay serves');

    hold = true;
    const { deviceId } = victim;
    // Through the relay that will have the session, so that it has heard of it.
    await call(apis[0]!, 'POST', `/v1/devices/${deviceId}/messages?wait=proxy`, {});
    await gate.polls(deviceId, 202);
    void gate.service.enqueue(deviceId, [{ action: 'WriteItems', items: { realm: 'example' } }]);
    const cut = victim.openSession('solicited').catch((error: unknown) => ({ outcome: String(error) }));
    await inSession.promise;
    await gate.polls(deviceId, 200);

    const accepted: string[] = [];
    let next = 1000;
    let pushing = true;
    const pushers = Array.from({ length: 8 }, async (_, n) => {
      while (pushing) {
        const device = mac((next += 1));
        const answer = await call(apis[n % 2]!, 'POST', `/v1/devices/${device}/messages`, {}).catch(
          () => null,
        );
        if (answer?.status === 201) accepted.push(device);
        else await new Promise((resolve) => setTimeout(resolve, 50));
      }
    });
    await untilGood(
      'pushes are taken',
      async () => accepted.length,
      (count) => count > 50,
    );
    gate.relay.signal('SIGKILL');
    await gate.relay.exited;
    const atKill = accepted.length;
    t.not((await cut).outcome, 'completed', 'its session is cut');
    t.equal((await site()).ready, true, 'the site is served on');
    await gate.polls(deviceId, 202);
    await untilGood(
      'pushes go on',
      async () => accepted.length,
      (count) => count > atKill + 50,
    );
    pushing = false;
    await Promise.all(pushers);

    hold = false;
    t.match(
      await victim.openSession('solicited'),
      { outcome: 'completed' },
      'the other relay takes the phone',
    );
    await untilGood(
      'its message has ended',
      async () => (await call(apis[1]!, 'GET', `/v1/devices/${deviceId}`)).body['pending'],
      (pending) => pending === 0,
    );
    await gate.polls(deviceId, 200);
    const lost: string[] = [];
    for (const device of accepted) if ((await gate.poll(device)) !== 202) lost.push(device);
    t.same(lost, [], `none of ${accepted.length} pushes accepted by either is lost`);

    await gate.startRelay();
    t.same(
      (await site()).relays.map(({ name }) => name).sort(),
      ['hq-1', 'hq-2'],
      'it comes back beside the other',
    );
    const position = (await call(apis[1]!, 'GET', '/v1/status')).body;
    t.equal((await site()).position.incarnation, position['incarnation'], 'in the same incarnation');
  },
);

t.test(
  'a server without room refuses pushes and nothing else, and that is over when there is room',
  { skip: skip === false ? noMounting : skip },
  async (t) => {
    const room = mountSmallDisk(t, 'size=24m');
    mkdirSync(join(room, 'data'), { mode: 0o700 });
    const server = await startPostgres(t);
    const url = await server.database(join(room, 'data'));
    const gate = await startGate(t, { logLevel: 'info', relay: { outbox: { postgres: url.href } } });
    const accepted = [mac(1)];
    t.equal((await gate.call('POST', `/v1/devices/${mac(1)}/messages?wait=proxy`, {})).status, 201);
    const filler = join(room, 'filler');
    t.throws(() => writeFileSync(filler, Buffer.alloc(24 * 2 ** 20)), { code: 'ENOSPC' }, 'the disk is full');
    let refused: { status: number; body: Record<string, unknown> } | null = null;
    for (let n = 100; n < 5_000 && refused === null; n += 1) {
      const answer = await gate.call('POST', `/v1/devices/${mac(n)}/messages`, {});
      if (answer.status === 201) accepted.push(mac(n));
      else refused = answer;
    }
    t.match(refused, { status: 507, body: { code: 'OUTBOX_STORAGE' } }, `refused after ${accepted.length}`);
    t.equal(await gate.poll(mac(1)), 202, 'polls go on');
    t.match((await gate.call('GET', `/v1/devices/${mac(1)}`)).body, { pending: 1 }, 'so do questions');

    rmSync(filler);
    await untilGood(
      'pushes are taken again',
      async () => (await gate.call('POST', `/v1/devices/${mac(2)}/messages`, {})).status,
      (status) => status === 201,
    );
    await gate.polls(mac(2), 202);
    const lost: string[] = [];
    for (const device of accepted) {
      const { body } = await gate.call('GET', `/v1/devices/${device}`);
      if (body['pending'] !== 1) lost.push(device);
    }
    t.same(lost, [], `each of ${accepted.length} that were accepted is there`);
    t.equal(await gate.relay.stop(), 0, 'the relay has lived through it');
  },
);

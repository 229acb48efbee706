import t from 'tap';
import {
  device,
  linkedProxy,
  NOON,
  PROXY_URL,
  runningSession,
  wpiService,
} from '../../fixtures/fake-view.ts';
import { startApi } from '../../fixtures/start-api.ts';

const PHONE = device('00:1a:e8:00:00:01');

t.test(
  'a device tells what is pending, its last poll, its last session, its messages and its history',
  async (t) => {
    const { ask, view, outbox } = await startApi(t);
    await ask('POST', `/v1/devices/${PHONE}/messages`, {});
    outbox.note(PHONE, 'session', { outcome: 'busy', action: 'ReadItems' }, { session: true });
    await ask('POST', `/v1/devices/${PHONE}/messages`, {});
    view.state.polls.set(PHONE, { device: PHONE, at: NOON, status: 202, proxy: PROXY_URL });
    view.state.sessions.set(PHONE, runningSession(PHONE));
    view.state.quiet.set(PHONE, NOON + 1000);
    const { status, json } = await ask('GET', '/v1/devices/001ae8000001');
    t.equal(status, 200);
    t.match(json, {
      device: PHONE,
      state: 'pending',
      pending: 1,
      dead: 0,
      generation: 2,
      last_poll: { at: '2026-01-01T12:00:00.000Z', status: 202, proxy: PROXY_URL },
      last_session: { outcome: 'busy', at: /Z$/ },
      session: { reason: 'solicited', started_at: '2026-01-01T12:00:00.000Z', action: 'ReadItems' },
      quiet_until: '2026-01-01T12:00:01.000Z',
      messages: [{ state: 'in_session' }, { state: 'superseded' }],
    });
    t.match(json['messages'], [{ at_proxies: null }, { at_proxies: null }]);
    const { seq } = (json['history'] as { seq: number }[])[1]!;
    const detail = async (): Promise<unknown> => (await ask('GET', `/v1/devices/${PHONE}`)).json['messages'];
    const here = { proxy: PROXY_URL, since: NOON, exact: true };
    view.state.heldAt.set(seq, [here]);
    t.match(await detail(), [
      { at_proxies: '2026-01-01T12:00:00.000Z', proxies: [{ url: PROXY_URL, exact: true }] },
      { at_proxies: null, proxies: [{ url: PROXY_URL, since: null }] },
    ]);
    for (const other of [
      { since: null, exact: false },
      { since: NOON, exact: false },
    ]) {
      view.state.heldAt.set(seq, [here, { proxy: 'wss://other', ...other }]);
      t.match(await detail(), [{ at_proxies: null, proxies: [{}, { url: 'wss://other', exact: false }] }]);
    }
    const events = (json['history'] as { event: string }[]).map(({ event }) => event);
    t.same(events, ['superseded', 'accepted', 'note', 'accepted'], 'newest first');
  },
);

t.test('a device that only polls is known; one of which nothing is known is answered 404', async (t) => {
  const { ask, view } = await startApi(t);
  t.match(await ask('GET', '/v1/devices/ghost'), { status: 404, json: { code: 'NOT_FOUND', field: 'id' } });
  view.state.unknown.push({ device: 'ghost', at: NOON, address: null, proxy: PROXY_URL });
  t.match(await ask('GET', '/v1/devices/ghost'), {
    status: 200,
    json: { generation: 0, pending: 0, messages: [] },
  });
});

t.test('devices are listed page by page, by state and by part of their id', async (t) => {
  const { ask } = await startApi(t);
  for (const id of ['aa', 'bb', 'cc', '00:1A:E8:00:00:01'])
    await ask('POST', `/v1/devices/${id}/messages`, {});
  await ask('DELETE', '/v1/devices/bb/messages');
  const first = await ask('GET', '/v1/devices?limit=3');
  t.match(first.json, {
    devices: [{ device: PHONE }, { device: 'aa' }, { device: 'bb', state: 'idle' }],
    next: 'bb',
  });
  const second = await ask('GET', `/v1/devices?limit=3&cursor=${String(first.json['next'])}`);
  t.match(second.json, { devices: [{ device: 'cc', state: 'pending' }], next: null });
  t.match((await ask('GET', '/v1/devices?state=idle')).json, { devices: [{ device: 'bb' }] });
  t.match((await ask('GET', '/v1/devices?q=1AE8')).json, { devices: [{ device: PHONE }] });
  for (const [query, field] of [
    ['limit=0', 'limit'],
    ['limit=1001', 'limit'],
    ['limit=x', 'limit'],
    ['state=busy', 'state'],
    ['cursor=%20', 'cursor'],
    ['unknown=maybe', 'unknown'],
    ['sort=up', 'sort'],
  ] as const) {
    t.match(await ask('GET', `/v1/devices?${query}`), { status: 400, json: { field } }, query);
  }
});

t.test('unknown devices are listed newest first', async (t) => {
  const { ask, view } = await startApi(t);
  view.state.unknown.push(
    { device: 'old', at: NOON - 1000, address: '192.0.2.1', proxy: PROXY_URL },
    { device: 'new', at: NOON, address: null, proxy: PROXY_URL },
  );
  t.match((await ask('GET', '/v1/devices?unknown=true')).json, {
    unknown: [
      { device: 'new', at: '2026-01-01T12:00:00.000Z', address: null },
      { device: 'old', address: '192.0.2.1' },
    ],
  });
  t.match((await ask('GET', '/v1/devices?unknown=true&q=OL&limit=1')).json, { unknown: [{ device: 'old' }] });
});

t.test('why gives a verdict with facts, also for a device never heard of', async (t) => {
  const { ask, view, outbox } = await startApi(t);
  t.match(await ask('GET', '/v1/devices/ghost/why'), {
    status: 200,
    json: { device: 'ghost', verdict: 'unknown', advice: String },
  });
  await ask('POST', `/v1/devices/${PHONE}/messages`, {});
  t.match((await ask('GET', `/v1/devices/${PHONE}/why`)).json, {
    verdict: 'never-polled',
    facts: { pending: 1 },
  });
  view.state.polls.set(PHONE, { device: PHONE, at: Date.now(), status: 202, proxy: PROXY_URL });
  t.match((await ask('GET', `/v1/devices/${PHONE}/why`)).json, { verdict: 'told' });
  await outbox.fruitless(PHONE, 1, 1);
  t.match((await ask('GET', `/v1/devices/${PHONE}/why`)).json, { verdict: 'dead' });
});

t.test('a re-driven message counts as offered since then', async (t) => {
  const { ask, view, outbox } = await startApi(t);
  const { json } = await ask('POST', `/v1/devices/${PHONE}/messages`, {});
  await outbox.fruitless(PHONE, 1, 1);
  const polledAt = Date.now();
  await new Promise((resolve) => setImmediate(resolve));
  while (Date.now() === polledAt) await new Promise((resolve) => setImmediate(resolve));
  await ask('POST', `/v1/messages/${String(json['id'])}/redrive`);
  view.state.polls.set(PHONE, { device: PHONE, at: polledAt, status: 200, proxy: PROXY_URL });
  t.match((await ask('GET', `/v1/devices/${PHONE}/why`)).json, { verdict: 'awaiting-poll' });
});

t.test('proxies, services and status say how the relay stands', async (t) => {
  const { ask, view } = await startApi(t);
  await ask('POST', `/v1/devices/${PHONE}/messages`, {});
  view.state.proxies = [
    linkedProxy({ lag: 2 }),
    linkedProxy({ url: 'wss://b:1', state: 'down', why: 'refused', roundTripMs: null, lag: null }),
  ];
  view.state.services = [wpiService(false)];
  t.match((await ask('GET', '/v1/proxies')).json, {
    proxies: [
      { url: PROXY_URL, state: 'up', round_trip_ms: 1.5, lag: 2, why: null },
      { state: 'down', why: 'refused', round_trip_ms: null },
    ],
  });
  t.match((await ask('GET', '/v1/services')).json, {
    services: [{ name: 'wpi', kind: 'wpi', up: false, why: /REFUSED/ }],
  });
  t.match((await ask('GET', '/v1/status')).json, {
    name: 'hq-1',
    site: 'default',
    ready: false,
    reasons: [/wss:\/\/b:1 is down.*refused/],
    sequence: 1,
    outbox: { held: 1, accepted: 1, devices: 1, ended: { cleared: 0 } },
    proxies: [{}, {}],
    services: [{}],
  });
});

t.test('it is ready only while every proxy is linked and the outbox answers', async (t) => {
  const { ask, view, outbox } = await startApi(t);
  t.match(await ask('GET', '/readyz'), { status: 200, json: { ready: true, reasons: [] } });
  view.state.proxies = [];
  t.match(await ask('GET', '/readyz'), {
    status: 503,
    json: { ready: false, reasons: ['no proxy is configured'] },
  });
  view.state.proxies = [linkedProxy({ state: 'connecting' })];
  t.match(await ask('GET', '/readyz'), { status: 503, json: { reasons: [/is connecting since/] } });
  view.state.proxies = [linkedProxy()];
  await outbox.close();
  t.match(await ask('GET', '/readyz'), { status: 503, json: { reasons: [/outbox/] } });
  t.match(await ask('GET', '/healthz'), { status: 200, text: 'ok\n' });
  t.match(await ask('GET', '/v1/status'), { status: 503, json: { code: 'CLOSED' } });
});

t.test(
  'devices are listed in any order, page by page, and a cursor of another order is refused',
  async (t) => {
    const { ask, view, outbox } = await startApi(t);
    const phones = ['a1', 'b2', 'c3', 'd4', 'e5'].map(device);
    for (const [i, id] of phones.entries()) {
      await ask('POST', `/v1/devices/${id}/messages`, {});
      view.state.pending.add(id);
      // The last one has not polled since the start.
      if (i < 4)
        view.state.polls.set(id, {
          device: id,
          at: Date.now() - 60_000 * (i + 1),
          status: 200,
          proxy: PROXY_URL,
        });
    }
    const read = [{ action: 'ReadItems', items: ['e164'] }];
    const pushed = await ask('POST', '/v1/devices/c3/messages', { kind: 'dls', actions: read });
    t.equal(pushed.status, 201);
    await outbox.clear(device('a1'), { state: 'cleared', by: 'session' });
    view.state.pending.delete(device('a1'));
    await ask('POST', '/v1/devices/d4/messages', {});
    await outbox.fruitless(device('b2'), 99, 1);
    const walk = async (query: string): Promise<string> => {
      const seen: string[] = [];
      let cursor = '';
      for (;;) {
        const { status, json } = await ask('GET', `/v1/devices?limit=2&${query}${cursor}`);
        t.equal(status, 200, query);
        seen.push(...(json['devices'] as { device: string }[]).map((each) => each.device));
        if (json['next'] === null) return seen.join(' ');
        cursor = `&cursor=${encodeURIComponent(json['next'] as string)}`;
      }
    };
    t.equal(await walk('sort=device'), 'a1 b2 c3 d4 e5');
    t.equal(await walk('sort=-pending'), 'c3 d4 e5 a1 b2');
    t.equal(await walk('sort=pending&state=pending'), 'd4 e5 c3');
    t.equal(await walk('sort=last_session'), 'a1 b2 c3 d4 e5', 'none had any');
    t.equal(await walk('sort=-last_poll'), 'a1 b2 c3 d4');
    t.equal(await walk('sort=last_poll'), 'd4 c3 b2 a1');
    t.equal(await walk('sort=last_poll&q=C'), 'c3');
    t.equal(await walk('sort=last_poll&state=idle'), 'a1');
    t.equal(await walk('sort=last_poll&state=dead'), 'b2');
    for (const query of [
      'sort=pending&cursor=a1',
      'sort=last_poll&cursor=x~a1',
      'sort=device&cursor=-1~%20',
      'sort=age',
    ])
      t.match(
        await ask('GET', `/v1/devices?${query}`),
        { status: 400, json: { code: 'REQUEST_INVALID' } },
        query,
      );
  },
);

import t from 'tap';
import { device, PROXY_URL, runningSession } from '../../fixtures/fake-view.ts';
import { startApi } from '../../fixtures/start-api.ts';

const MAC = '00:1a:e8:00:00:01';

t.test(
  'a push is answered 201 with id, device, generation and state, under any spelling of the device',
  async (t) => {
    const { ask } = await startApi(t);
    const first = await ask('POST', '/v1/devices/001AE8-000001/messages', {});
    t.equal(first.status, 201);
    t.match(first.json, { device: MAC, generation: 1, state: 'held' });
    t.equal(first.headers.get('location'), `/v1/messages/${String(first.json['id'])}`);
    const second = await ask('POST', `/v1/devices/${encodeURIComponent(MAC)}/messages`, {
      kind: 'contact-me',
    });
    t.match(second.json, { device: MAC, generation: 2, state: 'held' });
    const old = await ask('GET', `/v1/messages/${String(first.json['id'])}`);
    t.match(old.json, { state: 'superseded', expires_at: null, ended_at: /Z$/ });
  },
);

t.test('a push without any body holds a contact-me for seven days', async (t) => {
  const { ask } = await startApi(t);
  const pushed = await ask('POST', `/v1/devices/${MAC}/messages`);
  t.equal(pushed.status, 201);
  const { json } = await ask('GET', `/v1/messages/${String(pushed.json['id'])}`);
  t.match(json, { kind: 'contact-me', state: 'held', not_before: null, key: null, results: [] });
  const life = Date.parse(String(json['expires_at'])) - Date.parse(String(json['accepted_at']));
  t.ok(Math.abs(life - 7 * 86_400_000) < 5000, `lives ${life} ms`);
});

t.test('a known key is answered 200 with the same body, and 409 for another content', async (t) => {
  const { ask } = await startApi(t);
  const path = `/v1/devices/${MAC}/messages`;
  const first = await ask('POST', path, { key: 'job-1', ttl_s: 60 });
  const again = await ask('POST', path, { key: 'job-1', ttl_s: 60 });
  t.equal(first.status, 201);
  t.equal(again.status, 200);
  t.same(again.json, first.json);
  const other = await ask('POST', path, { key: 'job-1', ttl_s: 61 });
  t.equal(other.status, 409);
  t.match(other.json, { code: 'KEY_REUSED', field: 'key', message: String });
});

t.test('a key with a date stays the same push whenever it is repeated', async (t) => {
  const { ask } = await startApi(t);
  const path = `/v1/devices/${MAC}/messages`;
  const at = Math.floor(Date.now() / 1000) + 60;
  const first = await ask('POST', path, { key: 'job-1', not_before: at });
  const later = Date.now() + 3;
  while (Date.now() < later) await new Promise((resolve) => setImmediate(resolve));
  const again = await ask('POST', path, { key: 'job-1', not_before: new Date(at * 1000).toISOString() });
  t.match(again, { status: 200, json: first.json });
  t.match(await ask('POST', path, { key: 'job-1', not_before: at + 1 }), { status: 409 });
});

t.test('wait=proxy tells which proxies hold the message', async (t) => {
  const { ask, view, outbox } = await startApi(t);
  const pushed = await ask('POST', `/v1/devices/${MAC}/messages?wait=proxy`, {});
  t.match(pushed.json, { state: 'held', waited: true, proxies: [PROXY_URL] });
  t.same(view.state.askedHeldBy, [outbox.sequence()]);
  view.state.heldBy = { all: false, proxies: [] };
  const late = await ask('POST', `/v1/devices/${MAC}/messages?wait=proxy`, {});
  t.equal(late.status, 201, 'it is accepted all the same');
  t.match(late.json, { waited: false, proxies: [] });
});

t.test('not_before takes a date-time or Unix seconds', async (t) => {
  const { ask } = await startApi(t);
  const at = Math.floor(Date.now() / 1000) + 3600;
  for (const not_before of [
    at,
    new Date(at * 1000).toISOString(),
    new Date(at * 1000).toISOString().replace('Z', '+00:00'),
  ]) {
    const pushed = await ask('POST', `/v1/devices/${MAC}/messages`, { not_before });
    t.equal(pushed.status, 201);
    const { json } = await ask('GET', `/v1/messages/${String(pushed.json['id'])}`);
    t.ok(Math.abs(Date.parse(String(json['not_before'])) - at * 1000) < 2000, String(json['not_before']));
  }
  const past = await ask('POST', `/v1/devices/${MAC}/messages`, { not_before: 5 });
  t.equal(past.status, 201, 'a time gone by means now');
});

t.test('what makes no sense is answered 400 and names the field', async (t) => {
  const { ask } = await startApi(t);
  const wrong: [unknown, string][] = [
    [{ kind: 'dls', actions: {} }, 'actions'],
    [{ kind: 'nonsense' }, 'kind'],
    [{ actions: '<xml/>' }, 'actions'],
    [{ ttl_s: 0 }, 'ttl_s'],
    [{ ttl_s: -1 }, 'ttl_s'],
    [{ ttl_s: '60' }, 'ttl_s'],
    [{ ttl_s: 1e12 }, 'ttl_s'],
    [{ key: '' }, 'key'],
    [{ key: 'x'.repeat(201) }, 'key'],
    [{ replace: 'yes' }, 'replace'],
    [{ not_before: 'tomorrow' }, 'not_before'],
    [{ not_before: '2026-01-01T00:00:00' }, 'not_before'],
    [{ ttl_s: 10, not_before: Date.now() / 1000 + 3600 }, 'not_before'],
    [{ tttl_s: 10 }, 'tttl_s'],
    [[], 'body'],
    ['{"ttl_s": 1', 'body'],
    [Buffer.from([0x7b, 0xff, 0x7d]).toString('latin1'), 'body'],
  ];
  for (const [body, field] of wrong) {
    const headers = typeof body === 'string' ? { 'content-type': 'application/json' } : {};
    const { status, json } = await ask('POST', `/v1/devices/${MAC}/messages`, body, headers);
    t.equal(status, 400, JSON.stringify(body));
    t.match(json, { code: 'REQUEST_INVALID', field, message: String }, JSON.stringify(body));
  }
  const badDevice = await ask('POST', '/v1/devices/a%2Fb/messages', {});
  t.match(badDevice, { status: 400, json: { code: 'DEVICE_ID_INVALID', field: 'id' } });
  const badQuery = await ask('POST', `/v1/devices/${MAC}/messages?wait=phone`, {});
  t.match(badQuery, { status: 400, json: { field: 'wait' } });
  const twice = await ask('POST', `/v1/devices/${MAC}/messages?wait=proxy&wait=proxy`, {});
  t.match(twice, { status: 400, json: { field: 'wait' } });
});

t.test('a message is in session while a solicited session of its device runs', async (t) => {
  const { ask, view } = await startApi(t);
  const { json } = await ask('POST', `/v1/devices/${MAC}/messages`, {});
  const path = `/v1/messages/${String(json['id'])}`;
  view.state.sessions.set(device(MAC), runningSession(device(MAC)));
  t.equal((await ask('GET', path)).json['state'], 'in_session');
  view.state.sessions.set(device(MAC), runningSession(device(MAC), { reason: 'start-up' }));
  t.equal((await ask('GET', path)).json['state'], 'held');
});

t.test('a message is cancelled, a device is cleared, and neither is changed by a second time', async (t) => {
  const { ask } = await startApi(t);
  const path = `/v1/devices/${MAC}/messages`;
  const first = await ask('POST', path, {});
  const own = `/v1/messages/${String(first.json['id'])}`;
  t.match(await ask('DELETE', own), { status: 200, json: { state: 'cancelled', ended_by: 'api' } });
  t.match(await ask('DELETE', own), { status: 200, json: { state: 'cancelled' } });
  await ask('POST', path, {});
  t.match(await ask('DELETE', `${path}?generation=1`), { status: 200, json: { count: 0 } });
  t.match(await ask('DELETE', path), {
    status: 200,
    json: { device: MAC, count: 1, messages: [{ state: 'cleared' }] },
  });
  t.match(await ask('DELETE', path), { status: 200, json: { device: MAC, count: 0, messages: [] } });
  const listed = await ask('GET', path);
  t.match(listed.json['messages'], [{ state: 'cleared' }, { state: 'cancelled' }], 'newest first');
});

t.test('a dead message is held again by redrive; another is not', async (t) => {
  const { ask, outbox } = await startApi(t);
  const { json } = await ask('POST', `/v1/devices/${MAC}/messages`, {});
  const path = `/v1/messages/${String(json['id'])}/redrive`;
  t.match(await ask('POST', path), { status: 400, json: { code: 'REQUEST_INVALID' } });
  await outbox.fruitless(device(MAC), 1, 1);
  t.match(await ask('POST', path, {}), { status: 200, json: { state: 'held', generation: 2 } });
});

t.test('an unknown message is answered 404', async (t) => {
  const { ask } = await startApi(t);
  for (const [method, path] of [
    ['GET', '/v1/messages/none'],
    ['DELETE', '/v1/messages/none'],
    ['POST', '/v1/messages/none/redrive'],
  ] as const) {
    t.match(await ask(method, path), { status: 404, json: { code: 'NOT_FOUND' } }, `${method} ${path}`);
  }
});

t.test('a full outbox is answered 503 and a full disk 507, both without accepting', async (t) => {
  const { ask, faults, outbox } = await startApi(t, { outboxLimits: { messages: 1 } });
  await ask('POST', '/v1/devices/a/messages', {});
  const full = await ask('POST', '/v1/devices/b/messages', {});
  t.match(full, { status: 503, json: { code: 'OUTBOX_FULL' } });
  t.ok(Number(full.headers.get('retry-after')) > 0);
  faults.full = true;
  t.match(await ask('POST', '/v1/devices/a/messages', {}), { status: 507, json: { code: 'OUTBOX_STORAGE' } });
  t.match(await outbox.counts(), { held: 1, accepted: 1 });
});

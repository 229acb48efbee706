import { once } from 'node:events';
import { connect } from 'node:net';
import t from 'tap';
import { startApi } from '../../fixtures/start-api.ts';
import type { StartedApi } from '../../fixtures/start-api.ts';

const NDJSON = { 'content-type': 'application/x-ndjson' };

async function bulk(api: StartedApi, body: string, query = ''): Promise<Record<string, unknown>[]> {
  const { status, text } = await api.ask('POST', `/v1/messages${query}`, body, NDJSON);
  if (status !== 200) throw new Error(`answered ${status}: ${text}`);
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

const lines = (list: unknown[]): string => list.map((each) => `${JSON.stringify(each)}\n`).join('');

t.test('each line has its result, in order, and a bad one hinders no other', async (t) => {
  const api = await startApi(t);
  const body = [
    '{"device":"aa"}',
    '',
    '{"device":"AA","key":"k"}\r',
    '{"device":"aa","key":"k"}',
    '{"device":"b b"}',
    'nonsense',
    '{"kind":"contact-me"}',
    '{"device":"cc","ttl_s":0}',
    '{"device":"cc","kind":"dls"}',
    `{"device":"${'d'.repeat(65_536)}"}`,
    '{"device":"ee"}',
  ].join('\n');
  const results = await bulk(api, body);
  t.match(results, [
    { line: 1, status: 201, device: 'aa', generation: 1, state: 'held', id: String },
    { line: 3, status: 201, device: 'aa', generation: 2 },
    { line: 4, status: 200, device: 'aa', generation: 2, state: 'held' },
    { line: 5, status: 400, code: 'DEVICE_ID_INVALID', field: 'device' },
    { line: 6, status: 400, code: 'REQUEST_INVALID' },
    { line: 7, status: 400, field: 'device' },
    { line: 8, status: 400, field: 'ttl_s' },
    { line: 9, status: 400, field: 'actions' },
    { line: 10, status: 413, code: 'TOO_LARGE' },
    { line: 11, status: 201, device: 'ee' },
  ]);
  t.equal(results.length, 10);
  t.equal(results[2]?.['id'], results[1]?.['id']);
});

t.test('a campaign groups its messages and tells its progress', async (t) => {
  const api = await startApi(t);
  await bulk(api, lines([{ device: 'aa' }, { device: 'bb' }]), '?campaign=firmware-7');
  await api.ask('DELETE', '/v1/devices/aa/messages');
  t.match(await api.ask('GET', '/v1/campaigns/firmware-7'), {
    status: 200,
    json: { name: 'firmware-7', total: 2, held: 1, cleared: 1, dead: 0 },
  });
  t.match(await api.ask('GET', '/v1/campaigns/none'), { status: 404, json: { code: 'NOT_FOUND' } });
  t.match(await api.ask('POST', '/v1/messages?campaign=a%20b', lines([]), NDJSON), {
    status: 400,
    json: { field: 'campaign' },
  });
});

t.test('a spread puts devices evenly over the time, each at its own place every time', async (t) => {
  const api = await startApi(t);
  const devices = Array.from({ length: 400 }, (_, i) => ({ device: `phone-${i}`, key: 'k' }));
  await bulk(api, lines(devices), '?spread_s=1000');
  const due = await Promise.all(
    devices.map(async ({ device }) => (await api.outbox.messages(device as never, 1))[0]?.dueIn ?? -1),
  );
  const quarters = [0, 1, 2, 3].map(
    (i) => due.filter((ms) => ms >= i * 250_000 && ms < (i + 1) * 250_000).length,
  );
  t.equal(
    quarters.reduce((sum, n) => sum + n, 0),
    400,
    'all within the spread',
  );
  t.ok(
    quarters.every((n) => n > 60 && n < 140),
    `quarters hold ${quarters.join(', ')}`,
  );
  const again = await bulk(api, lines(devices), '?spread_s=1000');
  t.ok(
    again.every(({ status }) => status === 200),
    'pushed again under the same keys, nothing changed',
  );
});

t.test('what would expire before the end of the spread is refused', async (t) => {
  const api = await startApi(t);
  const results = await bulk(api, lines([{ device: 'aa', ttl_s: 60 }]), '?spread_s=61');
  t.match(results, [{ status: 400, field: 'ttl_s' }]);
});

t.test('lines beyond the limit are not read, and the last result says so', async (t) => {
  const api = await startApi(t, { limits: { bulkLines: 3, bulkBatch: 2 } });
  const results = await bulk(api, lines(['a', 'b', 'c', 'd', 'e'].map((device) => ({ device }))));
  t.match(results, [
    { status: 201 },
    { status: 201 },
    { status: 201 },
    { line: 4, status: 413, code: 'TOO_LARGE' },
  ]);
  t.equal((await api.outbox.counts()).accepted, 3);
});

t.test('a full outbox refuses lines one by one', async (t) => {
  const api = await startApi(t, { outboxLimits: { messages: 1 } });
  const results = await bulk(api, lines([{ device: 'aa' }, { device: 'bb' }, { device: 'aa' }]));
  t.match(results, [
    { status: 201 },
    { status: 503, code: 'OUTBOX_FULL', device: 'bb' },
    { status: 201, generation: 2 },
  ]);
});

t.test('results come while lines are still being sent', async (t) => {
  const { client } = await startApi(t, { limits: { bulkBatch: 1 } });
  const second = Promise.withResolvers<void>();
  async function* slowly() {
    yield { device: 'aa', key: 'x'.repeat(150) };
    // The client sends what fills a chunk at once, so enough is given to be sent.
    for (let i = 0; i < 200; i++) yield { device: 'aa', key: `${'x'.repeat(150)}${i}` };
    await second.promise;
    yield { device: 'last' };
  }
  const devices: unknown[] = [];
  for await (const result of client.pushMany(slowly())) {
    if (devices.length === 0) second.resolve();
    devices.push(result.device);
  }
  t.equal(devices.length, 202);
  t.equal(devices.at(-1), 'last');
});

t.test('a caller who sends everything before reading anything is not stuck', async (t) => {
  const api = await startApi(t);
  const count = 20_000;
  const body = lines(Array.from({ length: count }, (_, i) => ({ device: `phone-${i}`, kind: 'dls' })));
  const socket = connect(api.api.address.port, '127.0.0.1');
  t.teardown(() => socket.destroy());
  socket.pause();
  const head = `POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n`;
  const sent = new Promise<void>((resolve, reject) =>
    socket.write(head + body, (error) => (error ? reject(error) : resolve())),
  );
  await sent;
  let text = '';
  socket.setEncoding('utf8').on('data', (part: string) => (text += part));
  socket.resume();
  await once(socket, 'end');
  t.equal(text.split('"status":400').length - 1, count);
});

t.test('only so many bulk pushes run at once', async (t) => {
  const api = await startApi(t, { limits: { bulks: 1, bulkBatch: 1 } });
  const gate = Promise.withResolvers<void>();
  async function* waiting() {
    yield { device: 'aa', key: 'k'.repeat(200) };
    for (let i = 0; i < 200; i++) yield { device: 'aa', key: `${'k'.repeat(150)}${i}` };
    await gate.promise;
  }
  const first = api.client.pushMany(waiting())[Symbol.asyncIterator]();
  await first.next();
  const second = await api.ask('POST', '/v1/messages', lines([{ device: 'bb' }]), NDJSON);
  t.match(second, { status: 429, json: { code: 'API_BUSY' } });
  t.ok(Number(second.headers.get('retry-after')) > 0);
  gate.resolve();
  while ((await first.next()).done !== true);
  t.equal(
    (await api.ask('POST', '/v1/messages', lines([{ device: 'bb' }]), NDJSON)).status,
    200,
    'room again',
  );
});

t.test('a bulk push of another content type is answered 415', async (t) => {
  const api = await startApi(t);
  t.match(await api.ask('POST', '/v1/messages', lines([{ device: 'a' }]), { 'content-type': 'text/plain' }), {
    status: 415,
    json: { code: 'CONTENT_TYPE_REFUSED' },
  });
});

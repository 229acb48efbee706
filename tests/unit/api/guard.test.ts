import { connect } from 'node:net';
import { once } from 'node:events';
import t from 'tap';
import { isLoopback } from '../../../relay-client/api/guard.ts';
import { startApi } from '../../fixtures/start-api.ts';

const TOKEN = 'correct-horse-battery';

/** Sends bytes and reads until the other side closes. */
async function raw(port: number, text: string): Promise<string> {
  const socket = connect(port, '127.0.0.1');
  socket.setEncoding('utf8');
  let answer = '';
  socket.on('data', (part: string) => (answer += part));
  socket.on('error', () => undefined);
  socket.write(text);
  await once(socket, 'close');
  return answer;
}

t.test('with a token, nothing is answered without it but the page, health and readiness', async (t) => {
  const { url, ask } = await startApi(t, { token: TOKEN });
  const open = ['/', '/healthz', '/readyz', '/v1/session'];
  const shut = [
    '/v1/status',
    '/v1/devices',
    '/v1/devices/x',
    '/v1/proxies',
    '/v1/events',
    '/metrics',
    '/openapi.json',
    '/nothing',
  ];
  for (const path of open) t.equal((await fetch(url + path)).status, 200, path);
  for (const path of shut) {
    const response = await fetch(url + path);
    t.equal(response.status, 401, path);
    t.match(response.headers.get('www-authenticate'), /^Bearer/);
    t.match(await response.json(), { code: 'UNAUTHORIZED', message: String });
  }
  t.equal((await ask('GET', '/v1/status')).status, 200);
  for (const authorization of [
    `Bearer ${TOKEN}x`,
    `Bearer ${TOKEN.slice(1)}`,
    'Bearer',
    `Basic ${TOKEN}`,
    TOKEN,
  ]) {
    t.equal((await ask('GET', '/v1/status', undefined, { authorization })).status, 401, authorization);
  }
  const refused = await ask('POST', '/v1/devices/x/messages', {}, { authorization: 'Bearer wrong' });
  t.equal(refused.status, 401);
  t.notMatch(refused.text, /wrong|correct/);
  t.match((await ask('GET', '/v1/status')).json, { outbox: { accepted: 0 } });
});

t.test('off loopback a token is obligatory', async (t) => {
  await t.rejects(startApi(t, { listen: { host: '0.0.0.0', port: 0 } }), {
    code: 'CONFIG_INVALID',
    message: /token_file/,
  });
  const { ask } = await startApi(t, { listen: { host: '0.0.0.0', port: 0 }, token: TOKEN });
  t.equal((await ask('GET', '/v1/status')).status, 200);
});

t.test('loopback is told from the rest', async (t) => {
  t.same(
    ['127.0.0.1', '127.9.9.9', '::1', 'localhost', '::ffff:127.0.0.1'].map(isLoopback),
    Array(5).fill(true),
  );
  t.same(
    ['0.0.0.0', '::', '10.0.0.1', 'example.org', '128.0.0.1', 'localhost.evil'].map(isLoopback),
    Array(6).fill(false),
  );
});

t.test('without a token, a Host that is not this machine is refused, but not to probes', async (t) => {
  const { api } = await startApi(t, { hosts: ['Relay.example'] });
  const { port } = api.address;
  const ask = (path: string, host: string): Promise<string> =>
    raw(port, `GET ${path} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
  for (const host of [
    'localhost',
    `localhost:${port}`,
    `127.0.0.1:${port}`,
    '[::1]',
    'LOCALHOST',
    'relay.example',
  ]) {
    t.match(await ask('/v1/status', host), /^HTTP\/1\.1 200 /, host);
  }
  for (const host of ['evil.example', '127.0.0.1.evil.example', '10.0.0.1', '']) {
    t.match(await ask('/v1/status', host), /^HTTP\/1\.1 421 [^]*HOST_REFUSED/, host);
    t.match(await ask('/', host), /^HTTP\/1\.1 421 /, host);
  }
  t.match(await ask('/healthz', 'probe.example'), /^HTTP\/1\.1 200 /);
});

t.test('who sends the token may use any Host; who does not, only that of this machine', async (t) => {
  const { api } = await startApi(t, { token: TOKEN });
  for (const path of ['/', '/v1/session']) {
    for (const header of ['X-None: x', 'Authorization: Bearer wrong']) {
      const text = `GET ${path} HTTP/1.1\r\nHost: relay.example\r\n${header}\r\nConnection: close\r\n\r\n`;
      t.match(await raw(api.address.port, text), /^HTTP\/1\.1 421 [^]*HOST_REFUSED/, `${path} ${header}`);
    }
  }
  const wrong = `GET /v1/status HTTP/1.1\r\nHost: relay.example\r\nAuthorization: Bearer wrong\r\nConnection: close\r\n\r\n`;
  t.match(await raw(api.address.port, wrong), /^HTTP\/1\.1 401 /, 'a wrong token is told to be wrong');
  const answer = await raw(
    api.address.port,
    `GET /v1/status HTTP/1.1\r\nHost: relay.example\r\nAuthorization: bearer ${TOKEN}\r\nConnection: close\r\n\r\n`,
  );
  t.match(answer, /^HTTP\/1\.1 200 /);
});

t.test('pages of another origin may look at nothing and change nothing', async (t) => {
  const { ask, api, outbox } = await startApi(t);
  const push = (headers: Record<string, string>): Promise<string> =>
    raw(
      api.address.port,
      `POST /v1/devices/x/messages HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n${Object.entries(
        headers,
      )
        .map(([name, value]) => `${name}: ${value}\r\n`)
        .join('')}\r\n`,
    );
  for (const origin of ['https://evil.example', 'null', 'http://localhost:1', 'nonsense']) {
    t.match(await push({ Origin: origin }), /^HTTP\/1\.1 403 [^]*ORIGIN_REFUSED/, origin);
  }
  t.match(await push({ 'Sec-Fetch-Site': 'cross-site' }), /^HTTP\/1\.1 403 /);
  t.equal((await outbox.counts()).accepted, 0);
  t.match(await push({ Origin: 'http://localhost' }), /^HTTP\/1\.1 201 /);
  const looked = await ask('GET', '/v1/status', undefined, { origin: 'https://evil.example' });
  t.equal(looked.headers.get('access-control-allow-origin'), null);
  t.equal(looked.headers.get('cross-origin-resource-policy'), 'same-origin');
  t.match(await ask('OPTIONS', '/v1/devices/x/messages'), { status: 405, json: { code: 'METHOD_REFUSED' } });
});

t.test('a body must be called JSON', async (t) => {
  const { ask } = await startApi(t);
  const path = '/v1/devices/x/messages';
  for (const type of [
    'text/plain',
    'application/x-www-form-urlencoded',
    'multipart/form-data',
    'application/jsonx',
  ]) {
    t.match(
      await ask('POST', path, '{}', { 'content-type': type }),
      { status: 415, json: { code: 'CONTENT_TYPE_REFUSED' } },
      type,
    );
  }
  t.equal((await ask('POST', path, '{}', { 'content-type': 'Application/JSON; charset=utf-8' })).status, 201);
});

t.test('methods and paths that do not exist are told so', async (t) => {
  const { ask } = await startApi(t);
  const wrong = await ask('PUT', '/v1/devices/x/messages', {});
  t.match(wrong, { status: 405, json: { code: 'METHOD_REFUSED' } });
  t.equal(wrong.headers.get('allow'), 'POST, GET, HEAD, DELETE');
  t.match(await ask('GET', '/v1/nothing'), { status: 404, json: { code: 'NOT_FOUND' } });
  t.match(await ask('GET', '/v1/devices/%zz'), { status: 400 });
  t.equal((await ask('GET', '/v1/devices/../status')).status, 200, 'fetch resolves the path by itself');
  const head = await ask('HEAD', '/v1/status');
  t.equal(head.status, 200);
  t.equal(head.text, '');
  t.equal((await ask('HEAD', '/v1/events')).status, 200, 'a head of a stream ends');
});

t.test(
  'bodies and headers over their limits are refused, also where their length is not declared',
  async (t) => {
    const { ask, api } = await startApi(t, { limits: { bodyBytes: 1000, headerBytes: 2000 } });
    const path = '/v1/devices/x/messages';
    const big = JSON.stringify({ key: 'x'.repeat(2000) });
    t.match(await ask('POST', path, big, { 'content-type': 'application/json' }), {
      status: 413,
      json: { code: 'TOO_LARGE' },
    });
    const chunked = `POST ${path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n7d0\r\n${'x'.repeat(2000)}\r\n0\r\n\r\n`;
    const answer = await raw(api.address.port, chunked);
    t.match(answer, /^HTTP\/1\.1 413 [^]*TOO_LARGE/);
    t.match(answer, /connection: close/i);
    const headers = `GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Long: ${'x'.repeat(3000)}\r\n\r\n`;
    t.match(await raw(api.address.port, headers), /^HTTP\/1\.1 431 /);
  },
);

t.test('a connection on which nothing moves is closed', async (t) => {
  const { api } = await startApi(t, { limits: { idleMs: 50 } });
  const half = `POST /v1/devices/x/messages HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{`;
  t.equal(await raw(api.address.port, half), '');
});

t.test('metrics are what was handed in', async (t) => {
  const { ask } = await startApi(t, { metricsText: async () => 'sallyport_up 1\n' });
  const answer = await ask('GET', '/metrics');
  t.equal(answer.text, 'sallyport_up 1\n');
  t.match(answer.headers.get('content-type'), /^text\/plain; version=0\.0\.4/);
});

t.test('a fault of ours is answered 500 without detail', async (t) => {
  const { ask } = await startApi(t, {
    metricsText: async () => {
      throw new Error('secret detail');
    },
  });
  const answer = await ask('GET', '/metrics');
  t.match(answer, { status: 500, json: { code: 'INTERNAL' } });
  t.notMatch(answer.text, /secret/);
});

t.test('an occupied port is named', async (t) => {
  const { api } = await startApi(t);
  await t.rejects(startApi(t, { listen: api.address }), {
    code: 'ADDRESS_IN_USE',
    message: new RegExp(`${api.address.port}`),
  });
});

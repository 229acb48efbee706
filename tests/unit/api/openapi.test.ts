import t from 'tap';
import { z } from 'zod';
import { device } from '../../fixtures/fake-view.ts';
import { startApi } from '../../fixtures/start-api.ts';
import type { Answer, StartedApi } from '../../fixtures/start-api.ts';

type Json = Record<string, unknown>;

interface Operation {
  operationId: string;
  parameters: { name: string; in: string; required: boolean; schema: Json }[];
  requestBody?: { content: Record<string, { schema: Json }> };
  responses: Record<string, { description: string; content?: Record<string, { schema: Json }> }>;
  security: Json[];
}

interface Document {
  openapi: string;
  info: { title: string; version: string };
  paths: Record<string, Record<string, Operation>>;
  components: { schemas: Record<string, Json> };
}

async function fetchDocument(api: StartedApi): Promise<Document> {
  const { status, json } = await api.ask('GET', '/openapi.json');
  if (status !== 200) throw new Error(`the document was answered ${status}`);
  return json as unknown as Document;
}

/** A validator made from the document alone, which also refuses fields that it doesn't name. */
function validator(document: Document, schema: Json): z.ZodType {
  const whole = { ...schema, $defs: document.components.schemas };
  const local = JSON.stringify(whole).replaceAll('"#/components/schemas/', '"#/$defs/');
  const strict = JSON.parse(local, (_name, node: unknown) => {
    const object = node as Json | null;
    const closed =
      typeof object === 'object' && object !== null && object['type'] === 'object' && 'properties' in object;
    return closed ? { additionalProperties: false, ...object } : node;
  }) as Parameters<typeof z.fromJSONSchema>[0];
  return z.fromJSONSchema(strict);
}

function operationFor(document: Document, method: string, path: string): [string, Operation] {
  const asked = (path.split('?')[0] ?? '').split('/');
  for (const [template, operations] of Object.entries(document.paths)) {
    const parts = template.split('/');
    const operation = operations[method.toLowerCase()];
    if (operation === undefined || parts.length !== asked.length) continue;
    if (parts.every((part, i) => part.startsWith('{') || part === asked[i]))
      return [`${method} ${template}`, operation];
  }
  throw new Error(`the document has no ${method} ${path}`);
}

/** What a running server answers to one request after another, held against its document. */
async function play(
  api: StartedApi,
  document: Document,
  check: (name: string, fault: string | null) => void,
) {
  const answered = new Set<string>();
  return {
    answered,
    async ask(
      method: string,
      path: string,
      body?: unknown,
      headers?: Record<string, string>,
    ): Promise<Answer> {
      const answer = await api.ask(method, path, body, headers);
      const [name, operation] = operationFor(document, method, path);
      answered.add(`${name} ${answer.status}`);
      const documented = operation.responses[answer.status];
      const type = answer.headers.get('content-type')?.split(';')[0] ?? '';
      const schema = documented?.content?.[type]?.schema;
      // What has not changed has no content (RFC 9110 §15.4.5).
      if (answer.status === 304) {
        const right = documented !== undefined && documented.content === undefined && answer.text === '';
        check(`${name} 304 is documented, without content`, right ? null : 'it is not');
      } else if (schema === undefined)
        check(`${name} ${answer.status} as ${type} is documented`, 'it is not');
      else if (type === 'application/json' || type === 'application/x-ndjson') {
        const values = answer.text.split('\n').filter((line) => line !== '');
        for (const value of values) {
          const result = validator(document, schema).safeParse(JSON.parse(value));
          check(
            `${name} ${answer.status} is as documented`,
            result.success ? null : `${value}: ${result.error.message}`,
          );
        }
      }
      return answer;
    },
  };
}

const NDJSON = { 'content-type': 'application/x-ndjson' };

t.test(
  'the document is whole: ids are unique, references resolve, path parameters are described',
  async (t) => {
    const document = await fetchDocument(await startApi(t));
    t.match(document.openapi, /^3\.1\./);
    t.match(document.info, { title: String, version: '0.1.0' });
    const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
      Object.values(methods).map((each) => ({ path, each })),
    );
    const ids = operations.map(({ each }) => each.operationId);
    t.equal(new Set(ids).size, ids.length);
    for (const { path, each } of operations) {
      const named = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);
      t.same(
        each.parameters.filter((parameter) => parameter.in === 'path').map(({ name }) => name),
        named,
        path,
      );
    }
    const references = [...JSON.stringify(document).matchAll(/"\$ref":"([^"]+)"/g)].map(
      ([, target]) => target ?? '',
    );
    t.ok(references.length > 20);
    for (const target of new Set(references)) {
      t.match(target, /^#\/components\/schemas\//);
      t.ok(document.components.schemas[target.split('/').at(-1) ?? '']?.['type'], `${target} is spelled out`);
    }
  },
);

t.test('the document has every request of the contract', async (t) => {
  const document = await fetchDocument(await startApi(t));
  const all = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
  );
  const promised = [
    'POST /v1/devices/{id}/messages',
    'POST /v1/messages',
    'GET /v1/campaigns/{name}',
    'POST /v1/campaigns/{name}/pause',
    'POST /v1/campaigns/{name}/resume',
    'POST /v1/campaigns/{name}/abort',
    'GET /v1/messages/{id}',
    'DELETE /v1/messages/{id}',
    'DELETE /v1/devices/{id}/messages',
    'POST /v1/messages/{id}/redrive',
    'GET /v1/devices/{id}',
    'GET /v1/devices',
    'GET /v1/proxies',
    'GET /v1/events',
    'GET /',
    'GET /healthz',
    'GET /readyz',
    'GET /metrics',
    'GET /openapi.json',
  ];
  t.same(
    promised.filter((each) => !all.includes(each)),
    [],
  );
});

t.test('every route answers as documented, and every documented answer was seen', async (t) => {
  const api = await startApi(t, { limits: { bodyBytes: 1000 }, outboxLimits: { messages: 5 } });
  const document = await fetchDocument(api);
  const { ask, answered } = await play(api, document, (name, fault) => t.equal(fault, null, name));
  const phone = device('00:1a:e8:00:00:01');

  const pushed = await ask('POST', `/v1/devices/${phone}/messages`, { key: 'k' });
  const id = String(pushed.json['id']);
  await ask('POST', `/v1/devices/${phone}/messages?wait=proxy`, { key: 'k' });
  await ask('POST', `/v1/devices/${phone}/messages`, { key: 'k', ttl_s: 5 });
  await ask('POST', `/v1/devices/${phone}/messages`, { kind: 'dls' });
  await ask('POST', `/v1/devices/${phone}/messages`, '{}', { 'content-type': 'text/plain' });
  await ask('POST', `/v1/devices/${phone}/messages`, { key: 'x'.repeat(1000) });
  await ask('POST', `/v1/devices/${phone}/messages`, {}, { origin: 'http://evil.example' });
  await ask('POST', '/v1/messages?campaign=c', '{"device":"aa"}\n{"device":""}\nx\n', NDJSON);
  await ask('POST', '/v1/messages', 'x', { 'content-type': 'text/plain' });
  await ask('GET', '/v1/campaigns/c');
  await ask('GET', '/v1/campaigns/d');
  await ask('GET', '/v1/campaigns?limit=1');
  for (const verb of ['pause', 'resume', 'abort']) {
    await ask('POST', `/v1/campaigns/c/${verb}`, {});
    await ask('POST', `/v1/campaigns/d/${verb}`, {});
  }
  await ask('POST', '/v1/campaigns/c/pause', {});
  await ask('POST', '/v1/campaigns/c/resume', {});
  await ask('GET', `/v1/messages/${id}`);
  await ask('GET', '/v1/messages/none');
  await ask('GET', `/v1/devices/${phone}`);
  await ask('GET', '/v1/devices/none');
  await ask('GET', `/v1/devices/${phone}/messages`);
  await ask('GET', `/v1/devices/${phone}/why`);
  await ask('GET', '/v1/devices/none/why');
  await ask('GET', '/v1/devices?limit=1');
  api.view.state.unknown.push({ device: 'zz', at: 0, address: null, proxy: 'p' });
  await ask('GET', '/v1/devices?unknown=true');
  await ask('GET', '/v1/devices?limit=none');
  await ask('GET', '/v1/proxies');
  await ask('GET', '/v1/services');
  await ask('GET', '/v1/status');
  await ask('GET', '/healthz');
  await ask('GET', '/readyz');
  await ask('GET', '/metrics');
  await ask('GET', '/v1/devices?sort=-pending');
  await ask('GET', '/v1/series?after=2026-01-01T00:00:00Z');
  await ask('GET', '/v1/series?after=noon');
  await ask('GET', '/v1/warnings');
  await ask('GET', '/v1/session');
  await ask('POST', '/v1/session', { token: 'not needed' });
  await ask('DELETE', '/v1/session');
  const page = await ask('GET', '/');
  await ask('GET', '/', undefined, { 'if-none-match': page.headers.get('etag') ?? '' });
  const script = /assets\/[^"]+\.js/.exec(page.text)?.[0] ?? 'assets/none';
  const file = await ask('GET', `/${script}`);
  await ask('GET', `/${script}`, undefined, { 'if-none-match': file.headers.get('etag') ?? '' });
  await ask('GET', '/assets/none');
  const bare = await startApi(t, { pages: { find: () => null, missing: 'not built' } });
  const unbuilt = await play(bare, document, (name, fault) => t.equal(fault, null, name));
  await unbuilt.ask('GET', '/');
  unbuilt.answered.forEach((each) => answered.add(each));
  await ask('GET', '/openapi.json');
  await api.outbox.fruitless(phone, 99, 1);
  await ask('POST', `/v1/messages/${id}/redrive`);
  await ask('POST', `/v1/messages/${id}/redrive`);
  await ask('DELETE', `/v1/messages/${id}`);
  await ask('DELETE', '/v1/messages/none');
  await ask('DELETE', `/v1/devices/${phone}/messages`);
  for (const name of ['a', 'b', 'c', 'd', 'e', 'f']) await ask('POST', `/v1/devices/${name}/messages`, {});
  api.faults.full = true;
  await ask('POST', '/v1/devices/a/messages', {});
  api.view.state.proxies = [];
  await ask('GET', '/readyz');

  // A stream has no end to wait for: its head tells status and type.
  const events = await api.ask('HEAD', '/v1/events');
  t.equal(events.headers.get('content-type'), 'text/event-stream');
  answered.add(`GET /v1/events ${events.status}`);

  const promised = api.api.routes.flatMap(({ spec }) =>
    Object.keys(spec.answers).map((status) => `${spec.method} ${spec.path} ${status}`),
  );
  t.same(
    promised.filter((each) => !answered.has(each)),
    [],
  );
  for (const status of [400, 403, 404, 409, 413, 415, 503, 507]) {
    t.ok(
      [...answered].some((each) => each.endsWith(` ${status}`)),
      `${status} was among the answers`,
    );
  }
});

t.test(
  'without the token every guarded route answers 401 as documented, and the open ones say that they are open',
  async (t) => {
    const api = await startApi(t, { token: 'secret-token' });
    const document = await fetchDocument(api);
    const { ask } = await play(api, document, (name, fault) => t.equal(fault, null, name));
    for (const { spec } of api.api.routes) {
      const { status } = await ask(spec.method, spec.path.replaceAll(/\{\w+\}/g, 'x'), undefined, {
        authorization: '',
      });
      const { security } = operationFor(document, spec.method, spec.path)[1];
      t.equal(status === 401, security.length > 0, `${spec.method} ${spec.path}`);
    }
  },
);

t.test('what the document calls a push is what the server takes, and the other way round', async (t) => {
  const api = await startApi(t);
  const document = await fetchDocument(api);
  const schema = operationFor(document, 'POST', '/v1/devices/x/messages')[1].requestBody?.content[
    'application/json'
  ]?.schema;
  t.ok(schema);
  const described = validator(document, schema ?? {});
  const bodies: unknown[] = [
    {},
    { kind: 'contact-me', ttl_s: 60, replace: true },
    { key: 'k' },
    { not_before: 1 },
    { not_before: '2026-01-01T00:00:00Z' },
    { ttl_s: '60' },
    { ttl_s: 0 },
    { key: '' },
    { replace: 1 },
    { not_before: 'soon' },
    { not_before: -1 },
    { other: 1 },
    { kind: 'call-me' },
    [],
  ];
  for (const body of bodies) {
    const { status } = await api.ask('POST', '/v1/devices/x/messages', body);
    t.equal(
      described.safeParse(body).success,
      status === 201,
      `${JSON.stringify(body)} was answered ${status}`,
    );
  }
});

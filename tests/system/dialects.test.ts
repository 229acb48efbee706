import { once } from 'node:events';
import { createSecureServer } from 'node:http2';
import type { AddressInfo } from 'node:net';
import t from 'tap';
import type { Test } from 'tap';
import { DIALECTS } from '../fixtures/services/index.ts';
import type { Dialect } from '../fixtures/services/index.ts';
import { startSwitchedGate } from '../fixtures/switched-gate.ts';
import type { SwitchedDoor, SwitchedGate } from '../fixtures/switched-gate.ts';
import { order } from '../conformance/documents.ts';
import type { Exchange, PhoneOptions } from '../phones/index.ts';

const DOORS = ['exact-sealed', 'exact-inspected'] as const;

const bodyOf = (message: Buffer): Buffer => message.subarray(message.indexOf('\r\n\r\n') + 4);

/** The whole of a phone's life in a dialect: start-up, a push, the session that it leads to, cleared. */
async function provision(
  t: Test,
  gate: SwitchedGate,
  door: SwitchedDoor,
  dialect: Partial<Dialect>,
  options: Partial<PhoneOptions> = {},
): Promise<void> {
  const answers: Buffer[] = [];
  const exchanges: Exchange[] = [];
  const service = await gate.serve(t, {
    dialect,
    onEvent: (event) => void (event.type === 'answer' && answers.push(event.body)),
  });
  const phone = gate.phone(t, door, { onExchange: (exchange) => exchanges.push(exchange), ...options });
  const startUp = await phone.start();
  t.equal(startUp?.outcome, 'completed', `start-up: ${startUp?.message ?? 'done'}`);

  const done = service.enqueue(phone.deviceId, [{ action: 'WriteItems', items: { realm: 'dialect' } }]);
  const message = await gate.push(phone.deviceId);
  const session = phone.next('session');
  t.equal((await phone.pollNow()).status, 202);
  const result = await session;
  t.equal(result.outcome, 'completed', `session: ${result.message ?? 'done'}`);
  t.equal((await done)[0]?.status, 'accepted');
  await gate.comes(message, 'cleared');
  await gate.polls(phone.deviceId, 200);

  t.strictSame(
    service.requests.map(({ body }) => body.toString('latin1')),
    exchanges.map(({ request }) => bodyOf(request).toString('latin1')),
    'every message arrived as it was sent',
  );
  const got = exchanges.map(({ answer }) => bodyOf(answer)).filter(({ length }) => length > 0);
  t.strictSame(
    got.map((body) => body.toString('latin1')),
    answers.map((body) => body.toString('latin1')),
    'and so did every answer',
  );
  const port = gate.doors[door]?.split(':')[1];
  for (const request of service.requests) {
    t.equal(request.header('host'), `127.0.0.1:${port}`, 'Host is that of the door, as the phone wrote it');
  }
  const types = new Set(
    exchanges.map(({ answer }) => /^content-type: (.*)\r$/im.exec(answer.toString('latin1'))?.[1]),
  );
  types.delete(undefined);
  t.strictSame([...types], [dialect.contentType ?? 'text/xml'], 'the content type stands as written');
}

/** Habits of services, and of phones. Those where a phone has no cookie come before anything is cut. */
const HABITS: Record<string, { dialect?: Partial<Dialect>; phone?: Partial<PhoneOptions> }> = {
  'a phone without cookies on a connection for each message': {
    dialect: DIALECTS.dlsir,
    phone: { keepAlive: false, cookie: 'none' },
  },
  ...Object.fromEntries(Object.entries(DIALECTS).map(([name, dialect]) => [`service ${name}`, { dialect }])),
  'a session that ends with 204': { dialect: { end: '204' } },
  'answers of HTTP/1.0': { dialect: { httpVersion: '1.0' } },
  'chunked answers, which the phone could not take': { dialect: { chunked: true } },
  'an upstream connection for each message': { dialect: { close: true } },
  'white space around values': { dialect: { whitespace: true } },
  'a service that knows a phone by its connection': { dialect: { cookie: 'none', keyBy: 'connection' } },
  'a connection for each message': { phone: { keepAlive: false } },
  'cookies sent back with their attributes': { dialect: { cookie: 'phpsessid' }, phone: { cookie: 'whole' } },
  'cookies sent back as they should be': { phone: { cookie: 'pair', keepAlive: false } },
  'no cookies sent back': {
    dialect: { keyBy: 'source-ip' },
    phone: { cookie: 'none' },
  },
  'status before action, on one line': {
    phone: { style: { attributeOrder: 'status-first', pretty: false } },
  },
  'nonces in lower case': { phone: { nonceCase: 'lower' } },
  'a phone that names itself in each reply': { phone: { replyDeviceId: true } },
};

t.test('services and phones of every kind', async (t) => {
  const gate = await startSwitchedGate(t);

  for (const [name, { dialect = {}, phone = {} }] of Object.entries(HABITS)) {
    for (const door of DOORS) {
      await t.test(`${name}: ${door}`, (t) => provision(t, gate, door, dialect, phone));
    }
  }

  for (const door of DOORS) {
    await t.test(`a service that offers HTTP/2 is spoken to in HTTP/1.1: ${door}`, async (t) => {
      const { cert, key } = gate.certificate;
      const server = createSecureServer({ cert, key, allowHTTP1: true });
      const versions: string[] = [];
      server.on('request', (request, response) => {
        versions.push(request.httpVersion);
        const pieces: Buffer[] = [];
        request.on('data', (piece: Buffer) => pieces.push(piece));
        request.on('end', () => {
          const nonce = /nonce="([^"]*)"/.exec(Buffer.concat(pieces).toString('latin1'))?.[1];
          response.setHeader('Content-Type', 'text/xml');
          response.end(order('CleanUp', '', { nonce: nonce ?? '' }));
        });
      });
      server.listen(0, '127.0.0.1');
      await once(server, 'listening');
      const phone = gate.phone(t, door);
      gate.board.lead(server.address() as AddressInfo);
      t.teardown(() => new Promise((resolve) => server.close(resolve)));
      t.equal((await phone.start())?.outcome, 'completed');
      t.strictSame(versions, ['1.1']);
      await phone.close();
    });
  }
});

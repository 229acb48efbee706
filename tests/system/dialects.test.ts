import { once } from 'node:events';
import { createSecureServer } from 'node:http2';
import type { AddressInfo } from 'node:net';
import t from 'tap';
import type { Test } from 'tap';
import { replayThroughGate } from '../fixtures/replay-through-gate.ts';
import { DIALECTS } from '../fixtures/services/index.ts';
import type { Dialect } from '../fixtures/services/index.ts';
import { startSwitchedGate } from '../fixtures/switched-gate.ts';
import type { SwitchedDoor, SwitchedGate } from '../fixtures/switched-gate.ts';
import type { Transcript, TranscriptOutcome } from '../fixtures/transcripts/index.ts';
import { phoneDocument } from '../fixtures/wpi-documents.ts';
import { macAfter } from '../phones/index.ts';
import type { Exchange, PhoneOptions } from '../phones/index.ts';

t.setTimeout(120_000);

const DOORS = ['exact-sealed', 'exact-inspected'] as const;
const NONCE = '00112233445566778899AABBCCDDEEFF';
let devices = 0;
const newDevice = (): string => macAfter('00:1A:E8:71:00:01', devices++);

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

/** An exchange in bytes of our own. */
interface Spelt {
  phone: Buffer | string;
  /** Further header lines. */
  phoneHeaders?: string[];
  service: Buffer | string;
  serviceHeaders?: string[];
  cut?: boolean;
}

function spelt(device: string, outcome: TranscriptOutcome, exchanges: Spelt[]): Transcript {
  const message = (lines: string[], body: Buffer | string): Buffer =>
    Buffer.concat([
      Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1'),
      Buffer.from(body as string, 'utf8'),
    ]);
  const length = (body: Buffer | string): string => `Content-Length: ${Buffer.byteLength(body)}`;
  return {
    name: 'spelt out',
    about: '',
    device,
    sessions: [
      {
        reason: 'solicited',
        outcome,
        exchanges: exchanges.map(({ phone, phoneHeaders = [], service, serviceHeaders, cut = false }) => ({
          connection: 1,
          cut,
          phone: message(
            [
              'POST /DeploymentService/LoginService HTTP/1.1',
              'Host: dls.example:18443',
              ...(phoneHeaders.some((line) => /^content-type:/i.test(line))
                ? []
                : ['Content-Type: text/xml']),
              length(phone),
              ...phoneHeaders,
            ],
            phone,
          ),
          service: message(
            ['HTTP/1.1 200 OK', 'Content-Type: text/xml', ...(serviceHeaders ?? [length(service)])],
            service,
          ),
        })),
      },
    ],
  };
}

const solicited = (device: string, items: [string, string][] = [['e164', '4711']]): string =>
  phoneDocument({ reason: 'solicited', items: [['mac-addr', device], ...items] });
const reply = (action: string, status = 'accepted'): string =>
  phoneDocument({ reason: 'reply-to', action, status, items: [] });
const order = (action: string, items = '', nonce = NONCE): string =>
  `<?xml version="1.0" encoding="utf-8"?>\n<DLSMessage xmlns="http://www.siemens.com/DLS"><Message nonce="${nonce}">` +
  `<Action>${action}</Action><ItemList>${items}</ItemList></Message></DLSMessage>`;
const item = (name: string, value: string): string => `<Item name="${name}">${value}</Item>`;
const CLEAN_UP = order('CleanUp');
const WRITE = order('WriteItems', item('realm', 'x'));
const BOM = '\ufeff';
const MEGABYTE = 1_000_000;

function padded(document: string, size: number): string {
  const [before = '', after = ''] = document.split('</ItemList>');
  const fill = size - Buffer.byteLength(document) - item('userdata-x', '').length;
  return `${before}${item('userdata-x', 'x'.repeat(fill))}</ItemList>${after}`;
}

const SPELLINGS: Record<string, { outcome?: TranscriptOutcome; exchanges: (device: string) => Spelt[] }> = {
  'a byte order mark on both sides': {
    exchanges: (device) => [
      { phone: `${BOM}${solicited(device)}`, service: `${BOM}${WRITE}` },
      { phone: `${BOM}${reply('WriteItems')}`, service: `${BOM}${CLEAN_UP}` },
    ],
  },
  'Latin-1 in both directions': {
    exchanges: (device) => {
      const latin = (document: string): Buffer =>
        Buffer.from(document.replace('utf-8', 'ISO-8859-1').replace('4711', 'Büro Süd'), 'latin1');
      return [
        { phone: latin(solicited(device)), service: latin(order('WriteItems', item('realm', '4711'))) },
        { phone: latin(reply('WriteItems')), service: latin(CLEAN_UP) },
      ];
    },
  },
  'no e164, and replies that do not name the phone': {
    exchanges: (device) => [
      { phone: solicited(device, []), service: WRITE },
      { phone: reply('WriteItems'), service: CLEAN_UP },
    ],
  },
  'an empty e164 that failed': {
    exchanges: (device) => [
      {
        phone: solicited(device, []).replace(
          '</ItemList>',
          '<Item name="e164" status="failed"></Item></ItemList>',
        ),
        service: CLEAN_UP,
      },
    ],
  },
  ...Object.fromEntries(
    (['Busy', 'BUSY', 'busy'] as const).map((word) => [
      `status ${word}`,
      {
        outcome: 'busy' as const,
        exchanges: (device: string): Spelt[] => [
          { phone: solicited(device), service: WRITE },
          { phone: reply('WriteItems', word), service: CLEAN_UP },
        ],
      },
    ]),
  ),
  'status ACCEPTED': {
    exchanges: (device) => [
      { phone: solicited(device), service: WRITE },
      { phone: reply('WriteItems', 'ACCEPTED'), service: CLEAN_UP },
    ],
  },
  'send-solicited in any case': {
    outcome: 'more',
    exchanges: (device) => [
      { phone: solicited(device), service: order('CleanUp', item('send-solicited', ' TRUE ')) },
    ],
  },
  'overload in any case': {
    outcome: 'overload',
    exchanges: (device) => [
      { phone: solicited(device), service: order('CleanUp', item('cleanup-reason', 'Overload')) },
    ],
  },
  'an empty nonce': {
    outcome: 'not-completed',
    exchanges: (device) => [{ phone: solicited(device), service: order('CleanUp', '', '') }],
  },
  'messages of a megabyte': {
    exchanges: (device) => [
      { phone: padded(solicited(device), MEGABYTE), service: padded(order('WriteItems'), MEGABYTE) },
      { phone: padded(reply('WriteItems'), MEGABYTE), service: padded(CLEAN_UP, MEGABYTE) },
    ],
  },
  'headers that are rarely seen': {
    exchanges: (device) => [
      {
        phone: solicited(device),
        phoneHeaders: [
          'content-TYPE: text/xml ; charset="UTF-8"',
          'SOAPAction: ""',
          'X-Empty:',
          'X-Latin: B\xfcro',
          'User-Agent: OpenStage/1.0 (x; y)',
          'Cookie: JSESSIONID=30de; path=/DeploymentService/; secure',
          'Accept: text/xml, */*;q=0.1',
        ],
        service: CLEAN_UP,
        serviceHeaders: [
          `content-length: ${Buffer.byteLength(CLEAN_UP)}`,
          'Server: Apache-Coyote/1.1',
          'Set-Cookie: JSESSIONID=30de; Path=/DeploymentService; Secure',
          'set-cookie: balancer=7; path=/; HttpOnly; Expires=Thu, 01 Jan 1970 00:00:00 GMT',
          'X-Latin: B\xfcro',
          'X-Twice: 1',
          'X-Twice: 2',
        ],
      },
    ],
  },
  'an answer that is cut off in its chunks': {
    outcome: 'cut',
    exchanges: (device) => [
      {
        phone: solicited(device),
        serviceHeaders: ['Transfer-Encoding: chunked'],
        service: `${Buffer.byteLength(CLEAN_UP).toString(16)}\r\n${CLEAN_UP}\r\n`,
        cut: true,
      },
    ],
  },
  'a small answer that is cut off': {
    outcome: 'cut',
    exchanges: (device) => [
      {
        phone: solicited(device),
        serviceHeaders: [`Content-Length: ${Buffer.byteLength(CLEAN_UP) + 1}`],
        service: CLEAN_UP,
        cut: true,
      },
    ],
  },
  'a big answer that is cut off': {
    outcome: 'cut',
    exchanges: (device) => [
      {
        phone: solicited(device),
        serviceHeaders: [`Content-Length: ${2 * MEGABYTE}`],
        service: padded(CLEAN_UP, MEGABYTE / 2),
        cut: true,
      },
    ],
  },
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
          response.end(order('CleanUp', '', nonce));
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

  for (const [name, { outcome = 'completed', exchanges }] of Object.entries(SPELLINGS)) {
    for (const door of DOORS) {
      await t.test(`${name}: ${door}`, async (t) => {
        const device = newDevice();
        await replayThroughGate(t, gate, door, spelt(device, outcome, exchanges(device)));
      });
    }
  }
});

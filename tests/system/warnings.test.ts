import { request } from 'node:https';
import { createInterface } from 'node:readline';
import { Readable } from 'node:stream';
import t from 'tap';
import { readEventStream } from '../../relay-client/api/event-stream.ts';
import type { DeskEvent } from '../../relay-client/api/event-stream.ts';
import { runProgram } from '../fixtures/program.ts';
import { startGate } from '../fixtures/gate.ts';
import type { Gate } from '../fixtures/gate.ts';
import type { RecordedRequest } from '../fixtures/services/http-server.ts';
import { createPhone, macAfter } from '../phones/index.ts';
import type { Phone } from '../phones/index.ts';

type WarningTold = Extract<DeskEvent, { type: 'warning' }>;

const FIRST = '00:1A:E8:77:00:01';
const OURS = 'http://proxy.example:8080/dcmp/';

/** Answers of a service that has gone astray: a header line, and whether the nonce is the phone's. */
let astray: { header?: string; nonce?: string } | null = null;

async function intercept({ body }: RecordedRequest) {
  if (astray === null) return undefined;
  const nonce = astray.nonce ?? /nonce="([^"]*)"/.exec(body.toString())?.[1] ?? '';
  const answer = Buffer.from(
    `<DLSMessage xmlns="http://www.siemens.com/DLS"><Message nonce="${nonce}"><Action>CleanUp</Action></Message></DLSMessage>`,
  );
  const lines = ['HTTP/1.1 200 OK', 'Content-Type: text/xml', `Content-Length: ${answer.length}`];
  const more = astray.header === undefined ? [] : [astray.header];
  return { head: Buffer.from(`${[...lines, ...more].join('\r\n')}\r\n\r\n`), body: answer, close: false };
}

/** Follows the events of a gate and finds warnings among them. */
async function followWarnings(gate: Gate, signal: AbortSignal) {
  const response = await fetch(`${gate.api}/v1/events`, { signal });
  const lines = createInterface({ input: Readable.fromWeb(response.body as never) });
  const told: WarningTold[] = [];
  let wake = (): void => undefined;
  const reading = (async () => {
    for await (const event of readEventStream(lines)) {
      if (event.type === 'warning') told.push(event);
      wake();
    }
  })().catch(() => undefined);
  return {
    reading,
    async of(what: string, device: string | null): Promise<WarningTold> {
      for (;;) {
        const found = told.find(
          (each) => each.what === what && each.device === (device?.toLowerCase() ?? null),
        );
        if (found !== undefined) return found;
        await new Promise<void>((resolve) => (wake = resolve));
      }
    },
  };
}

/** Sends a phone's document as it is. */
function post(gate: Gate, body: string): Promise<void> {
  const url = new URL('/DeploymentService/LoginService', gate.phoneService);
  return new Promise((resolve, reject) => {
    const headers = { 'Content-Type': 'text/xml', 'Content-Length': Buffer.byteLength(body) };
    const sent = request(
      url,
      { method: 'POST', headers, rejectUnauthorized: false, agent: false },
      (answer) => {
        answer.resume();
        answer.on('end', resolve);
      },
    );
    sent.on('error', reject);
    sent.end(body);
  });
}

const document = (attributes: string, reason: string, mac: string): string =>
  `<WorkpointMessage xmlns="http://www.siemens.com/DLS"><Message ${attributes}>` +
  `<ReasonForContact>${reason}</ReasonForContact><ItemList><Item name="mac-addr">${mac}</Item></ItemList>` +
  `</Message></WorkpointMessage>`;

const write =
  (items: Record<string, string>) =>
  async (gate: Gate, phone: Phone): Promise<void> => {
    const done = gate.service.enqueue(phone.deviceId, [{ action: 'WriteItems', items }]);
    await phone.openSession('solicited');
    await done;
  };

const strayed =
  (how: typeof astray) =>
  async (_gate: Gate, phone: Phone): Promise<void> => {
    astray = how;
    await phone.openSession('local-changes');
    astray = null;
  };

/** What brings each warning about. */
const causes: [what: string, cause: (gate: Gate, phone: Phone) => Promise<unknown>, about?: RegExp][] = [
  [
    'inside-address',
    write({ 'file-server': '127.0.0.9', 'file-https-base-url': '' }),
    /item file-server, address 127\.0\.0\.9/,
  ],
  ['other-dcmp-url', write({ 'dcmp-url': 'http://elsewhere.example/dcmp/' })],
  ['ftp', write({ 'file-server': 'ftp.example' })],
  [
    'contacted-often',
    async (gate, phone) => {
      await phone.openSession('start-up');
      for (let n = 0; n < 2; n += 1) await gate.service.contact(phone.deviceId);
    },
  ],
  [
    'not-coming',
    async (gate, phone) => {
      await gate.call('POST', `/v1/devices/${phone.deviceId}/messages?wait=proxy`, {});
      await gate.polls(phone.deviceId, 202);
    },
    /waited s \d+/,
  ],
  ['nonce-odd', strayed({ nonce: 'ANOTHER' })],
  ['service-clock', strayed({ header: 'Date: Mon, 01 Jan 2001 00:00:00 GMT' })],
  ['nonce-missing', (gate, phone) => post(gate, document('maxItems="-1"', 'local-changes', phone.deviceId))],
];

t.test('each warning is an event, a figure and a line in why', async (t) => {
  const gate = await startGate(t, {
    service: { intercept },
    relay: { warnings: { poll_urls: [OURS], not_coming_s: 1 } },
  });
  const stop = new AbortController();
  const events = await followWarnings(gate, stop.signal);
  t.teardown(() => stop.abort());
  let made = 0;
  for (const [what, cause, about = /./] of causes) {
    await t.test(what, async (t) => {
      const phone = createPhone({
        deviceId: macAfter(FIRST, (made += 1)),
        service: gate.phoneService,
        contactListen: false,
      });
      t.teardown(() => phone.close());
      await cause(gate, phone);
      const event = await events.of(what, phone.deviceId);
      t.match(event.sentence, about);
      const metrics = await (await fetch(`${gate.api}/metrics`)).text();
      t.match(metrics, new RegExp(`sallyport_warnings_total\\{what="${what}"\\} [1-9]`));
      const { body } = await gate.call('GET', `/v1/devices/${phone.deviceId}/why`);
      t.match(body['warnings'], [{ what, sentence: event.sentence }]);
      t.equal((body['warnings'] as object[]).length, 1, 'and of nothing else');
      const { stdout } = await runProgram('sallyport-relay', [
        'why',
        phone.deviceId,
        '--config',
        gate.relayConfig,
      ]);
      t.match(stdout, `warning: ${event.sentence}`);
    });
  }

  await t.test('what is known of no device is told as well', async (t) => {
    await post(gate, '<WorkpointMessage>');
    t.equal((await events.of('unreadable', null)).count, 1);
  });

  await t.test('a gate that does all right is warned of nothing', async (t) => {
    const phone = createPhone({
      deviceId: macAfter(FIRST, 99),
      service: gate.phoneService,
      contactListen: false,
    });
    t.teardown(() => phone.close());
    await phone.openSession('start-up');
    await write({ 'dcmp-url': OURS, 'file-https-base-url': 'https://files.example/x' })(gate, phone);
    const { body } = await gate.call('GET', `/v1/devices/${phone.deviceId}/why`);
    t.strictSame(body['warnings'], []);
  });
  stop.abort();
  await events.reading;
});

import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer as createHttpServer } from 'node:http';
import { createServer } from 'node:net';
import type { AddressInfo, Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import type { Test } from 'tap';
import { loadRelayConfig } from '../../relay-client/config.ts';
import { createRelay } from '../../relay-client/relay.ts';
import type { WarningEvent } from '../../relay-client/warnings/warnings.ts';
import { systemClock } from '../../shared/clock.ts';
import { createPrivateKeyPem } from '../../shared/key-pair.ts';
import { createLog } from '../../shared/log.ts';
import { CREDIT, CUT, DATA, END, frameBytes, OPEN, startHostileProxy } from '../fixtures/hostile-proxy.ts';
import type { HostileLink } from '../fixtures/hostile-proxy.ts';
import { until } from '../fixtures/until.ts';

/** Far more than any abuse may make the relay hold; it runs in this very process, beside what abuses it. */
const MEMORY_BYTES = 192 * 1_048_576;
const MIB = 1_048_576;

async function listening(t: Test, server: Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  return (server.address() as AddressInfo).port;
}

/** A server that nobody has any business with. */
async function openCanary(t: Test) {
  let touched = 0;
  const port = await listening(
    t,
    createServer((socket) => {
      touched += 1;
      socket.destroy();
    }),
  );
  return { port, touched: () => touched };
}

/** A relay with one `wpi` and one `tcp` service, linked to a proxy that will abuse it, and canaries all around. */
async function start(t: Test, limits: Record<string, number> = {}) {
  const canary = await openCanary(t);
  const requests: string[] = [];
  const upstream = createHttpServer((request, response) => {
    requests.push(`${request.method} ${request.url} ${request.headers.host}`);
    request.resume();
    // A big answer is what a phone that reads nothing could make us hold.
    response.end(request.url === '/big' ? Buffer.alloc(4 * MIB) : '');
  });
  const sunk = { bytes: 0 };
  const sink = createServer((socket) => {
    socket.on('data', (chunk) => (sunk.bytes += chunk.length));
    socket.on('error', () => undefined);
  });
  const [upstreamPort, sinkPort] = [await listening(t, upstream), await listening(t, sink)];
  const proxy = await startHostileProxy(t);
  const dir = await mkdtemp(join(tmpdir(), 'hostile-'));
  writeFileSync(join(dir, 'relay.key'), createPrivateKeyPem(), { mode: 0o600 });
  writeFileSync(
    join(dir, 'relay.yaml'),
    JSON.stringify({
      name: 'hq-1',
      key: 'relay.key',
      proxies: [{ url: proxy.url, pin: proxy.key.pin }],
      services: [
        { name: 'wpi', kind: 'wpi', upstream: `http://127.0.0.1:${upstreamPort}` },
        { name: 'raw', kind: 'tcp', upstream: `127.0.0.1:${sinkPort}` },
      ],
      api: { listen: '127.0.0.1:0' },
      limits: { drain_s: 1, ...limits },
    }),
  );
  const logged: { level: string; msg: string; why?: string }[] = [];
  const log = createLog('info', {
    write: (line) => void logged.push(JSON.parse(line) as (typeof logged)[0]),
  });
  const relay = await createRelay(loadRelayConfig(join(dir, 'relay.yaml')), {
    clock: systemClock,
    log,
    software: 'test',
  });
  const warnings: WarningEvent[] = [];
  relay.view.onChange((change) => change.type === 'warning' && warnings.push(change.warning));
  t.teardown(async () => {
    await relay.close();
    upstream.closeAllConnections();
    // The outbox's thread may still be letting go of its files.
    await rm(dir, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 });
  });
  const call = async (path: string) => fetch(`http://${relay.addresses.api}${path}`);
  return { canary, requests, sunk, link: await proxy.next(), relay, logged, warnings, call };
}

type Place = Awaited<ReturnType<typeof start>>;

/** A phone's request on a stream of its own. */
function request(link: HostileLink, stream: number, text: string): void {
  link.open(stream, 'wpi');
  link.frame(DATA, stream, text);
}

const startUp = (mac: string): string => {
  const body =
    '<?xml version="1.0"?><WorkpointMessage xmlns="http://www.siemens.com/DLS"><Message nonce="AB">' +
    '<ReasonForContact>start-up</ReasonForContact><ItemList>' +
    `<Item name="mac-addr">${mac}</Item></ItemList></Message></WorkpointMessage>`;
  return `POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
};
const macOf = (n: number): string =>
  (0x001ae8000000 + n)
    .toString(16)
    .padStart(12, '0')
    .replace(/(..)(?!$)/g, '$1:');

/** What only a proxy that breaks the rules can do, and what its link is cut with. */
const violations: [name: string, abuse: (link: HostileLink) => void, why: RegExp][] = [
  ['data on a stream that was never opened', (link) => link.frame(DATA, 7, 'x'), /stream 7, never opened/],
  [
    'a stream opened twice',
    (link) => [1, 1].forEach((stream) => link.open(stream, 'wpi')),
    /stream 1 opened twice or out of order/,
  ],
  [
    'streams out of order',
    (link) => [9, 3].forEach((stream) => link.open(stream, 'wpi')),
    /stream 3 opened twice or out of order/,
  ],
  ['a frame on stream 0', (link) => link.frame(DATA, 0, 'x'), /frame on stream 0/],
  [
    'an unknown type of frame',
    (link) => {
      link.open(1, 'wpi');
      link.frame(99, 1);
    },
    /unknown frame type 99/,
  ],
  ['half a header', (link) => link.bytes(Buffer.of(2, 0, 0)), /short frame header/],
  [
    'a length beyond the message',
    (link) => link.bytes(Buffer.of(2, 0, 255, 0, 0, 0, 0, 1)),
    /longer than allowed/,
  ],
  [
    'more payload than a frame holds',
    (link) => {
      link.open(1, 'raw');
      link.frame(DATA, 1, Buffer.alloc(65_537));
    },
    /longer than allowed/,
  ],
  [
    'data beyond the credit',
    (link) => {
      const opening = { service: 'raw', door: 'wpi', address: '192.0.2.1', port: 1, tls: 'proxy' };
      const data = Array.from({ length: 7 }, () => frameBytes(DATA, 1, Buffer.alloc(65_536)));
      // In one message: nothing of it can have been passed on, and no credit given back, in between.
      link.bytes(Buffer.concat([frameBytes(OPEN, 1, JSON.stringify(opening)), ...data]));
    },
    /data beyond credit/,
  ],
  [
    'data after the end',
    (link) => {
      link.open(1, 'raw');
      link.frame(END, 1);
      link.frame(DATA, 1, 'x');
    },
    /data beyond credit or end/,
  ],
  [
    'credit that overflows',
    (link) => {
      link.open(1, 'raw');
      link.frame(CREDIT, 1, Buffer.alloc(4, 0xff));
    },
    /credit beyond a window/,
  ],
  [
    'credit of nothing',
    (link) => {
      link.open(1, 'raw');
      link.frame(CREDIT, 1, Buffer.alloc(4));
    },
    /credit beyond a window/,
  ],
  [
    'credit of three bytes',
    (link) => {
      link.open(1, 'raw');
      link.frame(CREDIT, 1, Buffer.alloc(3, 1));
    },
    /credit of the wrong size/,
  ],
  ['a service that is a URL', (link) => link.open(1, 'http://127.0.0.1:1/'), /unreadable opening/],
  ['a service that is a path', (link) => link.open(1, '../wpi'), /unreadable opening/],
  [
    'a phone without an address',
    (link) => link.open(1, 'wpi', { address: 'dls.internal' }),
    /unreadable opening/,
  ],
  ['a port that is none', (link) => link.open(1, 'wpi', { port: 70_000 }), /unreadable opening/],
  ['a long opening', (link) => link.open(1, 'wpi', { more: 'x'.repeat(2_000) }), /unreadable opening/],
  ['an opening that is no JSON', (link) => link.frame(1, 1, '{'), /unreadable opening/],
  ['a huge control frame', (link) => link.say('x'.repeat(2 * MIB)), /Max payload size exceeded/],
  ['a huge message on the stream lane', (link) => link.bytes(Buffer.alloc(MIB)), /Max payload size exceeded/],
  ['bytes on the control lane', (link) => link.control.send(Buffer.from('{}')), /binary frame has no place/],
  ['a WebSocket ping', (link) => link.control.ping(), /ping has no place/],
  [
    'a message in pieces without end',
    (link) => {
      for (let i = 0; i < 40; i++) link.control.send('x', { fin: false });
    },
    /Too many message fragments/,
  ],
  ['a compressed frame', (link) => link.raw.control.write(Buffer.of(0xc1, 1, 0x78)), /RSV1 must be clear/],
  ['a frame that is no JSON', (link) => link.say('{"type":'), /not JSON/],
  ['JSON that is too deep', (link) => link.say('['.repeat(500_000)), /not JSON/],
  [
    'a second welcome',
    (link) => link.say({ ...link.heard[0], type: 'welcome', link: 'x', doors: [], holds: null }),
    /second welcome/,
  ],
  [
    'applied what was never sent',
    (link) => link.say({ type: 'applied', incarnation: link.incarnation, seq: 99 }),
    /applied 99/,
  ],
  [
    'more entries than a frame holds',
    (link) => {
      const poll = { device: macOf(1), agoMs: 0, status: 202 };
      link.say({ type: 'polls', polls: Array.from({ length: 2_001 }, () => poll), unknown: [] });
    },
    /field polls/,
  ],
  [
    'a device with control characters',
    (link) =>
      link.say({ type: 'polls', polls: [{ device: 'a\u001b[2J', agoMs: 0, status: 200 }], unknown: [] }),
    /field polls/,
  ],
  [
    'polls of the future',
    (link) =>
      link.say({ type: 'polls', polls: [{ device: macOf(1), agoMs: -1e9, status: 200 }], unknown: [] }),
    /field polls/,
  ],
  [
    'a figure in the name of somebody else',
    (link) => link.say({ type: 'metrics', samples: [{ name: 'up', kind: 'gauge', labels: {}, value: 1 }] }),
    /field samples/,
  ],
  [
    'a flood of control frames',
    (link) => {
      for (let i = 0; i < 100_100; i++) link.say('{"type":"pong","n":0}');
    },
    /more than 100000 control frames/,
  ],
];

t.test('a proxy that breaks the rules is cut with the reason, and that is an alarm', async (t) => {
  for (const [name, abuse, why] of violations) {
    await t.test(name, async (t) => {
      const place = await start(t);
      abuse(place.link);
      await place.link.closed;
      await alarmed(t, place, why);
      t.equal((await place.call('/healthz')).status, 200, 'the relay lives on');
    });
  }
});

/** A log line, an event and a figure tell of a hostile proxy. */
async function alarmed(t: Test, { logged, warnings, call }: Place, why: RegExp): Promise<void> {
  const line = logged.find(({ msg }) => msg === 'hostile proxy: the link is cut');
  t.match(line, { level: 'error', why });
  t.match(warnings, [{ what: 'hostile-proxy', facts: { why } }]);
  t.match(await (await call('/metrics')).text(), /sallyport_warnings_total\{what="hostile-proxy"\} 1/);
}

t.test('what was applied does not go back', async (t) => {
  const place = await start(t);
  const { link, relay } = place;
  for (let i = 0; i < 3; i++) {
    await relay.outbox.push({ device: macOf(i) as never, kind: 'contact-me', ttl: 60_000, delay: 0 });
  }
  link.say({ type: 'applied', incarnation: link.incarnation, seq: relay.outbox.sequence() });
  link.say({ type: 'applied', incarnation: 'another', seq: 0 });
  link.say({ type: 'applied', incarnation: link.incarnation, seq: 1 });
  await link.closed;
  await alarmed(t, place, /applied 1 after \d+/);
});

t.test('nothing is reached but the services that are configured', async (t) => {
  const { link, canary, requests, warnings } = await start(t);
  const there = `127.0.0.1:${canary.port}`;
  let stream = 0;
  const names = ['127.0.0.1', 'localhost', 'ops', 'api', 'outbox', 'relay.key', 'constructor', 'WPI', 'wpi.'];
  for (const name of names) link.open((stream += 1), name);
  await link.until(() => link.frames.filter(({ type }) => type === CUT).length === names.length);
  t.ok(
    link.frames.filter(({ type }) => type === CUT).every(({ payload }) => payload[0] === 1),
    'there is no such service',
  );
  const body = `<!DOCTYPE x [<!ENTITY e SYSTEM "http://${there}/">]><WorkpointMessage><Message nonce="A"><ReasonForContact>start-up</ReasonForContact><ItemList><Item name="mac-addr">&e;</Item><Item name="contact-me-uri">http://${there}/contact_dls.html/ContactDLS</Item></ItemList></Message></WorkpointMessage>`;
  const texts = [
    `GET http://${there}/ HTTP/1.1\r\nHost: ${there}\r\n\r\n`,
    `CONNECT ${there} HTTP/1.1\r\nHost: ${there}\r\n\r\n`,
    `GET /${there}/ HTTP/1.1\r\nHost: ${there}\r\nX-Forwarded-Host: ${there}\r\nForwarded: host=${there}\r\n\r\n`,
    `POST //${there}/ HTTP/1.1\r\nHost: ${there}\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
    `GET @${there}/ HTTP/1.1\r\nHost: a\r\n\r\n`,
    `GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n`,
  ];
  const first = stream + 1;
  for (const text of texts) request(link, (stream += 1), text);
  const answered = (each: number): boolean =>
    link.frames.some(({ type, stream }) => type === DATA && stream === each);
  await link.until(() => texts.every((_, i) => answered(first + i)));
  t.same(
    requests,
    [`GET /${there}/ ${there}`, `POST //${there}/ ${there}`],
    'only the service itself was asked, with what a phone might say',
  );
  t.equal(canary.touched(), 0);
  t.notOk(warnings.some(({ what }) => what === 'hostile-proxy'));
});

t.test('a flood of streams is refused at its limits, and the link goes on', async (t) => {
  const { link, warnings, relay, call } = await start(t, { lane_streams: 50, proxy_streams_per_minute: 400 });
  const before = process.memoryUsage().rss;
  for (let stream = 1; stream <= 10_000; stream++)
    link.open(stream, 'wpi', { address: `10.0.${stream >> 8}.${stream & 255}` });
  await link.until(
    () => link.frames.filter(({ type, payload }) => type === CUT && payload[0] === 2).length === 9_950,
  );
  t.equal(relay.view.services().find(({ name }) => name === 'wpi')?.connections, 50);
  // Those that end make room; a minute's limit holds whatever ends.
  for (let stream = 1; stream <= 50; stream++) link.frame(CUT, stream, Buffer.of(0));
  for (let stream = 10_001; stream <= 11_000; stream++) {
    link.open(stream, 'wpi');
    link.frame(CUT, stream, Buffer.of(0));
  }
  link.say({ type: 'ping', n: 4_711 });
  await link.until(() => link.heard.some(({ type, n }) => type === 'pong' && n === 4_711));
  await link.until(
    () => link.frames.filter(({ type, payload }) => type === CUT && payload[0] === 2).length >= 10_600,
  );
  t.match(warnings, [{ what: 'proxy-limit', facts: { limit: 'proxy_streams_per_minute', most: 400 } }]);
  t.match(await (await call('/metrics')).text(), /sallyport_warnings_total\{what="proxy-limit"\} \d+/);
  t.equal(relay.view.proxies()[0]?.state, 'up');
  t.ok(process.memoryUsage().rss - before < MEMORY_BYTES);
});

t.test('streams that take nothing and streams that bring everything hold little', async (t) => {
  const { link, relay, requests, sunk } = await start(t);
  const before = process.memoryUsage().rss;
  for (let stream = 1; stream <= 60; stream++) {
    request(link, stream, 'GET /big HTTP/1.1\r\nHost: a\r\n\r\n');
  }
  await link.until(() => link.bytesCome() >= 60 * 262_144);
  t.equal(requests.length, 60);
  // On other streams all goes on.
  link.open(61, 'raw');
  link.frame(DATA, 61, 'x'.repeat(1_000));
  await until('the first bytes have come', () => sunk.bytes >= 1_000);
  link.say({ type: 'ping', n: 5 });
  await link.until(() => link.heard.some(({ type, n }) => type === 'pong' && n === 5));
  t.equal(relay.view.proxies()[0]?.state, 'up');
  t.ok(process.memoryUsage().rss - before < MEMORY_BYTES, 'less than the 240 MiB that were asked for');
});

t.test('made-up polls and sweeps over device ids stay within their limit, and are told', async (t) => {
  const { link, relay, warnings, call } = await start(t, { new_devices_per_minute: 100 });
  await relay.outbox.push({ device: macOf(9_000) as never, kind: 'contact-me', ttl: 60_000, delay: 0 });
  await link.until(() => link.heard.some(({ type }) => type === 'changes'));
  const poll = (device: string) => ({ device, agoMs: 0, status: 202 });
  for (let frame = 0; frame < 4; frame++) {
    const polls = Array.from({ length: 2_000 }, (_, i) => poll(macOf(frame * 2_000 + i)));
    const unknown = polls.map(({ device }) => ({ device: `x${device}`, agoMs: 0, address: '203.0.113.9' }));
    link.say({ type: 'polls', polls, unknown });
  }
  link.say({ type: 'polls', polls: [poll(macOf(9_000))], unknown: [] });
  link.say({ type: 'ping', n: 6 });
  await link.until(() => link.heard.some(({ type, n }) => type === 'pong' && n === 6));
  t.equal((await call(`/v1/devices/${macOf(99)}`)).status, 200, 'the first hundred are taken on');
  t.equal((await call(`/v1/devices/${macOf(100)}`)).status, 404, 'and no more');
  t.match(
    await (await call(`/v1/devices/${macOf(9_000)}`)).json(),
    { last_poll: { status: 202 } },
    'known ones are told',
  );
  t.equal(relay.view.unknownDevices().length, 1_000);
  t.match(warnings, [{ what: 'proxy-limit', facts: { limit: 'new_devices_per_minute', most: 100 } }]);
  t.equal((await relay.outbox.counts()).held, 1, 'what is pending is not for a proxy to say');

  // The same by sessions, which an honest proxy would bring as well.
  for (let i = 0; i < 150; i++) request(link, i + 1, startUp(macOf(20_000 + i)));
  await link.until(
    () => new Set(link.frames.filter(({ type }) => type === DATA).map(({ stream }) => stream)).size === 150,
  );
  t.ok(warnings.some(({ what }) => what === 'new-device-limit'));
  t.ok((await relay.outbox.counts()).devices <= 101);
  t.equal(relay.view.proxies()[0]?.state, 'up');
});

t.test('a limit of bytes slows a proxy down, and its link stays up', async (t) => {
  const { link, relay, sunk } = await start(t, { proxy_bytes_per_s: 2 * MIB });
  const total = 6 * MIB;
  let credit = 262_144;
  let sent = 0;
  let seen = 0;
  link.open(1, 'raw');
  const began = performance.now();
  while (sent < total) {
    while (credit >= 65_536 && sent < total) {
      link.frame(DATA, 1, Buffer.alloc(65_536));
      credit -= 65_536;
      sent += 65_536;
    }
    await link.until(() => link.frames.slice(seen).some(({ type }) => type === CREDIT) || sent >= total);
    for (const { type, payload } of link.frames.slice(seen))
      if (type === CREDIT) credit += payload.readUInt32BE(0);
    seen = link.frames.length;
  }
  await until('all bytes have come', () => sunk.bytes >= total);
  t.ok(performance.now() - began > 1_500, '6 MiB at 2 MiB a second, the first second being free');
  t.equal(relay.view.proxies()[0]?.state, 'up');
});

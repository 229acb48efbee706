import { createHash } from 'node:crypto';
import { EventEmitter, once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo, Server, Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import t from 'tap';
import type { Test } from 'tap';
import {
  createPrivateKeyPem,
  pinOf,
  readPrivateKey,
  selfSignedCertificate,
} from '../../../shared/key-pair.ts';
import type { Pin } from '../../../shared/key-pair.ts';
import type { Lane } from '../../../shared/lane.ts';
import { dialLane, postJson } from '../../../relay-client/links/dial.ts';
import type { DialTarget } from '../../../relay-client/links/dial.ts';

async function makeKey() {
  const pem = createPrivateKeyPem();
  const key = readPrivateKey(pem, 'test');
  return {
    pem,
    cert: await selfSignedCertificate(key, { commonName: 'test', hosts: ['127.0.0.1'] }, new Date()),
    pin: pinOf(key),
  };
}

async function open(t: Test, server: Server): Promise<string> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** An HTTP proxy that takes connections and never answers; tells when one of them is gone. */
async function openSilentVia(t: Test) {
  const { promise: gone, resolve } = Promise.withResolvers<void>();
  const { promise: asked, resolve: hear } = Promise.withResolvers<string>();
  const server = createServer((socket) => {
    socket.once('data', (chunk) => hear(chunk.toString()));
    socket.on('error', () => undefined);
    socket.on('close', () => resolve());
  });
  return { url: new URL(`http://${await open(t, server)}`), gone, asked };
}

const EVENTS = { frame: () => undefined, drained: () => undefined, closed: () => undefined };
const UNUSED: Pin = `sha256:${'A'.repeat(43)}=`;

async function target(host: string, pin: Pin, via: URL | null = null): Promise<DialTarget> {
  const { pem, cert } = await makeKey();
  return { url: new URL(`wss://${host}`), trust: { pins: [pin] }, cert, key: pem, via };
}

t.test('an HTTP proxy that never answers is left in time, and nothing stays open to it', async (t) => {
  const via = await openSilentVia(t);
  const to = await target('proxy.example:9443', UNUSED, via.url);
  await t.rejects(dialLane(to, { kind: 'control' }, EVENTS, { withinMs: 200 }), {
    code: 'LINK_DOWN',
    message: /cannot reach proxy\.example:9443 through 127\.0\.0\.1:\d+: not done within 200 ms/,
  });
  t.match(await via.asked, /^CONNECT proxy\.example:9443 /);
  await via.gone;
  const again = await openSilentVia(t);
  await t.rejects(postJson({ ...to, via: again.url }, '/link/join', {}, { withinMs: 200 }), {
    code: 'LINK_DOWN',
  });
  await again.gone;
});

t.test('a dial that is given up leaves nothing open', async (t) => {
  const via = await openSilentVia(t);
  const to = await target('proxy.example:9443', UNUSED, via.url);
  const given = new AbortController();
  const dialled = dialLane(to, { kind: 'control' }, EVENTS, { signal: given.signal });
  await via.asked;
  given.abort();
  await t.rejects(dialled, { code: 'LINK_DOWN', message: /closed meanwhile/ });
  await via.gone;
  await t.rejects(dialLane(to, { kind: 'control' }, EVENTS, { signal: given.signal }), {
    code: 'LINK_DOWN',
  });
});

t.test('a host that takes the connection and says nothing is left in time', async (t) => {
  const { promise: gone, resolve } = Promise.withResolvers<void>();
  const server = createServer((socket: Socket) => {
    socket.on('error', () => undefined);
    socket.on('close', () => resolve());
    socket.resume();
  });
  const to = await target(await open(t, server), UNUSED);
  await t.rejects(dialLane(to, { kind: 'control' }, EVENTS, { withinMs: 200 }), { code: 'LINK_DOWN' });
  await gone;
});

/** A pinned proxy that answers each request, whatever it is, with the bytes of `write`. */
async function openAnswering(t: Test, write: (socket: Socket, request: string) => void) {
  const key = await makeKey();
  let asked = 0;
  const server = createTlsServer({ key: key.pem, cert: key.cert }, (socket) => {
    socket.on('error', () => undefined);
    socket.once('data', (request: Buffer) => {
      asked += 1;
      write(socket, request.toString());
    });
  });
  let closed = 0;
  const closing = new EventEmitter();
  server.on('connection', (socket: Socket) => socket.once('close', () => closing.emit('one', (closed += 1))));
  return {
    host: await open(t, server),
    pin: key.pin,
    asked: () => asked,
    /** Resolves once so many connections have come and are closed, with all that was sent on them read. */
    async over(connections: number) {
      while (closed < connections) await once(closing, 'one');
    },
  };
}

t.test('a refusal that comes byte by byte, for ever, is not waited for', async (t) => {
  const drip = await openAnswering(t, (socket) => {
    socket.write('HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain\r\n\r\n');
    const timer = setInterval(() => socket.write('x'), 20);
    socket.on('close', () => clearInterval(timer));
  });
  const to = await target(drip.host, drip.pin);
  await t.rejects(dialLane(to, { kind: 'control' }, EVENTS, { withinMs: 300 }), {
    code: 'LINK_DOWN',
    message: /not done within 300 ms/,
  });
  await t.rejects(postJson(to, '/link/join', {}, { withinMs: 300 }), { code: 'LINK_DOWN' });
});

t.test(
  'frames that come in one piece with the answer to a dial are told when the lane is there',
  async (t) => {
    const eager = await openAnswering(t, (socket, request) => {
      const key = /^sec-websocket-key: (.+)$/im.exec(request)?.[1]?.trim() ?? '';
      const accept = createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
      const answer =
        'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n' +
        `Sec-WebSocket-Accept: ${accept}\r\nSec-WebSocket-Protocol: sallyport.1\r\n\r\n`;
      socket.write(Buffer.concat([Buffer.from(answer), Buffer.of(0x82, 1, 7, 0x82, 1, 8)]));
    });
    let lane: Lane | null = null;
    const told: [number | undefined, string][] = [];
    const { promise: both, resolve } = Promise.withResolvers<void>();
    const to = await target(eager.host, eager.pin);
    lane = await dialLane(
      to,
      { kind: 'stream', link: 'x' },
      {
        ...EVENTS,
        frame(bytes) {
          told.push([(bytes as Buffer)[0], lane === null ? 'too early' : 'in time']);
          if (told.length === 2) resolve();
        },
      },
    );
    await both;
    lane.cut();
    t.same(told, [
      [7, 'in time'],
      [8, 'in time'],
    ]);
  },
);

t.test('what a proxy refuses with is told, a limited part of it', async (t) => {
  const text = `no such relay ${'x'.repeat(5_000)}`;
  const refusing = await openAnswering(t, (socket) => {
    socket.end(`HTTP/1.1 403 Forbidden\r\nContent-Length: ${text.length}\r\n\r\n${text}`);
  });
  const to = await target(refusing.host, refusing.pin);
  const error: unknown = await dialLane(to, { kind: 'control' }, EVENTS).catch((cause: unknown) => cause);
  t.match(error, { code: 'LINK_REFUSED', message: /answered 403 Forbidden: no such relay x+$/ });
  t.ok(String(error).length < 1_200);
  const older = await openAnswering(t, (socket) => {
    socket.end('HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n');
  });
  await t.rejects(dialLane(await target(older.host, older.pin), { kind: 'control' }, EVENTS), {
    code: 'LINK_VERSION',
  });
});

t.test('not a byte is sent to a host that shows another key than the pinned one', async (t) => {
  const other = await openAnswering(t, (socket) => socket.end());
  const to = await target(other.host, UNUSED);
  await t.rejects(dialLane(to, { kind: 'control' }, EVENTS), { code: 'PIN_MISMATCH' });
  await t.rejects(postJson(to, '/link/join', { token: 'secret' }), { code: 'PIN_MISMATCH' });
  await other.over(2);
  t.equal(other.asked(), 0);
});

t.test('nobody at the address is told with its name', async (t) => {
  const server = createServer();
  const host = await open(t, server);
  server.close();
  await once(server, 'close');
  await t.rejects(dialLane(await target(host, UNUSED), { kind: 'control' }, EVENTS), {
    code: 'LINK_DOWN',
    message: new RegExp(`cannot reach ${host}: .*ECONNREFUSED`),
  });
});

t.test('an IPv6 address is dialled as it stands in the URL', async (t) => {
  const to = await target('[::1]:1', UNUSED);
  await t.rejects(dialLane(to, { kind: 'control' }, EVENTS), { code: 'LINK_DOWN', message: /\[::1\]:1/ });
  const via = await openSilentVia(t);
  await t.rejects(dialLane({ ...to, via: via.url }, { kind: 'control' }, EVENTS, { withinMs: 200 }), {
    code: 'LINK_DOWN',
  });
  t.match(await via.asked, /^CONNECT \[::1\]:1 /);
});

t.test('while a proxy replaces its key, each of the pins will do', async (t) => {
  const { host, pin } = await openAnswering(t, (socket) =>
    socket.end('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}'),
  );
  const { pem, cert } = await makeKey();
  const dial = (pins: Pin[]) =>
    postJson({ url: new URL(`wss://${host}`), trust: { pins }, cert, key: pem, via: null }, '/link/join', {});
  for (const pins of [[pin], [pin, UNUSED], [UNUSED, pin]]) await dial(pins);
  await t.rejects(dial([UNUSED]), { code: 'PIN_MISMATCH' });
});

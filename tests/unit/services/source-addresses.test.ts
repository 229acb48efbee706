import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import t from 'tap';
import type { Test } from 'tap';
import { parseProxyHeader } from '../../../proxy/proxy-protocol.ts';
import { createAddressBook } from '../../../relay-client/addresses/book.ts';
import type { SourceAddresses } from '../../../relay-client/addresses/book.ts';
import { parseAddressRange } from '../../../relay-client/addresses/range.ts';
import { createMemoryStore } from '../../../relay-client/addresses/store.ts';
import type { AddressStore } from '../../../relay-client/addresses/store.ts';
import { parseDeviceId } from '../../../shared/device-id.ts';
import {
  answering,
  authority,
  eventually,
  ok,
  post,
  recordingObserver,
  startRawUpstream,
  startWpi,
} from './harness.ts';
import type { RawUpstream } from './harness.ts';

const skip = process.platform === 'linux' ? false : 'addresses of 127.0.0.0/8 need Linux';

const addressesOf = (range = '127.64.0.0/16', store: AddressStore = createMemoryStore()): SourceAddresses =>
  createAddressBook(store).range(parseAddressRange(range));

/** A message is its device's id here, and anything else is nobody's. */
const byBody = () => recordingObserver({ device: (body) => parseDeviceId(body.toString()) });

/** An upstream that answers with the address that it's asked from. */
const startMirror = (t: Test): Promise<RawUpstream> =>
  startRawUpstream(t, (connection) => answering(ok(connection.socket.remoteAddress ?? ''))(connection));

/** Takes the PROXY header off each connection that has one, and leads the rest on. */
async function startHeaderDoor(
  t: Test,
  port: number,
  took: (header: Buffer) => void,
): Promise<{ port: number; visitors: string[] }> {
  const visitors: string[] = [];
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    let bytes = Buffer.alloc(0);
    const take = (chunk: Buffer): void => {
      bytes = Buffer.concat([bytes, chunk]);
      const header = parseProxyHeader(bytes);
      if (header.result !== 'header') return void (header.result === 'refused' && socket.destroy());
      socket.off('data', take);
      visitors.push(socket.remoteAddress ?? '');
      took(bytes.subarray(0, header.bytes));
      const inner = connect(port, '127.0.0.1');
      inner.on('error', () => undefined);
      inner.write(bytes.subarray(header.bytes));
      socket.pipe(inner).pipe(socket);
    };
    socket.on('data', take);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  return { port: (server.address() as AddressInfo).port, visitors };
}

t.test('each device comes from an address of its own, over however many connections', { skip }, async (t) => {
  const upstream = await startMirror(t);
  const addresses = addressesOf();
  const { phone } = await startWpi(t, { upstream: upstream.url, addresses, observer: byBody() });
  const ask = async (device: string): Promise<string> => {
    const { send, answer, socket } = await phone();
    send(post(device));
    const { body } = await answer();
    socket.destroy();
    return body;
  };
  const devices = Array.from({ length: 100 }, (_, n) => `phone-${n}`);
  const first = await Promise.all(devices.map(ask));
  t.equal(new Set(first).size, devices.length, 'no two share one');
  t.ok(first.every((address) => address.startsWith('127.64.')));
  t.strictSame(await Promise.all(devices.map(ask)), first, 'and each has the same one again');
});

t.test(
  'downloads on a phone’s connection come from its address, by the same connection',
  { skip },
  async (t) => {
    const upstream = await startMirror(t);
    const { phone, counted } = await startWpi(t, {
      upstream: upstream.url,
      addresses: addressesOf(),
      observer: byBody(),
    });
    const { send, answer } = await phone();
    send(post('phone-1'));
    const { body } = await answer();
    send('GET /firmware HTTP/1.1\r\nHost: dls.example:18443\r\n\r\n');
    t.equal((await answer()).body, body);
    t.equal(upstream.connections.length, 1);
    t.notOk(counted.includes('address_unknown'));
  },
);

t.test('whoever cannot be known comes from the ordinary address, and is counted', { skip }, async (t) => {
  const upstream = await startMirror(t);
  const { phone, counted } = await startWpi(t, {
    upstream: upstream.url,
    addresses: addressesOf(),
    observer: byBody(),
  });
  const { send, answer } = await phone();
  const unknown = (): number => counted.filter((event) => event === 'address_unknown').length;
  send('GET /firmware HTTP/1.1\r\nHost: dls.example:18443\r\n\r\n');
  t.equal((await answer()).body, '127.0.0.1');
  t.equal(unknown(), 1);
  send(post('<nobody>'));
  t.equal((await answer()).body, '127.0.0.1');
  t.equal(unknown(), 2);
  send(post('phone-1'));
  t.equal((await answer()).body, '127.64.0.1', 'until it has said who it is');
  t.equal(unknown(), 2);
});

t.test('another device on the same connection gets another connection to upstream', { skip }, async (t) => {
  const upstream = await startMirror(t);
  const { phone } = await startWpi(t, {
    upstream: upstream.url,
    addresses: addressesOf(),
    observer: byBody(),
  });
  const { send, answer } = await phone();
  const from: string[] = [];
  for (const device of ['phone-1', 'phone-1', 'phone-2', '<nobody>', 'phone-1']) {
    send(post(device));
    from.push((await answer()).body);
  }
  t.strictSame(from, ['127.64.0.1', '127.64.0.1', '127.64.0.2', '127.0.0.1', '127.64.0.1']);
  t.equal(upstream.connections.length, 4);
  await Promise.all(upstream.connections.slice(0, 3).map(({ closed }) => closed));
});

t.test(
  'where there is no address left, the phone gets a 502 and nothing goes upstream',
  { skip },
  async (t) => {
    const upstream = await startMirror(t);
    const observer = byBody();
    const { phone, counted } = await startWpi(t, {
      upstream: upstream.url,
      addresses: addressesOf('127.64.0.0/30'),
      observer,
    });
    for (const [device, status] of [
      ['phone-1', 200],
      ['phone-2', 200],
      ['phone-3', 502],
      ['phone-1', 200],
    ] as const) {
      const { send, answer } = await phone();
      send(post(device));
      t.match((await answer()).head, `HTTP/1.1 ${status}`, device);
    }
    t.equal(upstream.connections.length, 3);
    t.equal(counted.filter((event) => event === 'address_refused').length, 1);
    t.match(
      observer.seen.filter(({ call }) => call === 'cut'),
      [{ by: 'upstream' }],
    );
  },
);

t.test(
  'a phone that leaves while its address is being written leaves nothing behind',
  { skip },
  async (t) => {
    const upstream = await startMirror(t);
    const written: (() => void)[] = [];
    const store: AddressStore = {
      kept: [],
      append: () => new Promise<void>((resolve) => written.push(resolve)),
      close: () => Promise.resolve(),
    };
    const observer = byBody();
    const { phone, counted } = await startWpi(t, {
      upstream: upstream.url,
      addresses: addressesOf('127.64.0.0/16', store),
      observer,
    });
    const one = await phone();
    one.send(post('phone-1'));
    await eventually(() => written.length === 1);
    one.socket.destroy();
    await observer.until('cut');
    written[0]?.();
    const two = await phone();
    two.send(post('phone-1'));
    t.equal((await two.answer()).body, '127.64.0.1', 'the address is its own all the same');
    t.equal(upstream.connections.length, 1);
    t.equal(counted.filter((event) => event === 'request').length, 1);
  },
);

for (const secure of [false, true]) {
  t.test(
    `forwarded: proxy-v2 tells the phone’s address as the first bytes of a ${secure ? 'TLS' : 'plain'} connection`,
    { skip },
    async (t) => {
      const ca = await authority();
      // Behind a door that takes the header off, as a balancer would.
      const inner = await startRawUpstream(
        t,
        (connection) => answering(ok(connection.received()))(connection),
        secure ? await ca.issue(['127.0.0.1']) : undefined,
      );
      const headers: Buffer[] = [];
      const door = await startHeaderDoor(t, inner.port, (header) => headers.push(header));
      const { phone } = await startWpi(t, {
        upstream: `${secure ? 'https' : 'http'}://127.0.0.1:${door.port}`,
        upstreamTls: secure ? { verify: false } : {},
        forwarded: 'proxy-v2',
        addresses: addressesOf(),
        observer: byBody(),
      });
      const { send, answer, socket } = await phone();
      for (const request of ['the first', 'the second']) {
        send(post('phone-1', 'X-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nX-Other: 1\r\n'));
        const { body } = await answer();
        t.match(body, /X-Other/, request);
        t.notMatch(body, /6\.6\.6\.6/, 'what the phone says of itself is dropped');
      }
      // The relay's own tries tell of nobody.
      const told = headers.map((header) => parseProxyHeader(header));
      const ofPhones = told.filter((header) => header.result === 'header' && header.source !== null);
      t.match(
        ofPhones,
        [{ result: 'header', source: { address: '127.0.0.1', port: socket.localPort } }],
        'once for each connection',
      );
      t.equal(
        door.visitors[told.indexOf(ofPhones[0]!)],
        '127.64.0.1',
        'and beside that, each device has its own address',
      );
    },
  );
}

t.test('a service that does not end the handshake after the header is a 504', { skip }, async (t) => {
  const upstream = await startRawUpstream(t);
  const { phone } = await startWpi(t, {
    upstream: upstream.url.replace('http:', 'https:'),
    forwarded: 'proxy-v2',
    limits: { connectMs: 100 },
  });
  const { send, answer } = await phone();
  send(post('x'));
  t.match((await answer()).head, /^HTTP\/1.1 504 /);
  await upstream.connections[0]?.closed;
});

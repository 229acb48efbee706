import { once } from 'node:events';
import { connect } from 'node:net';
import { connect as connectTls } from 'node:tls';
import fc from 'fast-check';
import t from 'tap';
import { PROXY_HEADER_LIMIT, parseProxyHeader } from '../../../proxy/proxy-protocol.ts';
import { createAuthority } from '../../fixtures/certificates.ts';
import {
  PENDING,
  certificateFiles,
  exchange,
  pollRequest,
  readAll,
  startPollDoor,
  statusOf,
} from '../../fixtures/start-poll-door.ts';

const SIGNATURE = Buffer.from('0d0a0d0a000d0a515549540a', 'hex');

/** A header by the bytes of the standard: version and command, family, then what follows. */
function header(versionAndCommand: number, family: number, rest: Buffer): Buffer {
  const length = Buffer.alloc(2);
  length.writeUInt16BE(rest.length);
  return Buffer.concat([SIGNATURE, Buffer.of(versionAndCommand, family), length, rest]);
}

const ipv4 = (address: string, port = 4_711): Buffer =>
  Buffer.from([...address.split('.').map(Number), 127, 0, 0, 1, port >> 8, port & 255, 0x1f, 0x90]);
const from = (address: string): Buffer => header(0x21, 0x11, ipv4(address));
const LAST = pollRequest(PENDING, 'Connection: close\r\n');

t.test('a header tells the address of the real peer', async (t) => {
  t.strictSame(parseProxyHeader(from('192.0.2.9')), {
    result: 'header',
    bytes: 28,
    source: { address: '192.0.2.9', port: 4_711 },
  });
  const six = Buffer.alloc(36);
  six.writeUInt16BE(0x2001, 0);
  six.writeUInt16BE(0xdb8, 2);
  six[15] = 1;
  six.writeUInt16BE(80, 32);
  t.strictSame(parseProxyHeader(header(0x21, 0x21, six)), {
    result: 'header',
    bytes: 52,
    source: { address: '2001:db8:0:0:0:0:0:1', port: 80 },
  });
  // A balancer that takes both families on one socket tells of IPv4 phones like that; all would be one peer otherwise.
  const mapped = Buffer.alloc(36);
  mapped.writeUInt16BE(0xffff, 10);
  mapped.set([192, 0, 2, 9], 12);
  mapped.writeUInt16BE(80, 32);
  t.match(parseProxyHeader(header(0x21, 0x21, mapped)), { source: { address: '192.0.2.9', port: 80 } });
  const withMore = header(0x21, 0x11, Buffer.concat([ipv4('192.0.2.9'), Buffer.from('0400010a', 'hex')]));
  t.match(parseProxyHeader(Buffer.concat([withMore, Buffer.from('GET')])), {
    bytes: 32,
    source: { address: '192.0.2.9' },
  });
});

t.test('a balancer that speaks for itself tells no peer', async (t) => {
  t.strictSame(parseProxyHeader(header(0x20, 0x00, Buffer.alloc(0))), {
    result: 'header',
    bytes: 16,
    source: null,
  });
  t.strictSame(parseProxyHeader(header(0x20, 0x11, ipv4('192.0.2.9'))), {
    result: 'header',
    bytes: 28,
    source: null,
  });
  t.strictSame(parseProxyHeader(header(0x21, 0x00, Buffer.alloc(5))), {
    result: 'header',
    bytes: 21,
    source: null,
  });
});

t.test('anything else is refused as soon as it can be told', async (t) => {
  for (const bytes of [
    Buffer.from('GET / HTTP/1.1'),
    Buffer.from('PROXY TCP4 192.0.2.9 127.0.0.1 4711 80\r\n'),
    Buffer.from('\r\n\r\nX'),
    header(0x11, 0x11, ipv4('192.0.2.9')),
    header(0x22, 0x11, ipv4('192.0.2.9')),
    header(0x21, 0x12, ipv4('192.0.2.9')),
    header(0x21, 0x31, Buffer.alloc(216)),
    header(0x21, 0x11, Buffer.alloc(11)),
    header(0x21, 0x21, Buffer.alloc(35)),
    header(0x21, 0x11, Buffer.alloc(PROXY_HEADER_LIMIT + 1)).subarray(0, 16),
  ]) {
    t.equal(parseProxyHeader(bytes).result, 'refused', bytes.toString('latin1', 0, 30));
  }
});

t.test('a part of a header asks for more, and never more than there is', async () => {
  fc.assert(
    fc.property(fc.ipV4(), fc.uint8Array({ maxLength: 50 }), fc.nat(100), (address, tail, cut) => {
      const whole = header(0x21, 0x11, Buffer.concat([ipv4(address), tail]));
      const part = parseProxyHeader(whole.subarray(0, cut));
      if (cut < whole.length) return part.result === 'more';
      return part.result === 'header' && part.bytes === whole.length && part.source?.address === address;
    }),
  );
});

t.test('a door behind a balancer takes the address told, for its networks and its reports', async (t) => {
  const reported = Promise.withResolvers<void>();
  const { ports, door, unknown } = await startPollDoor(t, {
    listeners: [{ proxyProtocol: true, allow: ['192.0.2.0/24'] }],
    onUnknown: () => reported.resolve(),
  });
  const say = async (...parts: (Buffer | string)[]): Promise<number | null> =>
    statusOf(await exchange(ports[0]!, Buffer.concat(parts.map((part) => Buffer.from(part)))));
  t.equal(await say(from('192.0.2.9'), LAST), 202);
  t.equal(await say(from('198.51.100.9'), LAST), null, 'another network');
  t.equal(await say(header(0x20, 0, Buffer.alloc(0)), LAST), null, "the balancer's own network");
  t.equal(door.stats().cut.not_allowed, 2);
  t.equal(await say(LAST), null, 'no header');
  t.equal(door.stats().cut.proxy_header, 1);
  await say(from('192.0.2.77'), pollRequest('nobody', 'Connection: close\r\n'));
  await reported.promise;
  t.match(unknown, [{ device: 'nobody', address: '192.0.2.77' }]);
});

t.test('a header and a poll in single bytes are understood', async (t) => {
  const { ports } = await startPollDoor(t, { listeners: [{ proxyProtocol: true }] });
  const socket = connect({ port: ports[0]!, host: '127.0.0.1', noDelay: true });
  const all = readAll(socket);
  for (const byte of Buffer.concat([from('192.0.2.9'), Buffer.from(LAST)])) {
    socket.write(Buffer.of(byte));
    await new Promise(setImmediate);
  }
  t.equal(statusOf(await all), 202);
});

t.test('a header that does not come is not awaited for ever', async (t) => {
  const { ports, door } = await startPollDoor(t, {
    listeners: [{ proxyProtocol: true }],
    limits: { handshakeMs: 100 },
  });
  t.equal(await exchange(ports[0]!, from('192.0.2.9').subarray(0, 20)), '');
  t.equal(door.stats().cut.proxy_header, 1);
  t.equal(door.stats().connections.open, 0);
});

for (const profile of ['modern', 'legacy'] as const)
  t.test(`TLS (${profile}) begins after the header`, async (t) => {
    const reported = Promise.withResolvers<void>();
    const authority = await createAuthority();
    const files = certificateFiles(t, await authority.issue(['127.0.0.1']));
    const { ports, unknown } = await startPollDoor(t, {
      listeners: [{ proxyProtocol: true, allow: ['192.0.2.0/24'], tls: { ...files, profile } }],
      onUnknown: () => reported.resolve(),
    });
    const socket = connect(ports[0]!, '127.0.0.1');
    await once(socket, 'connect');
    socket.write(from('192.0.2.9'));
    const secure = connectTls({ socket, ca: authority.cert, host: '127.0.0.1' });
    const all = readAll(secure);
    secure.write(pollRequest('nobody') + LAST);
    t.match(await all, /^HTTP\/1.1 200.*HTTP\/1.1 202/s);
    await reported.promise;
    t.match(unknown, [{ device: 'nobody', address: '192.0.2.9' }]);
  });

t.test('a poll door takes the header from the balancers that the config names only', async (t) => {
  const { ports, door } = await startPollDoor(t, {
    listeners: [
      { proxyProtocol: true, proxyProtocolFrom: ['192.0.2.0/24'] },
      { proxyProtocol: true, proxyProtocolFrom: ['127.0.0.1'] },
    ],
  });
  t.equal(await exchange(ports[0]!, Buffer.concat([from('192.0.2.9'), Buffer.from(LAST)])), '');
  t.equal(statusOf(await exchange(ports[1]!, Buffer.concat([from('192.0.2.9'), Buffer.from(LAST)]))), 202);
  t.equal(door.stats().cut.not_allowed, 1);
});

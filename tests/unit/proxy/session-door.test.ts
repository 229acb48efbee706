import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { connect as connectTls } from 'node:tls';
import type { ConnectionOptions, TLSSocket } from 'node:tls';
import t from 'tap';
import type { Test } from 'tap';
import { systemClock } from '../../../shared/clock.ts';
import { SallyportError } from '../../../shared/errors.ts';
import type { Lane } from '../../../shared/lane.ts';
import { silentLog } from '../../../shared/log.ts';
import { createMux } from '../../../shared/mux.ts';
import type { Mux } from '../../../shared/mux.ts';
import type { StreamOpening } from '../../../shared/mux-frames.ts';
import type { SessionDoorConfig } from '../../../proxy/config.ts';
import { createSessionDoor, createSessionSlots } from '../../../proxy/sessions/session-door.ts';
import type { SessionDoor } from '../../../proxy/sessions/session-door.ts';
import type { TlsProfile } from '../../../shared/tls-profile.ts';
import type { Site } from '../../../proxy/site.ts';
import { createAuthority } from '../../fixtures/certificates.ts';
import { until } from '../../fixtures/until.ts';

interface Arrival {
  stream: Duplex;
  opening: StreamOpening;
}

/** Two multiplexers joined in memory, and what arrives at the relay's. */
function joinMuxes() {
  const arrivals: Arrival[] = [];
  const waiting: ((arrival: Arrival) => void)[] = [];
  const laneTo = (peer: () => Mux): Lane => ({
    send(frame, sent?: () => void) {
      const copy = Buffer.from(frame as Uint8Array);
      setImmediate(() => {
        peer().receive(copy);
        sent?.();
      });
    },
    backlog: () => 0,
    close: (_code, reason) => t.fail(reason),
    cut: () => undefined,
  });
  const proxy: Mux = createMux({ lane: laneTo(() => relay), clock: systemClock, side: 'proxy' });
  const relay: Mux = createMux({
    lane: laneTo(() => proxy),
    clock: systemClock,
    side: 'relay',
    onStream(stream, opening) {
      const arrival = { stream, opening };
      const taker = waiting.shift();
      if (taker === undefined) arrivals.push(arrival);
      else taker(arrival);
      return null;
    },
  });
  return {
    open: (opening: StreamOpening) => proxy.open(opening),
    next: () =>
      new Promise<Arrival>((resolve) => {
        const arrival = arrivals.shift();
        if (arrival === undefined) waiting.push(resolve);
        else resolve(arrival);
      }),
    close() {
      proxy.closed(new Error('the test is over'));
      relay.closed(new Error('the test is over'));
    },
  };
}

async function openDoor(
  t: Test,
  config: Partial<SessionDoorConfig> = {},
  options: { slots?: number; perAddress?: number; down?: boolean; handshakeMs?: number } = {},
) {
  const muxes = joinMuxes();
  const down = { is: options.down ?? false };
  const sessions = { running: 0 };
  const site = {
    name: 'default',
    open(opening: StreamOpening) {
      if (down.is) throw new SallyportError('LINK_DOWN', 'no relay link serves site default');
      return muxes.open(opening);
    },
    sessions: () => sessions.running,
  } as unknown as Site;
  const slots = createSessionSlots(options.slots ?? 10, options.perAddress ?? 10);
  const door: SessionDoor = await createSessionDoor(
    {
      name: 'wpi',
      service: 'wpi-service',
      listen: { host: '127.0.0.1', port: 0 },
      allow: ['0.0.0.0/0'],
      proxyProtocol: false,
      tls: 'relay',
      ...config,
    },
    { site, slots, handshakeMs: options.handshakeMs ?? 20_000, clock: systemClock, log: silentLog },
  );
  t.teardown(async () => {
    await door.close();
    muxes.close();
  });
  const phone = (): Socket => {
    const socket = connect({ host: '127.0.0.1', port: door.address.port, allowHalfOpen: true });
    socket.on('error', () => undefined);
    t.teardown(() => socket.destroy());
    return socket;
  };
  const tlsPhone = (more: ConnectionOptions = {}): TLSSocket => {
    const socket = connectTls({
      host: '127.0.0.1',
      port: door.address.port,
      rejectUnauthorized: false,
      ...more,
    });
    socket.on('error', () => undefined);
    t.teardown(() => socket.destroy());
    return socket;
  };
  return { door, slots, phone, tlsPhone, next: muxes.next, down, sessions };
}

/** A phone that speaks TLS 1.2, and the types of the records that it was sent: 21 would be an alert (RFC 5246 §6.2.1). */
async function openRecordedPhone(t: Test, port: number) {
  const bytes: Buffer[] = [];
  const recorder = createServer((socket) => {
    const onward = connect({ host: '127.0.0.1', port });
    socket.pipe(onward);
    onward.on('data', (chunk) => {
      bytes.push(chunk);
      socket.write(chunk);
    });
    onward.on('close', () => socket.destroy());
    for (const each of [socket, onward]) each.on('error', () => undefined);
  });
  recorder.listen(0, '127.0.0.1');
  await once(recorder, 'listening');
  t.teardown(() => recorder.close());
  const phone = connectTls({
    host: '127.0.0.1',
    port: (recorder.address() as AddressInfo).port,
    maxVersion: 'TLSv1.2',
    rejectUnauthorized: false,
  });
  phone.on('error', () => undefined);
  t.teardown(() => phone.destroy());
  await once(phone, 'secureConnect');
  const records = (): number[] => {
    const all = Buffer.concat(bytes);
    const types: number[] = [];
    for (let at = 0; at < all.length; at += 5 + all.readUInt16BE(at + 3)) types.push(all[at] ?? 0);
    return types;
  };
  return { phone, records };
}
const ALERT = 21;

/** How a phone's connection ended: the system's code, or `end` where it ended in order. */
function endOf(socket: Socket): Promise<string> {
  return new Promise((resolve) => {
    socket.on('end', () => resolve('end'));
    socket.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    socket.on('close', () => resolve('cut'));
    socket.resume();
  });
}

async function readText(stream: Duplex): Promise<string> {
  const [chunk] = (await once(stream, 'data')) as [Buffer];
  return chunk.toString();
}

/** A PROXY v2 header (proxy-protocol.txt §2.2) that names an IPv4 peer. */
function proxyHeader(address: string, port: number): Buffer {
  const header = Buffer.alloc(28);
  header.write('\r\n\r\n\0\r\nQUIT\n', 'latin1');
  header[12] = 0x21;
  header[13] = 0x11;
  header.writeUInt16BE(12, 14);
  address.split('.').forEach((part, i) => (header[16 + i] = Number(part)));
  header.writeUInt16BE(port, 24);
  return header;
}

async function writePair(t: Test, profile: TlsProfile, names = ['door.example']) {
  const authority = await createAuthority();
  const { cert, key } = await authority.issue(names);
  const dir = t.testdir({ 'c.pem': cert, 'k.pem': key, 'ca.pem': authority.cert });
  const tls = {
    cert: join(dir, 'c.pem'),
    key: join(dir, 'k.pem'),
    profile,
    clientCa: null as string | null,
  };
  return { authority, dir, tls };
}

t.test('bytes and half-closes pass both ways, and the relay is told whose they are', async (t) => {
  const { phone, next, door } = await openDoor(t);
  const socket = phone();
  socket.end('from the phone');
  const { stream, opening } = await next();
  t.match(opening, { service: 'wpi-service', door: 'wpi', address: '127.0.0.1', tls: 'relay' });
  t.equal(opening.port, socket.localPort);
  t.equal(await readText(stream), 'from the phone');
  await once(stream.resume(), 'end');
  stream.end('from the service');
  t.equal(await readText(socket), 'from the service');
  t.equal(await endOf(socket), 'end');
  t.match(door.stats(), { accepted: 1, cut: 0 });
});

t.test('what the relay cuts is cut towards the phone, never ended', async (t) => {
  const { phone, next, door } = await openDoor(t);
  const socket = phone();
  const ended = endOf(socket);
  const { stream } = await next();
  stream.write('half of an answer');
  await once(socket, 'data');
  stream.destroy();
  t.equal(await ended, 'ECONNRESET');
  t.equal(door.stats().cut, 1);
});

t.test('a phone that is not allowed, or finds no link or no room, is cut at once and counted', async (t) => {
  const shut = await openDoor(t, { allow: ['10.0.0.0/8'] });
  t.equal(await endOf(shut.phone()), 'ECONNRESET');
  t.match(shut.door.stats().refused, { not_allowed: 1 });

  const down = await openDoor(t, {}, { down: true });
  t.equal(await endOf(down.phone()), 'ECONNRESET');
  t.match(down.door.stats().refused, { link_down: 1 });

  const full = await openDoor(t, {}, { slots: 1 });
  const first = full.phone();
  const { stream } = await full.next();
  t.equal(await endOf(full.phone()), 'ECONNRESET');
  t.match(full.door.stats(), { open: 1, refused: { too_many: 1 } });
  stream.end();
  first.end();
  await once(first.resume(), 'close');
  const third = full.phone();
  third.write('x');
  t.equal(await readText((await full.next()).stream), 'x', 'a place that was given back is taken again');
  t.equal(full.slots.used(), 1);
});

t.test('behind a balancer the address of its header counts, however the header is cut', async (t) => {
  const { phone, next, door } = await openDoor(t, { proxyProtocol: true, allow: ['192.0.2.0/24'] });
  const header = proxyHeader('192.0.2.7', 4711);
  const socket = phone();
  socket.setNoDelay(true);
  for (let i = 0; i < header.length - 1; i += 9) {
    socket.write(header.subarray(i, Math.min(i + 9, header.length - 1)));
    await new Promise((resolve) => setImmediate(resolve));
  }
  socket.write(Buffer.concat([header.subarray(header.length - 1), Buffer.from('hello')]));
  const { stream, opening } = await next();
  t.match(opening, { address: '192.0.2.7', port: 4711 });
  t.equal(await readText(stream), 'hello');

  const other = phone();
  other.write(proxyHeader('198.51.100.1', 1));
  t.equal(await endOf(other), 'ECONNRESET');
  const bare = phone();
  bare.write('GET / HTTP/1.1\r\n\r\n');
  t.equal(await endOf(bare), 'ECONNRESET');
  t.match(door.stats().refused, { not_allowed: 1, proxy_header: 1 });
});

t.test('a balancer that never sends its header is not waited for', async (t) => {
  const { phone, door, slots } = await openDoor(t, { proxyProtocol: true }, { handshakeMs: 100 });
  t.equal(await endOf(phone()), 'ECONNRESET');
  t.match(door.stats().refused, { proxy_header: 1 });
  const gone = phone();
  gone.end(proxyHeader('192.0.2.7', 1).subarray(0, 20));
  await endOf(gone);
  await until('every place is free again', () => slots.used() === 0);
  t.match(door.stats().refused, { proxy_header: 2 });
});

t.test(
  'a door that finishes takes the next connection of a session, and ends with the last session',
  async (t) => {
    const { door, phone, next, sessions } = await openDoor(t);
    const never = systemClock.monotonic() + 600_000;
    await door.finish(never);
    sessions.running = 1;
    phone().end();
    (await next()).stream.destroy();
    let over = false;
    const finished = door.finish(never).then(() => (over = true));
    const again = phone();
    (await next()).stream.write('taken');
    const [said] = (await once(again, 'data')) as [Buffer];
    t.equal(said.toString(), 'taken');
    t.notOk(over, 'the session goes on');
    sessions.running = 0;
    await finished;
  },
);

t.test(
  'a door is not kept open by phones that go away, nor beyond its limit by those that stay',
  async (t) => {
    const { door, phone, next, sessions } = await openDoor(t);
    sessions.running = 1;
    await door.finish(systemClock.monotonic() + 600_000);
    phone().write('here');
    await next();
    const limit = systemClock.monotonic() + 300;
    await door.finish(limit);
    t.ok(systemClock.monotonic() >= limit);
  },
);

/** TLS of profile legacy ends in a process of its own; what phones and relays see of it is the same. */
for (const profile of ['intermediate', 'legacy'] as const) {
  t.test(
    `${profile}: an inspected door ends TLS and leads plain bytes, with the phone’s own address`,
    async (t) => {
      const { tls, authority } = await writePair(t, profile);
      const { tlsPhone, next } = await openDoor(t, { tls });
      const phone = tlsPhone({ ca: authority.cert, servername: 'door.example', rejectUnauthorized: true });
      phone.write('in the clear');
      const { stream, opening } = await next();
      t.match(opening, { tls: 'proxy', address: '127.0.0.1', port: phone.localPort });
      t.equal(await readText(stream), 'in the clear');
    },
  );

  t.test(`${profile}: TLS that is cut ends without a close_notify, TLS that ends with one`, async (t) => {
    const { tls } = await writePair(t, profile);
    const { door, next } = await openDoor(t, { tls });
    for (const cut of [true, false]) {
      const { phone, records } = await openRecordedPhone(t, door.address.port);
      phone.write('hello');
      const { stream } = await next();
      stream.write('half');
      await once(phone, 'data');
      if (cut) stream.destroy();
      else stream.end();
      await once(phone.resume(), 'close');
      t.equal(records().includes(ALERT), !cut, records().join(' '));
      t.equal(door.stats().cut, 1);
    }
  });

  t.test(
    `${profile}: an inspected door behind a balancer reads its header before the handshake`,
    async (t) => {
      const { tls } = await writePair(t, profile);
      const { phone, next } = await openDoor(t, { tls, proxyProtocol: true });
      const raw = phone();
      raw.write(proxyHeader('192.0.2.9', 5));
      const socket = connectTls({ socket: raw, rejectUnauthorized: false });
      socket.on('error', () => undefined);
      socket.write('hello');
      const { stream, opening } = await next();
      t.match(opening, { address: '192.0.2.9', port: 5, tls: 'proxy' });
      t.equal(await readText(stream), 'hello');
    },
  );

  t.test(`${profile}: with a client CA only phones that show a certificate of it are let in`, async (t) => {
    const { tls, authority, dir } = await writePair(t, profile);
    const { tlsPhone, next, door } = await openDoor(t, { tls: { ...tls, clientCa: join(dir, 'ca.pem') } });
    await endOf(tlsPhone());
    const other = await (await createAuthority('Another')).issue(['phone']);
    await endOf(tlsPhone(other));
    await until('no connection is open', () => door.stats().open === 0);
    const own = await authority.issue(['phone']);
    const phone = tlsPhone(own);
    phone.write('it is me');
    t.equal(await readText((await next()).stream), 'it is me', 'nobody else came so far');
    t.match(door.stats(), { refused: { tls_handshake: 2 }, open: 1 });
  });

  t.test(`${profile}: what is no TLS, or never becomes it, gets nowhere and holds no place`, async (t) => {
    const { tls } = await writePair(t, profile);
    const { phone, door, slots } = await openDoor(t, { tls }, { handshakeMs: 200 });
    const plain = phone();
    plain.write('GET / HTTP/1.1\r\n\r\n');
    await endOf(plain);
    const silent = phone();
    await endOf(silent);
    // Phones see the end of it a moment before the door does.
    await until('every place is free again', () => slots.used() === 0);
    t.match(door.stats(), { open: 0, refused: { tls_handshake: 2 } });
  });

  t.test(
    'who ends its connection during the handshake gives its place back at once',
    { timeout: 60_000 },
    async (t) => {
      const { tls } = await writePair(t, profile);
      const { phone, door, slots } = await openDoor(t, { tls }, { handshakeMs: 600_000 });
      const clientHello = Buffer.from('16030102000100', 'hex');
      for (const first of [Buffer.alloc(0), clientHello]) {
        const socket = phone();
        socket.end(first);
        await endOf(socket);
      }
      await until('every place is free again', () => slots.used() === 0);
      t.match(door.stats(), { open: 0, refused: { tls_handshake: 2 } });
    },
  );

  t.test(
    `${profile}: behind TLS a phone may end its own direction and is answered all the same`,
    async (t) => {
      const { tls } = await writePair(t, profile);
      const { tlsPhone, next } = await openDoor(t, { tls });
      const phone = tlsPhone();
      phone.end('all of it');
      const { stream } = await next();
      t.equal(await readText(stream), 'all of it');
      stream.end('and the answer');
      t.equal(await readText(phone), 'and the answer');
    },
  );

  t.test(
    `${profile}: a new certificate is shown after a reload; one that does not fit changes nothing`,
    async (t) => {
      const { tls, dir } = await writePair(t, profile, ['old.example']);
      const { tlsPhone, door } = await openDoor(t, { tls });
      const shown = async (): Promise<string> => {
        const phone = tlsPhone();
        await once(phone, 'secureConnect');
        return phone.getPeerCertificate().subject.CN as string;
      };
      const fresh = await (await createAuthority()).issue(['new.example']);
      writeFileSync(join(dir, 'c.pem'), fresh.cert);
      t.throws(() => door.reload());
      t.equal(await shown(), 'old.example');
      writeFileSync(join(dir, 'k.pem'), fresh.key);
      door.reload();
      t.equal(await shown(), 'new.example');
    },
  );
}

t.test('draining takes nobody new and waits for those that are there', async (t) => {
  const { phone, next, door } = await openDoor(t);
  const socket = phone();
  const { stream } = await next();
  let drained = false;
  const draining = door.drain().then(() => (drained = true));
  t.equal(await endOf(phone()), 'ECONNREFUSED');
  t.notOk(drained);
  stream.end('the rest');
  socket.end();
  t.equal(await readText(socket), 'the rest');
  t.equal(await endOf(socket), 'end');
  await draining;
});

t.test('closing cuts what is left, so that no phone takes it for an end', async (t) => {
  const { phone, next, door } = await openDoor(t);
  const socket = phone();
  const { stream } = await next();
  stream.write('half of a file');
  await once(socket, 'data');
  const ended = endOf(socket);
  await door.close();
  t.equal(await ended, 'ECONNRESET');

  const { tls } = await writePair(t, 'intermediate');
  const inspected = await openDoor(t, { tls });
  const { phone: secure, records } = await openRecordedPhone(t, inspected.door.address.port);
  await inspected.next();
  const gone = once(secure.resume(), 'close');
  await inspected.door.close();
  await gone;
  t.notOk(records().includes(ALERT));
  t.equal(inspected.slots.used(), 0);
});

t.test('an address has its share of the doors, more while there is room, and gets it back', async (t) => {
  const slots = createSessionSlots(100, 10);
  const many = (address: string, count: number): number =>
    Array.from({ length: count }, () => {
      if (!slots.take()) return false;
      if (slots.share(address)) return true;
      slots.give(null);
      return false;
    }).filter(Boolean).length;
  t.equal(many('192.0.2.1', 50), 20, 'twice its share, with nobody else there');
  t.equal(many('192.0.2.2', 50), 10, 'its share, whoever else is there');
  t.equal(many('::ffff:192.0.2.2', 1), 0, 'however the address is written');
  t.equal(many('2001:db8::1', 5) + many('2001:db8::ffff:0:1', 50), 10, 'one IPv6 network is one address');
  t.equal(many('192.0.2.3', 1), 1);
  slots.give('192.0.2.2');
  t.equal(many('192.0.2.2', 5), 1);
});

t.test('phones of an address that has its share are refused, others are not', async (t) => {
  const { door, next } = await openDoor(t, {}, { slots: 100, perAddress: 2 });
  const from = (localAddress: string): Socket => {
    const socket = connect({ host: '127.0.0.1', port: door.address.port, localAddress });
    socket.on('error', () => undefined);
    t.teardown(() => socket.destroy());
    return socket;
  };
  for (let i = 0; i < 4; i++) {
    from('127.0.0.5');
    await next();
  }
  const fifth = from('127.0.0.5');
  await over(fifth);
  t.match(door.stats().refused, { address_full: 1 });
  from('127.0.0.6');
  await next();
});

t.test(
  'an address whose share is taken by connections that never speak is served after their time',
  async (t) => {
    const { tls } = await writePair(t, 'intermediate');
    const { door, slots, next } = await openDoor(
      t,
      { tls },
      { slots: 100, perAddress: 2, handshakeMs: 3_000 },
    );
    const from = (): Socket => {
      const socket = connect({ host: '127.0.0.1', port: door.address.port, localAddress: '127.0.0.5' });
      socket.on('error', () => undefined);
      t.teardown(() => socket.destroy());
      return socket;
    };
    const speak = (socket: Socket): TLSSocket =>
      connectTls({ socket, rejectUnauthorized: false }).on('error', () => undefined);
    const silent = Array.from({ length: 4 }, () => over(from()));
    await until('four are accepted', () => door.stats().accepted >= 4);
    const refused = from();
    speak(refused);
    await over(refused);
    t.match(door.stats().refused, { address_full: 1 });
    await Promise.all(silent);
    await until('every place is free again', () => slots.used() === 0);
    for (let i = 0; i < 4; i++) {
      speak(from());
      t.equal((await next()).opening.address, '127.0.0.5');
    }
    t.match(door.stats().refused, { address_full: 1, tls_handshake: 4 });
  },
);

t.test(
  'a PROXY header is taken from the balancers that the config names, and from nobody else',
  async (t) => {
    const { door, phone } = await openDoor(t, { proxyProtocol: true, proxyProtocolFrom: ['192.0.2.0/24'] });
    await over(phone());
    t.match(door.stats().refused, { not_allowed: 1 });
    const trusted = await openDoor(t, { proxyProtocol: true, proxyProtocolFrom: ['127.0.0.0/8'] });
    const socket = trusted.phone();
    socket.write(Buffer.from('0d0a0d0a000d0a515549540a2111000cc0000209c00002010f9f1f90', 'hex'));
    t.match((await trusted.next()).opening, { address: '192.0.2.9', port: 3_999 });
  },
);

/** Resolves when the connection is over, in whatever way. */
function over(socket: Socket): Promise<void> {
  return new Promise((resolve) => void socket.resume().once('close', () => resolve()));
}

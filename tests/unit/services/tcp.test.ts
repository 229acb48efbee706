import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect as connectTcp, createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import type { TLSSocket } from 'node:tls';
import t from 'tap';
import type { Test } from 'tap';
import { systemClock } from '../../../shared/clock.ts';
import { silentLog } from '../../../shared/log.ts';
import type { TcpLimits } from '../../../relay-client/services/config.ts';
import type { ServiceEvent } from '../../../relay-client/services/metrics.ts';
import type { Service } from '../../../relay-client/services/service.ts';
import { createTcpService } from '../../../relay-client/services/tcp.ts';
import { openPhoneDoor } from '../../fixtures/phone-door.ts';
import type { PhoneDoor } from '../../fixtures/phone-door.ts';
import { answering, authority, connectPhone, eventually, ok, post, startRawUpstream } from './harness.ts';
import type { Phone } from './harness.ts';

interface TcpUnderTest {
  service: Service;
  door: PhoneDoor;
  counted: ServiceEvent[];
  phone(): Promise<Phone>;
}

async function startTcp(t: Test, port: number, limits: Partial<TcpLimits> = {}): Promise<TcpUnderTest> {
  const counted: ServiceEvent[] = [];
  const service = createTcpService(
    {
      name: 'wpi-secure',
      kind: 'tcp',
      upstream: `127.0.0.1:${port}`,
      limits: { probeMs: 3_600_000, ...limits },
    },
    { clock: systemClock, log: silentLog, metrics: { count: (_service, event) => void counted.push(event) } },
  );
  const door = await openPhoneDoor('relay', (stream, origin) => service.accept(stream, origin));
  t.teardown(async () => {
    await service.close();
    await door.close();
  });
  return {
    service,
    door,
    counted,
    phone: () =>
      connectPhone(t, connectTcp({ port: door.port, host: '127.0.0.1', allowHalfOpen: true }), 'connect'),
  };
}

/** An upstream on bare TCP; the first connection that brings a byte goes to the test. */
async function listen(t: Test, take: (socket: Socket) => void): Promise<number> {
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    take(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

t.test('bytes pass both ways, and each side may end first', async (t) => {
  const data = randomBytes(3_000_000).toString('latin1');
  const echo = await listen(t, (socket) => void socket.pipe(socket));
  const tcp = await startTcp(t, echo);
  const { socket, send, received, over } = await tcp.phone();
  send(data);
  // The phone ends its side; what upstream still has to say comes all the same.
  socket.end();
  t.equal(await over, 'ended');
  t.ok(received() === data, 'byte for byte');
  await eventually(() => tcp.service.connections() === 0 && tcp.door.streams() === 0);

  const talker = await listen(t, (socket) => {
    let heard = '';
    socket.on('data', (chunk) => (heard += chunk.toString()));
    socket.on('end', () => t.equal(heard, 'heard it'));
    socket.end('I speak first');
  });
  const second = await startTcp(t, talker);
  const phone = await second.phone();
  await once(phone.socket, 'end');
  t.equal(phone.received(), 'I speak first');
  phone.socket.end('heard it');
  await phone.over;
  await eventually(() => second.service.connections() === 0);
});

t.test('mutual TLS between phone and service goes through untouched', async (t) => {
  const ca = await authority();
  const subjects: (string | undefined)[] = [];
  const upstream = await startRawUpstream(
    t,
    (connection) => {
      subjects.push((connection.socket as TLSSocket).getPeerX509Certificate()?.subject);
      answering(ok('secure'))(connection);
    },
    { ...(await ca.issue(['dls.test'])), ca: ca.cert, requestCert: true, rejectUnauthorized: true },
  );
  const tcp = await startTcp(t, upstream.port);
  const credentials = await ca.issue(['phone-1'], { commonName: 'phone-1' });
  const socket = connectTls({
    port: tcp.door.port,
    host: '127.0.0.1',
    servername: 'dls.test',
    ca: ca.cert,
    ...credentials,
  });
  const phone = await connectPhone(t, socket, 'secureConnect');
  t.equal(socket.getPeerX509Certificate()?.subject, 'CN=dls.test');
  phone.send(post('<x/>'));
  t.equal((await phone.answer()).body, 'secure');
  t.strictSame(subjects, ['CN=phone-1']);
});

t.test('a reader that stops holds the writer back, either way', async (t) => {
  for (const way of ['down', 'up'] as const) {
    let upstreamSocket: Socket | null = null;
    const port = await listen(t, (socket) => {
      socket.once('readable', () => (upstreamSocket = socket));
    });
    const tcp = await startTcp(t, port);
    const { socket: phone, send } = await tcp.phone();
    phone.removeAllListeners('data');
    phone.pause();
    send('x');
    await eventually(() => upstreamSocket !== null);
    const writer: Socket | null = way === 'up' ? phone : upstreamSocket;
    if (writer === null) return t.fail('upstream has no connection');
    const piece = Buffer.alloc(65_536);
    let written = 0;
    let waiting = false;
    const write = (): void => {
      waiting = false;
      while (!writer.destroyed && written < 64 * 1_048_576) {
        written += piece.length;
        if (!writer.write(piece)) {
          waiting = true;
          break;
        }
      }
    };
    writer.on('drain', write);
    write();
    // That nothing happens can only be seen by waiting.
    for (let still = -1; still !== written;) {
      still = written;
      await new Promise((resolve) => setTimeout(resolve, 150));
    }
    t.ok(waiting && written < 32 * 1_048_576, `${way}: ${written} bytes and then no more`);
    writer.destroy();
  }
});

t.test('an upstream that refuses or never answers cuts the phone and is down at once', async (t) => {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const tcp = await startTcp(t, port);
  await new Promise<void>((resolve) => {
    if (tcp.service.health().up) resolve();
    tcp.service.onHealth(({ up }) => up && resolve());
  });
  server.close();
  await once(server, 'close');
  const { over } = await tcp.phone();
  t.equal(await over, 'cut');
  t.match(tcp.service.health(), { up: false, why: /ECONNREFUSED/ });
  t.strictSame(tcp.counted, ['connection', 'upstream_refused']);
  t.equal(tcp.service.connections(), 0);
});

t.test('either side going away takes the other along', async (t) => {
  for (const first of ['phone', 'upstream'] as const) {
    const sockets: Socket[] = [];
    const port = await listen(t, (socket) => {
      socket.on('data', () => {
        sockets.push(socket);
        socket.write('hello');
      });
    });
    const tcp = await startTcp(t, port);
    const phone = await tcp.phone();
    phone.send('hello');
    await once(phone.socket, 'data');
    const [upstream] = sockets;
    if (first === 'phone') {
      phone.socket.resetAndDestroy();
      await new Promise((resolve) => upstream?.once('close', resolve));
    } else {
      upstream?.resetAndDestroy();
      t.equal(await phone.over, 'cut');
    }
    await eventually(() => tcp.service.connections() === 0);
  }
});

t.test('a connection on which nothing moves is cut, one on which something does is not', async (t) => {
  const port = await listen(t, (socket) => void socket.pipe(socket));
  const tcp = await startTcp(t, port, { idleMs: 2_500 });
  const idle = await tcp.phone();
  const busy = await tcp.phone();
  busy.send('x');
  busy.socket.on('data', () => setTimeout(() => busy.send('x'), 20));
  t.equal(await idle.over, 'cut');
  await once(busy.socket, 'data');
  t.equal(tcp.service.connections(), 1);
});

t.test('connections over the limit are refused, and all of them when draining', async (t) => {
  const port = await listen(t, (socket) => void socket.pipe(socket));
  const tcp = await startTcp(t, port, { connections: 1 });
  const first = await tcp.phone();
  first.send('x');
  await once(first.socket, 'data');
  t.equal(await (await tcp.phone()).over, 'cut');
  t.equal(tcp.service.connections(), 1);
  const drained = tcp.service.drain(50);
  t.equal(await (await tcp.phone()).over, 'cut');
  t.equal(await first.over, 'cut', 'what is left after the time is cut');
  await drained;
  t.strictSame(tcp.counted, ['connection', 'connection_refused', 'connection_refused']);
});

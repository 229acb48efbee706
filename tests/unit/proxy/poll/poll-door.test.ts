import { once } from 'node:events';
import { connect, createServer, type AddressInfo } from 'node:net';
import { networkInterfaces } from 'node:os';
import { Worker } from 'node:worker_threads';
import t from 'tap';
import {
  ALWAYS,
  IDLE,
  PENDING,
  SITE,
  exchange,
  poll,
  pollRequest,
  readAll,
  startPollDoor,
  statusOf,
} from '../../../fixtures/start-poll-door.ts';

const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n';
const ACCEPTED = 'HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n';

const loopback6 = Object.values(networkInterfaces()).some((list) =>
  list?.some(({ address }) => address === '::1'),
);
const noIPv6 = loopback6 ? false : 'this machine has no IPv6';

t.test('polls are answered from the marks, and a change is seen by the next poll', async (t) => {
  const { marks, ports, door } = await startPollDoor(t);
  const port = ports[0]!;
  t.equal(await poll(port, PENDING), 202);
  t.equal(await poll(port, IDLE), 200);
  t.equal(await poll(port, 'nobody'), 200);
  for (let i = 0; i < 5; i++) {
    marks.set(SITE, IDLE, ALWAYS);
    t.equal(await poll(port, IDLE), 202);
    marks.set(SITE, IDLE, { ...ALWAYS, pending: false });
    t.equal(await poll(port, IDLE), 200);
  }
  t.equal(await poll(port, '%zz'), 400);
  t.match(door.stats(), { answers: { 200: 7, 202: 6, 400: 1 }, connections: { accepted: 14 } });
});

t.test('a kept connection is answered poll by poll, pipelined ones in order', async (t) => {
  const { ports } = await startPollDoor(t);
  const socket = connect(ports[0]!, '127.0.0.1');
  socket.setEncoding('latin1');
  for (let i = 0; i < 3; i++) {
    socket.write(pollRequest(PENDING));
    t.strictSame(await once(socket, 'data'), [ACCEPTED]);
  }
  const all = readAll(socket);
  socket.write(pollRequest(IDLE) + pollRequest(PENDING) + pollRequest(IDLE, 'Connection: close\r\n'));
  t.equal(await all, `${OK}${ACCEPTED}${OK.replace(/\r\n$/, 'Connection: close\r\n\r\n')}`);
});

t.test('a phone that closes its side after the poll still gets the answer', async (t) => {
  const { ports } = await startPollDoor(t);
  const socket = connect(ports[0]!, '127.0.0.1');
  const all = readAll(socket);
  socket.end(pollRequest(PENDING));
  t.equal(await all, ACCEPTED);
});

t.test('a refused request with a body still gets its answer', async (t) => {
  const { ports } = await startPollDoor(t);
  const head = `POST /dcmp/contact-me?device-id=1 HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n`;
  t.equal(statusOf(await exchange(ports[0]!, head + 'x'.repeat(300_000))), 405);
});

t.test('several workers share the port, the marks and the counting', async (t) => {
  const { marks, ports, door } = await startPollDoor(t, { workers: 3, listeners: [{}, {}] });
  t.equal(door.stats().workers.running, 3);
  const statuses = await Promise.all(Array.from({ length: 60 }, (_, i) => poll(ports[i % 2]!, PENDING)));
  t.ok(statuses.every((status) => status === 202));
  t.equal(door.stats().answers[202], 60);
  marks.set(SITE, PENDING, { ...ALWAYS, pending: false });
  const after = await Promise.all(Array.from({ length: 60 }, () => poll(ports[0]!, PENDING)));
  t.ok(
    after.every((status) => status === 200),
    'all workers see a change at once',
  );
});

t.test('marks that outgrow their table are seen by every worker', async (t) => {
  const { marks, ports } = await startPollDoor(t, { workers: 2 });
  for (let i = 0; i < 3_000; i++) marks.set(SITE, `n${i}` as never, ALWAYS);
  t.ok(marks.stats().rebuilds > 0);
  const statuses = await Promise.all(Array.from({ length: 40 }, (_, i) => poll(ports[0]!, `n${i * 70}`)));
  t.ok(statuses.every((status) => status === 202));
});

t.test('what has polled is told by a scan', async (t) => {
  const { marks, ports } = await startPollDoor(t);
  await poll(ports[0]!, PENDING);
  await poll(ports[0]!, IDLE);
  const seen = new Map<string, number>();
  const deadline = performance.now() + 5_000;
  while (seen.size < 2 && performance.now() < deadline) {
    for (const { device, status } of [...marks.scan()].flat()) seen.set(device, status);
  }
  t.strictSame(Object.fromEntries(seen), { [PENDING]: 202, [IDLE]: 200 });
});

t.test('unknown devices are reported, each once a second with the number of its polls', async (t) => {
  const reported = Promise.withResolvers<void>();
  const { unknown, ports, door } = await startPollDoor(t, {
    limits: { unknownReports: 2 },
    onUnknown: () => reported.resolve(),
  });
  const requests = ['x', 'y', 'z', 'x'].map((device) => pollRequest(device)).join('');
  await exchange(ports[0]!, requests + pollRequest(IDLE, 'Connection: close\r\n'));
  await reported.promise;
  t.match(unknown, [
    { site: SITE, device: 'x', address: '127.0.0.1' },
    { site: SITE, device: 'y' },
  ]);
  t.equal(unknown.length, 2, 'more than the limit are only counted');
  t.match(door.stats().unknown, { polls: 4, reported: 2 });
});

t.test('a door on [::] answers both families and tells their networks apart', { skip: noIPv6 }, async (t) => {
  const listen = { host: '::', port: 0 };
  const { ports } = await startPollDoor(t, {
    listeners: [
      { listen },
      { listen, allow: ['127.0.0.0/8'] },
      { listen, allow: ['::1'] },
      { listen: { host: '::1', port: 0 } },
    ],
  });
  const answers = async (host: string): Promise<(number | null)[]> =>
    Promise.all(ports.slice(0, 3).map((port) => poll(port, PENDING, host)));
  t.strictSame(await answers('127.0.0.1'), [202, 202, null]);
  t.strictSame(await answers('::1'), [202, null, 202]);
  t.equal(await poll(ports[3]!, PENDING, '::1'), 202);
});

t.test('who is not allowed is cut without a word', async (t) => {
  const { ports, door } = await startPollDoor(t, { listeners: [{ allow: ['192.0.2.0/24'] }, { allow: [] }] });
  t.equal(await exchange(ports[0]!, pollRequest(PENDING)), '');
  t.equal(await exchange(ports[1]!, pollRequest(PENDING)), '');
  t.equal(door.stats().cut.not_allowed, 2);
  t.equal(door.stats().connections.accepted, 0);
});

t.test('a header that takes too long is cut, and sending more of it does not help', async (t) => {
  const { ports, door } = await startPollDoor(t, { limits: { headerMs: 300 } });
  const silent = connect(ports[0]!, '127.0.0.1');
  const slow = connect(ports[0]!, '127.0.0.1');
  const second = connect(ports[0]!, '127.0.0.1');
  const ends = [silent, slow, second].map(readAll);
  slow.write('GET /');
  const drip = setInterval(() => slow.write('x'), 50);
  t.teardown(() => clearInterval(drip));
  second.write(pollRequest(IDLE) + pollRequest(IDLE).slice(0, 20));
  t.strictSame(await Promise.all(ends), ['', '', OK]);
  t.equal(door.stats().cut.header_timeout, 3);
});

t.test('a connection may idle for its time and no longer', async (t) => {
  const { ports, door } = await startPollDoor(t, { limits: { idleMs: 200 } });
  const socket = connect(ports[0]!, '127.0.0.1');
  const all = readAll(socket);
  socket.write(pollRequest(IDLE));
  t.equal(await all, OK);
  t.equal(door.stats().cut.idle_timeout, 1);
});

t.test(
  'at the limit of connections the longest idle gives way; without an idle one a newcomer gets 503',
  async (t) => {
    const { ports, door } = await startPollDoor(t, { limits: { connections: 2 } });
    const idle = connect(ports[0]!, '127.0.0.1');
    idle.write(pollRequest(IDLE));
    await once(idle, 'data');
    const idleEnd = readAll(idle);
    const busy = connect(ports[0]!, '127.0.0.1');
    busy.write(pollRequest(IDLE) + 'GET /');
    await once(busy, 'data');
    const newcomer = connect(ports[0]!, '127.0.0.1');
    newcomer.write(pollRequest(PENDING) + 'GET /');
    t.match(String((await once(newcomer, 'data'))[0]), /^HTTP\/1.1 202/);
    await idleEnd;
    t.equal(door.stats().cut.evicted, 1);
    t.equal(await poll(ports[0]!, PENDING), 503);
    t.equal(door.stats().answers[503], 1);
    busy.destroy();
    newcomer.destroy();
  },
);

t.test('a phone that leaves its answers unread is cut', async (t) => {
  const { ports, door } = await startPollDoor(t, {
    limits: { backlogBytes: 10_000, requestsPerConnection: 10_000_000 },
  });
  const socket = connect(ports[0]!, '127.0.0.1');
  const closed = readAll(socket);
  socket.pause();
  socket.on('error', () => socket.destroy());
  const many = Buffer.from(pollRequest(IDLE).repeat(2_000));
  const deadline = performance.now() + 20_000;
  while (!socket.destroyed && performance.now() < deadline) {
    if (!socket.write(many))
      await Promise.race([new Promise((resolve) => socket.once('drain', resolve)), closed]);
  }
  t.equal(door.stats().cut.backlog, 1);
});

t.test('an occupied port is named, whoever has it', async (t) => {
  const other = createServer();
  t.teardown(() => other.close());
  other.listen({ port: 0, host: '127.0.0.1', reusePort: true });
  await once(other, 'listening');
  const listen = { host: '127.0.0.1', port: (other.address() as AddressInfo).port };
  for (const workers of [1, 2]) {
    await t.rejects(startPollDoor(t, { workers, listeners: [{}, { listen }] }), {
      code: 'ADDRESS_IN_USE',
      message: new RegExp(`127.0.0.1:${listen.port}: another program`),
    });
  }
  await t.rejects(startPollDoor(t, { listeners: [{ listen: { host: '192.0.2.1', port: 0 } }] }), {
    code: 'ADDRESS_INVALID',
    message: /192.0.2.1:0.*no such address/,
  });
});

t.test('a site without marks, and a prefix of two sites, are mistakes of the config', async (t) => {
  await t.rejects(startPollDoor(t, { sites: [{ name: 'else', pollPrefixes: null }] }), {
    code: 'CONFIG_INVALID',
  });
});

t.test('a worker that dies is replaced, and the door goes on', async (t) => {
  const started: Worker[] = [];
  const again = Promise.withResolvers<void>();
  const { ports, door, marks } = await startPollDoor(t, {
    workers: 2,
    startWorker(url, options) {
      const worker = new Worker(url, options);
      started.push(worker);
      if (started.length === 3) worker.once('message', () => again.resolve());
      return worker;
    },
  });
  const kept = connect(ports[0]!, '127.0.0.1');
  kept.on('error', () => undefined);
  kept.write(pollRequest(PENDING));
  await once(kept, 'data');
  await started[0]!.terminate();
  await started[1]!.terminate();
  t.equal(door.stats().connections.open, 0, 'its connections are gone');
  await again.promise;
  marks.set(SITE, IDLE, ALWAYS);
  t.equal(await poll(ports[0]!, IDLE), 202, 'on the same port, with the present marks');
  t.equal(door.stats().workers.replaced, 2);
  t.equal(door.stats().answers[202], 2, 'what was counted stays');
});

t.test('closing ends what idles, answers what is on its way, and frees the port', async (t) => {
  const { ports, door } = await startPollDoor(t, { workers: 2 });
  const idle = connect(ports[0]!, '127.0.0.1');
  idle.write(pollRequest(IDLE));
  await once(idle, 'data');
  const idleEnd = readAll(idle);
  const busy = connect(ports[0]!, '127.0.0.1');
  busy.write(pollRequest(PENDING) + pollRequest(PENDING).slice(0, 30));
  await once(busy, 'data');
  const busyEnd = readAll(busy);
  const closed = door.close();
  t.equal(await idleEnd, '');
  busy.write(pollRequest(PENDING).slice(30));
  t.equal(await busyEnd, ACCEPTED.replace(/\r\n$/, 'Connection: close\r\n\r\n'));
  await closed;
  const next = createServer().listen(ports[0], '127.0.0.1');
  t.teardown(() => next.close());
  await once(next, 'listening');
  t.equal(door.stats().workers.running, 0);
});

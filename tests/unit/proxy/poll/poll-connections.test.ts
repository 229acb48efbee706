import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import t from 'tap';
import {
  IDLE,
  PENDING,
  exchange,
  poll,
  pollRequest,
  readAll,
  startPollDoor,
  statusOf,
} from '../../../fixtures/start-poll-door.ts';

const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n';
const ACCEPTED = 'HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n';

// Everything that a connection does has to be the same on both that can carry it.
for (const rawTcp of [true, false]) {
  t.test(rawTcp ? 'on TCP handles' : 'on streams', async (t) => {
    t.test('a kept connection is answered poll by poll, pipelined ones in order', async (t) => {
      const { ports } = await startPollDoor(t, { rawTcp });
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
      const { ports } = await startPollDoor(t, { rawTcp });
      const socket = connect(ports[0]!, '127.0.0.1');
      const all = readAll(socket);
      socket.end(pollRequest(PENDING));
      t.equal(await all, ACCEPTED);
    });

    t.test('a refused request with a body still gets its answer', async (t) => {
      const { ports } = await startPollDoor(t, { rawTcp });
      const head = `POST /dcmp/contact-me?device-id=1 HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n`;
      t.equal(statusOf(await exchange(ports[0]!, head + 'x'.repeat(300_000))), 405);
    });

    t.test('who is not allowed is cut without a word', async (t) => {
      const { ports, door } = await startPollDoor(t, {
        rawTcp,
        listeners: [{ allow: ['192.0.2.0/24'] }, { allow: [] }],
      });
      t.equal(await exchange(ports[0]!, pollRequest(PENDING)), '');
      t.equal(await exchange(ports[1]!, pollRequest(PENDING)), '');
      t.equal(door.stats().cut.not_allowed, 2);
      t.equal(door.stats().connections.accepted, 0);
    });

    t.test('a header that takes too long is cut, and sending more of it does not help', async (t) => {
      const { ports, door } = await startPollDoor(t, { rawTcp, limits: { headerMs: 1_000 } });
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
      const { ports, door } = await startPollDoor(t, { rawTcp, limits: { idleMs: 1_000 } });
      const socket = connect(ports[0]!, '127.0.0.1');
      const all = readAll(socket);
      socket.write(pollRequest(IDLE));
      t.equal(await all, OK);
      t.equal(door.stats().cut.idle_timeout, 1);
    });

    t.test(
      'at the limit of connections the longest idle gives way; without an idle one a newcomer gets 503',
      async (t) => {
        const { ports, door } = await startPollDoor(t, { rawTcp, limits: { connections: 2 } });
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
        rawTcp,
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

    // One worker: two would hear of the end one after the other.
    t.test('closing ends what idles, answers what is on its way, and frees the port', async (t) => {
      const { ports, door } = await startPollDoor(t, { rawTcp, workers: 1 });
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
  });
}

import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { Worker } from 'node:worker_threads';
import t from 'tap';
import type { Test } from 'tap';
import { ownPort } from '../../fixtures/ports.ts';
import { answering, eventually, ok, post, recordingObserver, startRawUpstream, startWpi } from './harness.ts';

async function failing(
  t: Test,
  upstream: string,
  limits = {},
): Promise<{ status: string; counted: string[]; calls: string[]; over: string }> {
  const { phone, observer, counted } = await startWpi(t, { upstream, limits });
  const { send, answer, over } = await phone();
  send(post('<x/>'));
  const { head, body } = await answer();
  t.match(head, /\r\nContent-Length: 0\r\n/);
  t.match(head, /\r\nConnection: close/);
  t.equal(body, '');
  const how = await over;
  await observer.until('closed');
  return { status: head.slice(9, 12), counted, calls: observer.calls(), over: how };
}

t.test('upstream that refuses is a 502', async (t) => {
  t.strictSame(await failing(t, `http://127.0.0.1:${await ownPort()}`), {
    status: '502',
    counted: ['connection', 'request', 'upstream_refused'],
    calls: ['connection', 'message', 'cut', 'closed'],
    over: 'ended',
  });
});

t.test('upstream that cannot be resolved is a 502', async (t) => {
  t.equal((await failing(t, 'http://no-such-host.invalid:80')).status, '502');
});

t.test('upstream that takes too long to connect is a 504', async (t) => {
  // TLS that never comes: the connection stands, the handshake does not.
  const sockets = new Set<Socket>();
  const server = createServer((socket) => void sockets.add(socket)).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const result = await failing(t, `https://127.0.0.1:${(server.address() as AddressInfo).port}`, {
    connectMs: 100,
  });
  t.match(result, { status: '504', counted: ['connection', 'request', 'upstream_timeout'] });
});

t.test('upstream that does not answer in time is a 504, and is asked no more', async (t) => {
  const upstream = await startRawUpstream(t);
  t.match(await failing(t, upstream.url, { answerMs: 100 }), { status: '504' });
  await upstream.connections[0]?.closed;
  t.equal(upstream.connections.length, 1);
});

t.test('upstream that answers with half a head in time is a 504 all the same', async (t) => {
  const upstream = await startRawUpstream(
    t,
    ({ socket }) => void socket.write('HTTP/1.1 200 OK\r\nContent-'),
  );
  t.match(await failing(t, upstream.url, { answerMs: 100 }), { status: '504' });
});

t.test('upstream that speaks no HTTP is a 502', async (t) => {
  const upstream = await startRawUpstream(t, ({ socket }) => void socket.write('SSH-2.0-OpenSSH_9.6\r\n'));
  t.match(await failing(t, upstream.url), {
    status: '502',
    counted: ['connection', 'request', 'upstream_cut'],
  });
});

t.test('upstream that answers two lengths is a 502', async (t) => {
  const upstream = await startRawUpstream(
    t,
    ({ socket }) =>
      void socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 5\r\n\r\nhello'),
  );
  t.match(await failing(t, upstream.url), { status: '502' });
});

t.test('upstream whose head is too big is a 502', async (t) => {
  const upstream = await startRawUpstream(t, answering(ok('x', `X: ${'x'.repeat(20_000)}\r\n`)));
  t.match(await failing(t, upstream.url), { status: '502' });
});

t.test('upstream that upgrades unasked is a 502', async (t) => {
  const upstream = await startRawUpstream(
    t,
    answering('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n'),
  );
  t.match(await failing(t, upstream.url), { status: '502' });
});

for (const [name, part, reset] of [
  ['with a length, by an end', 'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello', false],
  ['with a length, by a reset', 'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello', true],
  ['in chunks, by an end', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n', false],
  ['in chunks, by a reset', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n', true],
  ['of no known length, by a reset', 'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello', true],
] as const) {
  t.test(`an answer that is cut off before the phone got any of it is a 502: ${name}`, async (t) => {
    const upstream = await startRawUpstream(t, ({ socket }) => {
      socket.write(part, () => {
        // Sent apart from the part, so that it's seen to come after.
        if (reset) setTimeout(() => socket.resetAndDestroy(), 50);
        else socket.end();
      });
    });
    const result = await failing(t, upstream.url);
    t.match(result, { status: '502', calls: ['connection', 'message', 'cut', 'closed'] });
    t.equal(upstream.connections.length, 1, 'and not asked again');
  });
}

for (const reset of [false, true]) {
  t.test(
    `an answer that is cut off when the phone has some of it cuts the phone: ${reset ? 'reset' : 'end'}`,
    async (t) => {
      const upstream = await startRawUpstream(t, ({ socket }) => {
        socket.write(`HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n${'x'.repeat(50_000)}`);
      });
      const { phone, observer } = await startWpi(t, {
        upstream: upstream.url,
        limits: { answerBytes: 10_000 },
      });
      const { socket, send, received, over } = await phone();
      send(post('<x/>'));
      while (received().length < 50_000) await once(socket, 'data');
      if (reset) upstream.connections[0]?.socket.resetAndDestroy();
      else upstream.connections[0]?.socket.end();
      t.equal(await over, 'cut');
      t.notMatch(received(), /\r\n\r\n.*HTTP/s, 'nothing else was sent');
      await observer.until('closed');
      t.strictSame(observer.calls(), ['connection', 'message', 'answeredUnread', 'cut', 'closed']);
      t.match(observer.seen[3], { by: 'upstream' });
      t.match(observer.seen[4], { how: 'cut' });
    },
  );
}

t.test('a download that stands still is cut', async (t) => {
  const upstream = await startRawUpstream(t, answering('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello'));
  const { phone } = await startWpi(t, { upstream: upstream.url, limits: { answerIdleMs: 100 } });
  const { send, over, received } = await phone();
  send('GET /f HTTP/1.1\r\nHost: a\r\n\r\n');
  t.equal(await over, 'cut');
  t.match(received(), /hello$/);
});

t.test('a phone that takes no byte of its download is cut, and so is upstream', async (t) => {
  const upstream = await startRawUpstream(t, ({ socket }) => {
    socket.write('HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n');
    const more = (): void => {
      while (!socket.destroyed && socket.write('x'.repeat(65_536)));
    };
    socket.on('drain', more);
    more();
  });
  const { phone, service } = await startWpi(t, { upstream: upstream.url, limits: { phoneIdleMs: 300 } });
  const { socket, send, over } = await phone();
  socket.removeAllListeners('data');
  socket.pause();
  send('GET /f HTTP/1.1\r\nHost: a\r\n\r\n');
  await (
    await upstream.connection(0)
  ).closed;
  socket.resume();
  t.equal(await over, 'cut');
  t.equal(service.connections(), 0);
});

t.test('a request is never sent twice: upstream dies with it', async (t) => {
  for (const death of ['end', 'reset'] as const) {
    let requests = 0;
    const upstream = await startRawUpstream(t, ({ socket }) => {
      requests += 1;
      if (death === 'end') socket.end();
      else socket.resetAndDestroy();
    });
    for (const request of [post('<x/>'), 'GET /f HTTP/1.1\r\nHost: a\r\n\r\n']) {
      requests = 0;
      const { phone } = await startWpi(t, { upstream: upstream.url });
      const { send, answer } = await phone();
      send(request);
      t.match((await answer()).head, /^HTTP\/1\.1 502 /);
      t.equal(requests, 1, `${death}, ${request.slice(0, 4)}`);
    }
  }
});

t.test('a request is never sent twice: upstream ends an old connection just then', async (t) => {
  for (const death of ['end', 'reset'] as const) {
    for (const request of [post('<second/>'), 'GET /second HTTP/1.1\r\nHost: a\r\n\r\n']) {
      const upstream = await startRawUpstream(t, async ({ socket, until, received }) => {
        if (received().includes('second')) return;
        socket.write(ok());
        await until('second');
        if (death === 'end') socket.end();
        else socket.resetAndDestroy();
      });
      const { phone } = await startWpi(t, { upstream: upstream.url });
      const { send, answer } = await phone();
      send(post('<first/>'));
      await answer();
      send(request);
      t.match((await answer()).head, /^HTTP\/1\.1 502 /);
      t.equal(upstream.connections.length, 1, `${death}, ${request.slice(0, 4)}`);
    }
  }
});

t.test('an old upstream connection that ended unused is replaced unnoticed', async (t) => {
  for (const death of ['end', 'reset'] as const) {
    let first = true;
    const upstream = await startRawUpstream(t, ({ socket }) => {
      socket.write(ok());
      if (!first) return;
      first = false;
      socket.once('data', () => t.fail('nothing more comes by the first connection'));
    });
    const { phone } = await startWpi(t, { upstream: upstream.url });
    const { send, answer } = await phone();
    send(post('<first/>'));
    await answer();
    const [connection] = upstream.connections;
    if (death === 'end') connection?.socket.end();
    else connection?.socket.resetAndDestroy();
    await connection?.closed;
    send(post('<second/>'));
    t.equal((await answer()).body, 'ok', death);
    t.equal(upstream.connections.length, 2);
    t.match(upstream.connections[1]?.received(), /<second\/>$/);
  }
});

t.test('an old upstream connection that ends while the relay is at other work is not used', async (t) => {
  // In a thread of its own, which ends the connection while this one is blocked.
  const ended = new Int32Array(new SharedArrayBuffer(4));
  const upstream = new Worker(
    `const { createServer } = require('node:net');
    const { parentPort, workerData: ended } = require('node:worker_threads');
    let first = null;
    const server = createServer((socket) => {
      socket.on('error', () => undefined);
      socket.on('data', () => {
        first ??= socket;
        socket.write(${JSON.stringify(ok())});
      });
    });
    server.listen(0, '127.0.0.1', () => parentPort.postMessage(server.address().port));
    parentPort.on('message', () => {
      first.once('close', () => Atomics.notify(ended, 0, Atomics.store(ended, 0, 1)));
      first.destroy();
    });`,
    { eval: true, workerData: ended },
  );
  t.teardown(() => upstream.terminate());
  const [port] = (await once(upstream, 'message')) as [number];
  const observer = recordingObserver({
    request(body) {
      if (body.toString() !== '<second/>') return {};
      upstream.postMessage('end');
      t.not(Atomics.wait(ended, 0, 0, 20_000), 'timed-out');
      return {};
    },
  });
  const { service } = await startWpi(t, { upstream: `http://127.0.0.1:${port}`, observer });
  // Straight from a socket, as bytes of a link come: what is sent at once leaves before the loop looks for ends again.
  const origin = { proxy: 'dmz', door: 'door', address: '127.0.0.1', port: 1, tls: 'proxy' as const };
  const door = createServer((socket) => service.accept(socket, origin)).listen(0, '127.0.0.1');
  await once(door, 'listening');
  t.teardown(() => door.close());
  const phone = connect((door.address() as AddressInfo).port, '127.0.0.1');
  t.teardown(() => phone.destroy());
  for (const request of ['<first/>', '<second/>']) {
    phone.write(post(request));
    const [answered] = (await once(phone, 'data')) as [Buffer];
    t.match(answered.toString(), /^HTTP\/1\.1 200 /, request);
  }
});

t.test('an idle upstream connection is given up in good time', async (t) => {
  const upstream = await startRawUpstream(t, answering(ok()));
  const { phone } = await startWpi(t, { upstream: upstream.url, limits: { upstreamIdleMs: 50 } });
  const { send, answer } = await phone();
  send(post('<first/>'));
  await answer();
  await upstream.connections[0]?.closed;
  send(post('<second/>'));
  t.equal((await answer()).body, 'ok');
  t.equal(upstream.connections.length, 2);
});

for (const leave of ['end', 'reset'] as const) {
  t.test(`a phone that goes away ends the request upstream: ${leave}`, async (t) => {
    const upstream = await startRawUpstream(t);
    const { phone, observer, service, door } = await startWpi(t, {
      upstream: upstream.url,
      limits: { halfCloseMs: 50 },
    });
    const { socket, send } = await phone();
    send(post('<x/>'));
    const connection = await upstream.connection(0);
    if (leave === 'end') socket.end();
    else socket.resetAndDestroy();
    await connection.closed;
    await observer.until('closed');
    t.strictSame(observer.calls(), ['connection', 'message', 'cut', 'closed']);
    t.match(observer.seen[2], { by: 'phone' });
    t.match(observer.seen[3], { how: 'cut' });
    t.equal(service.connections(), 0);
    t.equal(door.streams(), 0);
  });
}

t.test(
  'a phone that ends its side early still gets its answer, but it does not count as delivered',
  async (t) => {
    const upstream = await startRawUpstream(t);
    const { phone, observer } = await startWpi(t, { upstream: upstream.url });
    const { socket, send, answer, over } = await phone();
    send(post('<x/>'));
    socket.end();
    const connection = await upstream.connection(0);
    connection.socket.write(ok('late'));
    t.equal((await answer()).body, 'late');
    t.equal(await over, 'ended');
    await observer.until('closed');
    t.strictSame(observer.calls(), ['connection', 'message', 'answered', 'cut', 'closed']);
  },
);

t.test('a phone that goes away in the middle of its message asks nothing', async (t) => {
  const upstream = await startRawUpstream(t);
  const { phone, observer, service } = await startWpi(t, { upstream: upstream.url });
  for (const leave of ['end', 'reset'] as const) {
    const { socket, send } = await phone();
    send('POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello');
    if (leave === 'end') socket.end();
    else setTimeout(() => socket.resetAndDestroy(), 20);
    await observer.until('closed', leave === 'end' ? 1 : 2);
  }
  t.strictSame(observer.calls(), ['connection', 'closed', 'connection', 'closed']);
  t.equal(upstream.connections.length, 0);
  t.equal(service.connections(), 0);
});

t.test('an answer that comes before the whole upload is passed, and ends the connection', async (t) => {
  const upstream = await startRawUpstream(t, ({ socket }) => void socket.write(ok('enough')));
  const { phone, door } = await startWpi(t, { upstream: upstream.url, limits: { lingerMs: 5_000 } });
  const { send, answer, over } = await phone();
  send(`PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n${'x'.repeat(200_000)}`);
  const { head, body } = await answer();
  t.equal(body, 'enough');
  t.match(head, /\r\nConnection: close/);
  await over;
  await upstream.connections[0]?.closed;
  t.equal(upstream.connections.length, 1);
  await eventually(() => door.streams() === 0);
});

t.test('a message that stops coming is a 408', async (t) => {
  const upstream = await startRawUpstream(t);
  const { phone } = await startWpi(t, {
    upstream: upstream.url,
    limits: { bodyIdleMs: 50, lingerMs: 5_000 },
  });
  const { send, answer } = await phone();
  send('POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello');
  t.match((await answer()).head, /^HTTP\/1\.1 408 /);
  t.equal(upstream.connections.length, 0);
});

t.test('a connection without a request is ended in time, and so is one between requests', async (t) => {
  const upstream = await startRawUpstream(t, answering(ok()));
  const { phone, observer } = await startWpi(t, {
    upstream: upstream.url,
    limits: { headersMs: 500, keepAliveMs: 500 },
  });
  const silent = await phone();
  t.equal(await silent.over, 'ended');
  const slow = await phone();
  slow.send('POST /x HT');
  t.equal(await slow.over, 'ended');
  const idle = await phone();
  idle.send(post('x'));
  await idle.answer();
  t.equal(await idle.over, 'ended');
  await observer.until('closed', 3);
  t.strictSame(
    observer.seen.flatMap((seen) => (seen.call === 'closed' ? [seen.how] : [])),
    ['ended', 'ended', 'ended'],
  );
});

t.test('a phone that does not close after us counts as gone at once and is cut in the end', async (t) => {
  const upstream = await startRawUpstream(t, answering(ok()));
  const { phone, service, observer } = await startWpi(t, {
    upstream: upstream.url,
    limits: { lingerMs: 2_000 },
  });
  const { socket, send, answer } = await phone();
  socket.allowHalfOpen = true;
  send(post('x', 'Connection: close\r\n'));
  await answer();
  await observer.until('closed');
  t.equal(service.connections(), 1, 'it may be back on another connection already');
  await eventually(() => service.connections() === 0);
  t.strictSame(observer.calls().filter((call) => call === 'closed').length, 1);
});

t.test('a thousand exchanges that were broken off leave nothing behind', async (t) => {
  // Each exchange waits for its own request: a phone that left on sight of another's might never have been heard.
  const arrivals = new Map<string, () => void>();
  const upstream = await startRawUpstream(t, async ({ until, received }) => {
    await until('\r\n\r\n');
    const [, id = ''] = /^x-exchange: (\S+)\r$/im.exec(received()) ?? [];
    arrivals.get(id)?.();
  });
  const { phone, service, observer, door } = await startWpi(t, {
    upstream: upstream.url,
    limits: { halfCloseMs: 1 },
  });
  let made = 0;
  const round = async (): Promise<void> => {
    for (let i = 0; i < 50; i++) {
      const id = String((made += 1));
      const { socket, send } = await phone();
      const arrived = new Promise<void>((resolve) => arrivals.set(id, resolve));
      send(post(`<x n="${i}"/>`.repeat(50), `X-Exchange: ${id}\r\n`));
      await arrived;
      socket.resetAndDestroy();
    }
  };
  // Ten at a time, so that they overlap as they do in life.
  for (let i = 0; i < 2; i++) await Promise.all(Array.from({ length: 10 }, round));
  await observer.until('closed', 1000);
  await Promise.all(upstream.connections.map(({ closed }) => closed));
  t.equal(upstream.connections.length, 1000);
  t.equal(service.connections(), 0);
  t.equal(door.streams(), 0);
  t.equal(observer.calls().filter((call) => call === 'cut').length, 1000);
});

import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import t from 'tap';
import { answering, ok, post, startRawUpstream, startWpi } from './harness.ts';

const MIB = 1_048_576;
const request = (body: string, headers: string): string =>
  `POST /x HTTP/1.1\r\nHost: a\r\n${headers}\r\n${body}`;
const chunked = (body: string, size = 5000): string => {
  let text = '';
  for (let at = 0; at < body.length; at += size) {
    const piece = body.slice(at, at + size);
    text += `${piece.length.toString(16)}\r\n${piece}\r\n`;
  }
  return `${text}0\r\n\r\n`;
};

t.test('a message of exactly the reading limit is read, one byte more passes unread', async (t) => {
  const upstream = await startRawUpstream(t, answering(ok()));
  const { phone, observer } = await startWpi(t, { upstream: upstream.url });
  const { send, answer } = await phone();
  send(post('x'.repeat(MIB)));
  await answer();
  const [, message] = observer.seen;
  t.equal(message?.call === 'message' && message.body.length, MIB);
  await observer.until('delivered');
  const big = randomBytes(MIB + 1).toString('latin1');
  send(post(big));
  await answer();
  t.match(observer.seen.at(-1), { call: 'unread', method: 'POST', reason: 'size' });
  t.ok(
    upstream.connections[0]?.received().endsWith(`content-length: ${MIB + 1}\r\n\r\n${big}`),
    'byte for byte',
  );
});

t.test('a chunked message gets a length; over the reading limit it stays chunked and unread', async (t) => {
  const upstream = await startRawUpstream(t, async ({ socket, until }) => {
    await until('small!');
    socket.write(ok('one'));
    await until('\r\n0\r\n\r\n');
    socket.write(ok('two'));
  });
  const { phone, observer } = await startWpi(t, { upstream: upstream.url, limits: { messageBytes: 10_000 } });
  const { send, answer } = await phone();
  send(request(chunked('small!', 2), 'Transfer-Encoding: chunked\r\n'));
  t.equal((await answer()).body, 'one');
  t.match(upstream.connections[0]?.received(), /\r\ncontent-length: 6\r\n\r\nsmall!$/);
  const big = 'big'.repeat(10_000);
  const parts = request(chunked(big), 'Transfer-Encoding: chunked\r\n');
  send(parts.slice(0, 20_000));
  await upstream.connections[0]?.until('transfer-encoding: chunked');
  send(parts.slice(20_000));
  t.equal((await answer()).body, 'two');
  t.match(observer.seen.at(-1), { call: 'unread', reason: 'size' });
  const [, sent = ''] = upstream.connections[0]?.received().split('transfer-encoding: chunked\r\n\r\n') ?? [];
  t.equal(
    sent
      .split('\r\n')
      .filter((_, i) => i % 2 === 1)
      .join(''),
    big,
    'the same bytes, in whatever chunks',
  );
});

for (const [name, sent] of [
  ['announced', request('x', 'Content-Length: 20001\r\n')],
  ['chunked', request(chunked('x'.repeat(30_000)), 'Transfer-Encoding: chunked\r\n')],
  ['of a PUT', `PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 20001\r\n\r\n`],
] as const) {
  t.test(`a body over the limit is a 413 and closes: ${name}`, async (t) => {
    const upstream = await startRawUpstream(t);
    const { phone, counted } = await startWpi(t, {
      upstream: upstream.url,
      limits: { messageBytes: 10_000, requestBytes: 20_000, lingerMs: 5_000 },
    });
    const { send, answer, over } = await phone();
    send(sent);
    const { head } = await answer();
    t.match(head, /^HTTP\/1\.1 413 .*\r\nConnection: close/s);
    t.equal(await over, 'ended');
    t.ok(counted.includes('request_refused'));
    for (const connection of upstream.connections) await connection.closed;
    t.notMatch(upstream.connections[0]?.received() ?? '', /\r\n0\r\n\r\n$/, 'upstream has no whole request');
  });
}

t.test('bodies held by the whole service are bounded: 503', async (t) => {
  const upstream = await startRawUpstream(t, answering(ok()));
  const { phone } = await startWpi(t, {
    upstream: upstream.url,
    limits: { bufferedBytes: 50_000, lingerMs: 5_000 },
  });
  const slow = await phone();
  slow.send(request('x'.repeat(40_000), 'Content-Length: 40001\r\n'));
  const other = await phone();
  // The first one's bytes have surely come when those of the second, sent later the same way, are answered.
  other.send(post('y'));
  t.equal((await other.answer()).body, 'ok');
  other.send(post('y'.repeat(20_000)));
  t.match((await other.answer()).head, /^HTTP\/1\.1 503 /);
  slow.send('x');
  t.equal((await slow.answer()).body, 'ok', 'the one that came first is served');
  const third = await phone();
  third.send(post('y'.repeat(45_000)));
  t.equal((await third.answer()).body, 'ok', 'and then there is room again');
});

t.test('a head over the limit is a 431', async (t) => {
  const upstream = await startRawUpstream(t);
  const { phone } = await startWpi(t, { upstream: upstream.url, limits: { lingerMs: 5_000 } });
  for (const headers of [`X: ${'x'.repeat(17_000)}\r\n`, 'X: y\r\n'.repeat(101), 'a:\r\n'.repeat(3_000)]) {
    const { send, answer, over } = await phone();
    send(`GET /x HTTP/1.1\r\nHost: a\r\n${headers}\r\n`);
    t.match((await answer()).head, /^HTTP\/1\.1 431 /);
    t.equal(await over, 'ended');
  }
  t.equal(upstream.connections.length, 0);
});

t.test('too many requests at once cut the connection', async (t) => {
  const upstream = await startRawUpstream(t);
  const { phone } = await startWpi(t, { upstream: upstream.url, limits: { pipelined: 4 } });
  const { send, over } = await phone();
  send('GET /x HTTP/1.1\r\nHost: a\r\n\r\n'.repeat(6));
  t.equal(await over, 'cut');
});

t.test('the last request that a connection may make is answered with close', async (t) => {
  const upstream = await startRawUpstream(t, answering(ok()));
  const { phone } = await startWpi(t, { upstream: upstream.url, limits: { requests: 2 } });
  const { send, answer, over } = await phone();
  send(post('1') + post('2') + post('3'));
  t.match((await answer()).head, /\r\nConnection: keep-alive/);
  t.match((await answer()).head, /\r\nConnection: close/);
  t.equal(await over, 'ended');
  t.notMatch(upstream.connections[0]?.received(), /3$/);
});

t.test('connections over the limit are refused', async (t) => {
  const upstream = await startRawUpstream(t, answering(ok()));
  const { phone, service, counted } = await startWpi(t, {
    upstream: upstream.url,
    limits: { connections: 1 },
  });
  const first = await phone();
  first.send(post('1'));
  await first.answer();
  const second = await phone();
  t.equal(await second.over, 'cut');
  t.equal(service.connections(), 1);
  t.strictSame(counted, ['connection', 'request', 'connection_refused']);
});

t.test('a big answer to a message passes unread and whole', async (t) => {
  const big = randomBytes(3 * MIB).toString('latin1');
  const upstream = await startRawUpstream(t, answering(ok(big)));
  const { phone, observer } = await startWpi(t, { upstream: upstream.url });
  const { send, answer } = await phone();
  send(post('<x/>'));
  const { head, body } = await answer();
  t.match(head, /\r\nContent-Length: 3145728\r\n/);
  t.ok(body === big, 'byte for byte');
  await observer.until('delivered');
  t.strictSame(observer.calls(), ['connection', 'message', 'answeredUnread', 'delivered']);
});

t.test("a download of any size moves at the phone's speed and holds little", async (t) => {
  const total = 48 * MIB;
  const piece = randomBytes(65_536);
  const expected = createHash('sha256');
  for (let at = 0; at < total; at += piece.length) expected.update(piece);
  let written = 0;
  const upstream = await startRawUpstream(t, async ({ socket }) => {
    socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${total}\r\n\r\n`);
    for (; written < total; written += piece.length) {
      if (!socket.write(piece)) await once(socket, 'drain');
    }
  });
  const { phone } = await startWpi(t, { upstream: upstream.url });
  const { socket, send } = await phone();
  socket.removeAllListeners('data');
  socket.pause();
  send('GET /firmware.img HTTP/1.1\r\nHost: a\r\n\r\n');
  // With nobody reading, what has left upstream stops growing: it fills the buffers on the way and no more. That
  // nothing happens can only be seen by waiting.
  let still = -1;
  while (still !== written || written === 0) {
    still = written;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  t.ok(written < 24 * MIB, `${written} bytes left upstream for a phone that reads nothing`);
  const got = createHash('sha256');
  let received = 0;
  let head: Buffer | null = Buffer.alloc(0);
  await new Promise<void>((resolve) => {
    socket.on('data', (chunk: Buffer) => {
      let body = chunk;
      if (head !== null) {
        head = Buffer.concat([head, chunk]);
        const end = head.indexOf('\r\n\r\n');
        if (end === -1) return;
        body = head.subarray(end + 4);
        head = null;
      }
      got.update(body);
      received += body.length;
      if (received === total) resolve();
    });
    socket.resume();
  });
  t.equal(got.digest('hex'), expected.digest('hex'));
});

t.test('a download is whole though upstream hangs up while its last bytes wait for the phone', async (t) => {
  const body = randomBytes(4 * 65_536);
  const sizes = Array.from({ length: 40 }, (_, i) => 65_536 + i * 4_096);
  // Its answers say nothing of closing, so their ends come as a surprise.
  const upstream = await startRawUpstream(t, ({ socket }, index) => {
    const size = sizes[index] ?? 0;
    socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${size}\r\n\r\n`);
    socket.end(body.subarray(0, size));
  });
  const { phone } = await startWpi(t, { upstream: upstream.url, tls: {} });
  const cut: string[] = [];
  for (const size of sizes) {
    const { send, received, over } = await phone();
    send('GET /firmware.img HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n');
    const how = await over;
    const text = received();
    const got = Buffer.from(text.slice(text.indexOf('\r\n\r\n') + 4), 'latin1');
    if (how !== 'ended' || !got.equals(body.subarray(0, size))) cut.push(`${how}: ${got.length} of ${size}`);
  }
  t.strictSame(cut, []);
});

t.test('at the limit of connections one that has said nothing makes room for a phone', async (t) => {
  const upstream = await startRawUpstream(t, answering(ok()));
  const { phone, service } = await startWpi(t, { upstream: upstream.url, limits: { connections: 2 } });
  const speaking = await phone();
  speaking.send(post('1'));
  await speaking.answer();
  const silent = await phone();
  const newcomer = await phone();
  newcomer.send(post('2'));
  await newcomer.answer();
  t.equal(await silent.over, 'cut');
  t.equal(service.connections(), 2);
  speaking.send(post('3'));
  await speaking.answer();
});

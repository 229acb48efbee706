import t from 'tap';
import { answering, eventually, ok, post, recordingObserver, startRawUpstream, startWpi } from './harness.ts';

const allBytes = Buffer.from(Array.from({ length: 256 }, (_, i) => i)).toString('latin1');

/** Header lines of a head, without the first line and without those of this one connection. */
const lines = (head: string): string[] =>
  head
    .split('\r\n')
    .slice(1)
    .filter((line) => !/^(connection|keep-alive):/i.test(line));

t.test('a message goes upstream byte for byte, its headers in order and in their own spelling', async (t) => {
  const upstream = await startRawUpstream(t, answering(ok()));
  const { phone, observer } = await startWpi(t, { upstream: upstream.url });
  const { send, answer } = await phone();
  send(
    post(
      allBytes,
      'content-TYPE: Text/XML; Charset="UTF-8"\r\nCookie: JSESSIONID=30de; path=/DeploymentService/; secure\r\n' +
        'X-b: 1\r\nX-a: 2\r\nX-b: 3\r\nX-Spaces:  two  inside \r\nCookie: more=1\r\n',
    ),
  );
  await answer();
  t.equal(
    upstream.connections[0]?.received(),
    'POST /DeploymentService/LoginService HTTP/1.1\r\nhost: dls.example:18443\r\nconnection: keep-alive\r\n' +
      'content-TYPE: Text/XML; Charset="UTF-8"\r\nCookie: JSESSIONID=30de; path=/DeploymentService/; secure\r\n' +
      'X-b: 1\r\nX-a: 2\r\nX-b: 3\r\nX-Spaces: two  inside\r\nCookie: more=1\r\n' +
      `content-length: 256\r\n\r\n${allBytes}`,
  );
  const [, message] = observer.seen;
  t.match(message, { call: 'message', path: '/DeploymentService/LoginService', body: allBytes });
});

t.test('an answer comes back byte for byte, with every header line of its own', async (t) => {
  const upstream = await startRawUpstream(
    t,
    answering(
      `HTTP/1.1 299 Fine By Me\r\nserver: Apache-Coyote/1.1\r\nSet-Cookie: JSESSIONID=1; Path=/x; Secure\r\n` +
        `Set-Cookie: b=2; Expires=Thu, 01 Jan 2099 00:00:00 GMT\r\nContent-type: text/xml\r\ncontent-length: 256\r\n` +
        `Date: yesterday\r\nX-Last: \xe4\r\n\r\n${allBytes}`,
    ),
  );
  const { phone, observer } = await startWpi(t, { upstream: upstream.url });
  const { send, answer } = await phone();
  send(post('<x/>'));
  const { head, body } = await answer();
  t.equal(body, allBytes);
  t.ok(head.startsWith('HTTP/1.1 299 Fine By Me\r\n'), 'status and reason');
  t.strictSame(lines(head), [
    'server: Apache-Coyote/1.1',
    'Set-Cookie: JSESSIONID=1; Path=/x; Secure',
    'Set-Cookie: b=2; Expires=Thu, 01 Jan 2099 00:00:00 GMT',
    'Content-type: text/xml',
    'content-length: 256',
    'Date: yesterday',
    'X-Last: \xe4',
  ]);
  await observer.until('delivered');
  t.match(observer.seen[2], { call: 'answered', status: 299, body: allBytes });
  t.strictSame(observer.calls(), ['connection', 'message', 'answered', 'delivered']);
});

t.test('the observer may put another body and other headers in place', async (t) => {
  const upstream = await startRawUpstream(t, answering(ok('fine')));
  const observer = recordingObserver({
    request: (body, headers) => ({
      body: Buffer.from(body.toString().replace('10.1.2.3', '192.168.100.100')),
      headers: headers.map((value) => (value === 'ours=1; theirs=2' ? 'theirs=2' : value)),
    }),
    answer: () => ['Set-Cookie', 'ours=1'],
  });
  const { phone } = await startWpi(t, { upstream: upstream.url, observer });
  const { send, answer } = await phone();
  send(post('<uri>10.1.2.3</uri>', 'Cookie: ours=1; theirs=2\r\n'));
  const { head, body } = await answer();
  t.equal(body, 'fine');
  t.strictSame(lines(head), ['Content-Length: 4', 'Set-Cookie: ours=1']);
  t.match(
    upstream.connections[0]?.received(),
    /\r\nCookie: theirs=2\r\ncontent-length: 26\r\n\r\n<uri>192.168.100.100<\/uri>$/,
  );
});

t.test('headers of one connection go no further, and nor do those that Connection names', async (t) => {
  const upstream = await startRawUpstream(
    t,
    answering(
      'HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Here\r\nKeep-Alive: timeout=9\r\nX-Here: 1\r\nX-There: 2\r\n' +
        'Proxy-Connection: close\r\nContent-Length: 0\r\n\r\n',
    ),
  );
  const { phone } = await startWpi(t, { upstream: upstream.url });
  const { send, answer } = await phone();
  send(
    post(
      'x',
      'Connection: Keep-Alive, X-Mine\r\nConnection: x-also\r\nX-Mine: 1\r\nX-Also: 2\r\nX-Yours: 3\r\nTE: trailers\r\n' +
        'Keep-Alive: 300\r\nProxy-Connection: keep-alive\r\nTrailer: X\r\n',
    ),
  );
  const { head } = await answer();
  t.strictSame(lines(head), ['X-There: 2', 'Content-Length: 0']);
  t.match(head, /\r\nKeep-Alive: timeout=45/, 'and the phone is told our own keep-alive time');
  t.equal(
    upstream.connections[0]?.received(),
    'POST /DeploymentService/LoginService HTTP/1.1\r\nhost: dls.example:18443\r\nconnection: keep-alive\r\nX-Yours: 3\r\ncontent-length: 1\r\n\r\nx',
  );
});

for (const [forwarded, expected] of [
  ['none', ['X-Forwarded-For: 6.6.6.6', 'Forwarded: for=6.6.6.6']],
  ['x-forwarded-for', ['X-Forwarded-For: 127.0.0.1']],
  ['forwarded', ['Forwarded: for=127.0.0.1']],
] as const) {
  t.test(`forwarded: ${forwarded} tells upstream ${expected.join(' and ')}`, async (t) => {
    const upstream = await startRawUpstream(t, answering(ok()));
    const { phone } = await startWpi(t, { upstream: upstream.url, forwarded });
    const { send, answer } = await phone();
    send(post('x', 'X-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\n'));
    await answer();
    const told = upstream.connections[0]
      ?.received()
      .split('\r\n')
      .filter((line) => /forwarded/i.test(line));
    t.strictSame(told, expected);
  });
}

t.test('answers without a body are none', async (t) => {
  const upstream = await startRawUpstream(
    t,
    answering(
      'HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n',
      'HTTP/1.1 204 No Content\r\nX: y\r\n\r\n',
      'HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\nETag: "a"\r\n\r\n',
      ok('after'),
    ),
  );
  const { phone, observer } = await startWpi(t, { upstream: upstream.url });
  const { send, answer } = await phone();
  send('HEAD /file HTTP/1.1\r\nHost: a\r\n\r\n');
  t.strictSame(lines((await answer({ head: true })).head), ['Content-Length: 1234']);
  send(post('<x/>'));
  const none = await answer();
  t.match(none.head, /^HTTP\/1\.1 204 No Content\r\n/);
  t.strictSame(lines(none.head), ['X: y']);
  send('GET /file HTTP/1.1\r\nHost: a\r\nIf-None-Match: "a"\r\n\r\n');
  t.strictSame(lines((await answer({ head: true })).head), ['Content-Length: 99', 'ETag: "a"']);
  send(post('<x/>'));
  t.equal((await answer()).body, 'after', 'and the connection is still in step');
  await observer.until('delivered', 2);
  t.match(observer.seen[3], { call: 'answered', status: 204, body: '' });
});

t.test('a chunked answer becomes one with a length', async (t) => {
  const chunked =
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX: y\r\n\r\n5;e=1\r\nhello\r\n6\r\n world\r\n0\r\nT: 1\r\n\r\n';
  const upstream = await startRawUpstream(t, answering(chunked));
  const { phone, observer } = await startWpi(t, { upstream: upstream.url });
  const { send, answer } = await phone();
  for (const request of [post('<x/>'), 'GET /f HTTP/1.1\r\nHost: a\r\n\r\n']) {
    send(request);
    const { head, body } = await answer();
    t.equal(body, 'hello world');
    t.strictSame(lines(head), ['X: y', 'Content-Length: 11']);
  }
  t.equal(upstream.connections.length, 1, 'on one upstream connection');
  t.match(observer.seen[2], { call: 'answered', body: 'hello world' });
});

t.test('an answer of unknown length over the limit is a 502', async (t) => {
  const chunks = `400\r\n${'x'.repeat(1024)}\r\n`.repeat(3);
  const upstream = await startRawUpstream(
    t,
    answering(`HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${chunks}0\r\n\r\n`),
  );
  const { phone, observer } = await startWpi(t, { upstream: upstream.url, limits: { answerBytes: 3000 } });
  const { send, answer, over } = await phone();
  send(post('<x/>'));
  t.match((await answer()).head, /^HTTP\/1\.1 502 /);
  t.equal(await over, 'ended');
  t.strictSame(observer.calls().slice(0, 3), ['connection', 'message', 'cut']);
  await upstream.connections[0]?.closed;
});

t.test('an answer of HTTP/1.0 that ends with its connection is held whole', async (t) => {
  const upstream = await startRawUpstream(
    t,
    ({ socket }) => void socket.end('HTTP/1.0 200 OK\r\nContent-Type: text/xml\r\n\r\n<DLSMessage/>'),
  );
  const { phone } = await startWpi(t, { upstream: upstream.url });
  const { send, answer } = await phone();
  for (let i = 0; i < 2; i++) {
    send(post('<x/>'));
    const { head, body } = await answer();
    t.equal(body, '<DLSMessage/>');
    t.strictSame(lines(head), ['Content-Type: text/xml', 'Content-Length: 13']);
  }
  t.equal(upstream.connections.length, 2, 'a new upstream connection each time, unnoticed by the phone');
});

t.test(
  'requests on one phone connection share one upstream connection, those of another have their own',
  async (t) => {
    const upstream = await startRawUpstream(t, answering(ok()));
    const { phone } = await startWpi(t, { upstream: upstream.url });
    const first = await phone();
    const second = await phone();
    for (let i = 0; i < 3; i++) {
      first.send(post(`first ${i}`));
      await first.answer();
      second.send(post(`second ${i}`));
      await second.answer();
    }
    t.equal(upstream.connections.length, 2);
    t.notMatch(upstream.connections[0]?.received(), /second/);
    t.notMatch(upstream.connections[1]?.received(), /first/);
    first.socket.end();
    await upstream.connections[0]?.closed;
    t.pass('and it ends with it');
  },
);

t.test('pipelined requests are asked one after the other and answered in order', async (t) => {
  const upstream = await startRawUpstream(t, answering(ok('one'), ok('two'), ok('three')));
  const { phone } = await startWpi(t, { upstream: upstream.url });
  const { send, answer } = await phone();
  send(`${post('1')}GET /2 HTTP/1.1\r\nHost: a\r\n\r\n${post('3')}`);
  t.strictSame(
    [(await answer()).body, (await answer()).body, (await answer()).body],
    ['one', 'two', 'three'],
  );
  t.equal(upstream.connections.length, 1);
});

for (const tls of [null, {}]) {
  t.test(
    `Connection: close of the phone is honoured and passed on${tls === null ? '' : ', sealed'}`,
    async (t) => {
      const upstream = await startRawUpstream(t, answering(ok()));
      const { phone, observer, door } = await startWpi(t, { upstream: upstream.url, tls });
      const { send, answer, over } = await phone();
      send(post('x', 'Connection: close\r\n'));
      const { head } = await answer();
      t.match(head, /\r\nConnection: close/);
      t.equal(await over, 'ended');
      t.match(upstream.connections[0]?.received(), /\r\nconnection: close\r\n/);
      await observer.until('closed');
      t.match(observer.seen.at(-1), { how: 'ended' });
      await eventually(() => door.streams() === 0);
      t.equal(door.cuts(), 0, 'ended by both, reset by none');
    },
  );
}

t.test('Connection: close of upstream reaches the phone', async (t) => {
  const upstream = await startRawUpstream(t, answering(ok('bye', 'Connection: close\r\n')));
  const { phone } = await startWpi(t, { upstream: upstream.url });
  const { send, answer, over } = await phone();
  send(post('x'));
  const { head, body } = await answer();
  t.match(head, /\r\nConnection: close/);
  t.equal(body, 'bye');
  t.equal(await over, 'ended');
});

t.test('phones of HTTP/1.0 are served, with and without keep-alive', async (t) => {
  const upstream = await startRawUpstream(t, answering(ok('answer')));
  const { phone } = await startWpi(t, { upstream: upstream.url });
  const { send, answer, over } = await phone();
  send('POST /x HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx');
  t.match((await answer()).head, /\r\nConnection: keep-alive/);
  send('POST /x HTTP/1.0\r\nContent-Length: 1\r\n\r\nx');
  const { head, body } = await answer();
  t.match(head, /\r\nConnection: close/);
  t.equal(body, 'answer');
  t.equal(await over, 'ended');
  const host = `host: 127.0.0.1:${upstream.port}`;
  t.ok(
    upstream.connections[0]?.received().startsWith(`POST /x HTTP/1.1\r\n${host}\r\n`),
    'upstream gets a Host all the same',
  );
});

t.test('an interim answer of upstream is not the answer', async (t) => {
  const upstream = await startRawUpstream(
    t,
    answering(`HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n${ok('real')}`),
  );
  const { phone } = await startWpi(t, { upstream: upstream.url });
  const { send, answer } = await phone();
  send(post('x'));
  const { head, body } = await answer();
  t.match(head, /^HTTP\/1\.1 200 OK\r\n/);
  t.notMatch(head, /Link/);
  t.equal(body, 'real');
});

t.test('an empty message is passed with its length', async (t) => {
  const upstream = await startRawUpstream(t, answering(ok('')));
  const { phone, observer } = await startWpi(t, { upstream: upstream.url });
  const { send, answer } = await phone();
  send(post(''));
  t.strictSame(lines((await answer()).head), ['Content-Length: 0']);
  t.match(upstream.connections[0]?.received(), /\r\ncontent-length: 0\r\n\r\n$/);
  t.match(observer.seen[1], { call: 'message', body: '' });
});

t.test('an observer that fails does not harm the exchange', async (t) => {
  const upstream = await startRawUpstream(t, answering(ok()));
  const fail = (): never => {
    throw new Error('a fault');
  };
  const observer = {
    connection: () => ({ message: fail, unread: fail, inSession: fail, closed: fail }),
  };
  const { phone } = await startWpi(t, { upstream: upstream.url, observer });
  const { send, answer } = await phone();
  send(post('<x/>'));
  t.equal((await answer()).body, 'ok');
  send('GET /f HTTP/1.1\r\nHost: a\r\n\r\n');
  t.equal((await answer()).body, 'ok');
});

import { once } from 'node:events';
import fc from 'fast-check';
import t from 'tap';
import { createHandlerRig, type HandlerRig } from '../../../fixtures/poll-handler.ts';

const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n';
const ACCEPTED = 'HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n';
const closing = (line: string, allow = ''): string =>
  `HTTP/1.1 ${line}\r\n${allow}Content-Length: 0\r\nConnection: close\r\n\r\n`;
const BAD = closing('400 Bad Request');
const NOT_FOUND = closing('404 Not Found');
const NOT_ALLOWED = closing('405 Method Not Allowed', 'Allow: GET, HEAD\r\n');
const TOO_MUCH = closing('503 Service Unavailable');
const LAST_OK = closing('200 OK');

const PENDING = '/dcmp/contact-me?device-id=001ae8000001';
const IDLE = '/dcmp/contact-me?device-id=001ae8000002';
const HOST = 'Host: proxy.example:8080\r\n';
const get = (target: string, fields = HOST, version = '1.1', method = 'GET'): string =>
  `${method} ${target} HTTP/${version}\r\n${fields}\r\n`;
const FINAL = get(IDLE, `${HOST}Connection: close\r\n`);

/** Sends the pieces one by one and resolves to all that was answered; the last piece has to close the connection. */
async function exchange(rig: HandlerRig, pieces: readonly Buffer[]): Promise<string> {
  const phone = rig.connect();
  for (const piece of pieces) phone.stream.write(piece);
  return phone.closed;
}

const bytes = (text: string): Buffer => Buffer.from(text, 'latin1');

/** What `request` is answered when another poll follows that would close the connection. */
async function answerTo(request: string, rig: HandlerRig = createHandlerRig()): Promise<string> {
  const all = await exchange(rig, [bytes(request + FINAL)]);
  return all.endsWith(LAST_OK) && all !== LAST_OK ? all.slice(0, -LAST_OK.length) : all;
}

t.test('a poll is answered in every spelling that phones and services use', async (t) => {
  for (const target of [
    PENDING,
    '/contact-me?device-id=001ae8000001',
    '//contact-me?device-id=001ae8000001',
    '/dcmp//contact-me?device-id=001ae8000001',
    '/dcmpcontact-me?device-id=001ae8000001',
    '/a/b.c/~x/contact-me?device-id=001ae8000001',
    '/dcmp/contact-me?device-id=00:1A:E8:00:00:01',
    '/dcmp/contact-me?device-id=00%3A1a%3ae8-00.00%3A01',
    '/dcmp/contact-me?x=1&device-id=001ae8000001',
    '/dcmp/contact-me?device-id=001ae8000001&x=device-id%3D7&&y',
    '/dcmp/contact-me?xdevice-id=5&device-id=001ae8000001&device-idx=1&Device-Id=2',
    'http://proxy.example:8080/dcmp/contact-me?device-id=001ae8000001',
    'HTTPS://proxy.example/contact-me?device-id=001ae8000001',
  ]) {
    t.equal(await answerTo(get(target)), ACCEPTED, target);
  }
  t.equal(await answerTo(get(PENDING, HOST, '1.1', 'HEAD')), ACCEPTED);
  t.equal(await answerTo(get(IDLE)), OK);
});

t.test('an unknown device is answered with the very bytes of one that has nothing to do', async (t) => {
  const rig = createHandlerRig();
  t.equal(await answerTo(get('/dcmp/contact-me?device-id=Nobody+7'), rig), OK);
  t.match(rig.unknown.take(), [{ site: 'site0', device: 'nobody+7', address: '192.0.2.7', polls: 1 }]);
  t.equal(rig.stats().unknown.polls, 1);
});

t.test('a device id that is none, missing or there twice is malformed', async (t) => {
  for (const query of [
    '',
    '?',
    '?device-id',
    '?device-id=',
    '?device-id=a%zz',
    '?device-id=a%2',
    '?device-id=a%00',
    '?device-id=a/b',
    '?device-id=a&device-id=a',
    '?device-id=a&x=1&device-id=b',
    `?device-id=${'a'.repeat(65)}`,
    '?DEVICE-ID=a',
  ]) {
    t.equal(await answerTo(get(`/dcmp/contact-me${query}`)), BAD, query);
  }
});

t.test('another path is not found, whatever the method', async (t) => {
  for (const target of [
    '/',
    '/contact-me/',
    '/contact-me/x?device-id=a',
    '/contact-mee?device-id=a',
    '/Contact-Me?device-id=a',
    '/x?device-id=a',
    '*',
    'contact-me?device-id=a',
    'proxy.example:443',
    'ftp://x/contact-me?device-id=a',
    'http:///contact-me?device-id=a',
    'http://x?/contact-me?device-id=a',
  ]) {
    t.equal(await answerTo(get(target)), NOT_FOUND, target);
  }
  t.equal(await answerTo(get('/x', HOST, '1.1', 'POST')), NOT_FOUND);
  t.equal(await answerTo(get('x:1', HOST, '1.1', 'CONNECT')), NOT_FOUND);
});

t.test('another method is not allowed, with those that are', async (t) => {
  for (const method of ['POST', 'PUT', 'OPTIONS', 'get', 'GETT', 'HEADS', 'G']) {
    t.equal(await answerTo(get(PENDING, HOST, '1.1', method)), NOT_ALLOWED, method);
  }
  const post = `POST ${PENDING} HTTP/1.1\r\n${HOST}Content-Length: 3\r\n\r\nabc`;
  t.equal(await answerTo(post), NOT_ALLOWED, 'also with a body');
});

t.test('what HTTP does not allow is refused', async (t) => {
  const cases: Record<string, string> = {
    'a bare LF': `GET ${PENDING} HTTP/1.1\nHost: x\n\n`,
    'a bare LF among the fields': `GET ${PENDING} HTTP/1.1\r\nHost: x\nA: b\r\n\r\n`,
    'a bare CR': `GET ${PENDING} HTTP/1.1\r\nHost: x\rA: b\r\n\r\n`,
    'a folded line': get(PENDING, `${HOST}A: b\r\n c: d\r\n`),
    'a NUL': get(PENDING, `${HOST}A: b\0\r\n`),
    'a control character': get(PENDING, `${HOST}A: b\x01\r\n`),
    'two empty lines first': `\r\n\r\n${get(PENDING)}`,
    'no Host': get(PENDING, ''),
    'two Hosts': get(PENDING, `${HOST}${HOST}`),
    'a Host that is none': get(PENDING, 'Host: a b\r\n'),
    'a Host with a path': get(PENDING, 'Host: a/b\r\n'),
    'a blank before a colon': get(PENDING, `${HOST}A : b\r\n`),
    'a field without a colon': get(PENDING, `${HOST}A\r\n`),
    'a field without a name': get(PENDING, `${HOST}: b\r\n`),
    'a field name with a blank': get(PENDING, `${HOST}A B: c\r\n`),
    'a body': get(PENDING, `${HOST}Content-Length: 5\r\n`),
    'a body with leading zeros': get(PENDING, `${HOST}Content-Length: 0001\r\n`),
    'a length that is none': get(PENDING, `${HOST}Content-Length: 1x\r\n`),
    'an empty length': get(PENDING, `${HOST}Content-Length:\r\n`),
    'a negative length': get(PENDING, `${HOST}Content-Length: -0\r\n`),
    'a list of lengths': get(PENDING, `${HOST}Content-Length: 0, 0\r\n`),
    'two lengths': get(PENDING, `${HOST}Content-Length: 0\r\nContent-Length: 0\r\n`),
    chunks: get(PENDING, `${HOST}Transfer-Encoding: chunked\r\n`),
    'any transfer encoding': get(PENDING, `${HOST}transfer-ENCODING: identity\r\n`),
    'no target': `GET HTTP/1.1\r\n${HOST}\r\n`,
    'an empty target': `GET  HTTP/1.1\r\n${HOST}\r\n`,
    'two blanks': `GET  ${PENDING} HTTP/1.1\r\n${HOST}\r\n`,
    'a blank at the end': `GET ${PENDING} HTTP/1.1 \r\n${HOST}\r\n`,
    'a tab': `GET\t${PENDING} HTTP/1.1\r\n${HOST}\r\n`,
    'no version': `GET ${PENDING}\r\n${HOST}\r\n`,
    'another version': get(PENDING, HOST, '1.2'),
    'a longer version': get(PENDING, HOST, '1.10'),
    'a lower-case version': `GET ${PENDING} http/1.1\r\n${HOST}\r\n`,
    'HTTP/2': 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
    'a fragment': get(`${PENDING}#x`),
    'a target beyond ASCII': get('/d\xe4/contact-me?device-id=a'),
    'a method that is no token': `G(T ${PENDING} HTTP/1.1\r\n${HOST}\r\n`,
    'an endless method': `${'G'.repeat(33)} ${PENDING} HTTP/1.1\r\n${HOST}\r\n`,
    'a TLS handshake': '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03',
  };
  for (const [name, request] of Object.entries(cases)) t.equal(await answerTo(request), BAD, name);
});

t.test('what HTTP allows is taken', async (t) => {
  const cases: Record<string, string> = {
    'one empty line first': `\r\n${get(PENDING)}`,
    'fields in any case': get(PENDING, 'hOST:x\r\nCONTENT-length: 00\r\n'),
    'an empty Host': get(PENDING, 'Host:\r\n'),
    'an IPv6 Host': get(PENDING, 'Host: [::1]:80\r\n'),
    'blanks around values': get(PENDING, 'Host: \t x \t\r\nA:\r\nB: \r\n'),
    'values beyond ASCII': get(PENDING, `${HOST}A: \xe4\xff\r\n`),
    'tabs in values': get(PENDING, `${HOST}A: b\tc\r\n`),
    'names with odd characters': get(PENDING, `${HOST}!#$%&'*+-.^_\`|~9: x\r\n`),
    'fields that only look like others': get(
      PENDING,
      `${HOST}Most: x\r\nContent-Lengthy: 5\r\nXontent-Length: 5\r\n`,
    ),
    'an upgrade that is not taken': get(
      PENDING,
      `${HOST}Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n`,
    ),
  };
  for (const [name, request] of Object.entries(cases)) t.equal(await answerTo(request), ACCEPTED, name);
});

t.test('a connection stays or closes by the rules of its version', async (t) => {
  const stay10 = 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n';
  t.equal(await answerTo(get(IDLE, '', '1.0')), LAST_OK, 'HTTP/1.0 closes');
  t.equal(await answerTo(get(IDLE, 'Connection: Keep-Alive\r\n', '1.0')), stay10, 'unless asked to stay');
  t.equal(
    await answerTo(get(IDLE, 'Connection: keep-alive, close\r\n', '1.0')),
    LAST_OK,
    'close is the stronger',
  );
  t.equal(
    await answerTo(get(IDLE, `${HOST}Connection: x ,\tCLOSE\r\n`)),
    LAST_OK,
    'HTTP/1.1 closes where asked to',
  );
  t.equal(
    await answerTo(get(IDLE, `${HOST}Connection: closed\r\nConnection: ,\r\n`)),
    OK,
    'and stays otherwise',
  );
  t.equal(
    await answerTo(get(IDLE, `${HOST}Connection: a\r\nConnection: close\r\n`)),
    LAST_OK,
    'each field counts',
  );
});

t.test('polls that come together are answered in order, in one write', async (t) => {
  const rig = createHandlerRig();
  const phone = rig.connect();
  const first = once(phone.stream, 'data');
  phone.stream.write(bytes(get(PENDING) + get(IDLE) + get(PENDING, HOST, '1.1', 'HEAD')));
  t.strictSame(await first, [ACCEPTED + OK + ACCEPTED]);
});

t.test('nothing is answered after a refusal or a last answer', async (t) => {
  t.equal(await exchange(createHandlerRig(), [bytes(get(IDLE) + get('/x') + get(PENDING))]), OK + NOT_FOUND);
  t.equal(await exchange(createHandlerRig(), [bytes(FINAL + get(PENDING))]), LAST_OK);
});

t.test('a connection ends with its last poll by the limit', async (t) => {
  const rig = createHandlerRig({ limits: { requestsPerConnection: 3 } });
  t.equal(await exchange(rig, [bytes(get(IDLE).repeat(5))]), OK + OK + LAST_OK);
  t.equal(rig.stats().answers[200], 3);
});

t.test('while the door closes each answer is the last', async (t) => {
  const rig = createHandlerRig();
  const phone = rig.connect();
  phone.stream.write(bytes(get(IDLE).slice(0, 20)));
  await new Promise(setImmediate);
  rig.handler.drain();
  phone.stream.write(bytes(get(IDLE).slice(20)));
  t.equal(await phone.closed, LAST_OK);
});

t.test('a request line or a header over its limit is too much, at the very byte', async (t) => {
  const limits = { requestLineBytes: 100, headerBytes: 300 };
  const line = (length: number): string => {
    const short = `GET ${PENDING}&x= HTTP/1.1`;
    return short.replace('x=', `x=${'y'.repeat(length - short.length)}`);
  };
  const header = (length: number): string => {
    const short = `GET ${PENDING} HTTP/1.1\r\n${HOST}A: \r\n\r\n`;
    return short.replace('A: ', `A: ${'b'.repeat(length - short.length)}`);
  };
  t.equal(line(100).length, 100);
  t.equal(await answerTo(`${line(100)}\r\n${HOST}\r\n`, createHandlerRig({ limits })), ACCEPTED);
  t.equal(await answerTo(`${line(101)}\r\n${HOST}\r\n`, createHandlerRig({ limits })), TOO_MUCH);
  t.equal(await answerTo(`\r\n${line(100)}\r\n${HOST}\r\n`, createHandlerRig({ limits })), ACCEPTED);
  t.equal(await answerTo(header(300), createHandlerRig({ limits })), ACCEPTED);
  t.equal(await answerTo(header(301), createHandlerRig({ limits })), TOO_MUCH);
  const rig = createHandlerRig({ limits });
  t.equal(await exchange(rig, [bytes('A'.repeat(101))]), TOO_MUCH, 'without waiting for its end');
  t.equal(rig.stats().answers[503], 1);
});

t.test('sites are told apart by their prefixes', async (t) => {
  const prefixes = ['/dcmp/', '/dcmp/branch/', 'lab', '/'];
  const rig = createHandlerRig({ prefixes });
  prefixes.forEach((_, i) => {
    const device = `0000000000${i.toString().padStart(2, '0')}`.replace(/(..)(?=.)/g, '$1:') as never;
    rig.marks.set(`site${i}`, device, { pending: true, generation: 1, notBefore: 0, expiry: Infinity });
  });
  const siteOf = async (path: string): Promise<number | string> => {
    const answers = await Promise.all(
      prefixes.map((_, i) => answerTo(get(`${path}?device-id=00000000000${i}`), rig)),
    );
    return answers.includes(ACCEPTED) ? answers.indexOf(ACCEPTED) : (answers[0] ?? '').slice(9, 12);
  };
  for (const path of ['/dcmp/contact-me', '/dcmpcontact-me', '//dcmp//contact-me', '/dcmp///contact-me']) {
    t.equal(await siteOf(path), 0, path);
  }
  for (const path of ['/dcmp/branch/contact-me', '/dcmp//branchcontact-me'])
    t.equal(await siteOf(path), 1, path);
  for (const path of ['/lab/contact-me', '/labcontact-me']) t.equal(await siteOf(path), 2, path);
  for (const path of ['/contact-me', '//contact-me']) t.equal(await siteOf(path), 3, path);
  for (const path of [
    '/dcm/contact-me',
    '/dcmpx/contact-me',
    '/dcmp/x/contact-me',
    '/DCMP/contact-me',
    '/d/contact-me',
  ]) {
    t.equal(await siteOf(path), '404', path);
  }
});

t.test('one prefix cannot belong to two sites, however it is written', async (t) => {
  for (const prefixes of [
    ['/dcmp/', '/dcmp'],
    ['/dcmp/', 'dcmp//'],
    [null, null],
  ]) {
    t.throws(() => createHandlerRig({ prefixes }), { code: 'CONFIG_INVALID', message: /two sites/ });
  }
});

const oneRequest = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.constantFrom(
      get(PENDING),
      get(IDLE),
      get(IDLE, HOST, '1.1', 'HEAD'),
      `\r\n${get(PENDING)}`,
    ),
  },
  {
    weight: 3,
    arbitrary: fc.constantFrom(
      get(IDLE, 'Connection: keep-alive\r\n', '1.0'),
      get('/dcmp/contact-me?device-id=00%3a1A:e8:00:00:01'),
      get(PENDING, `${HOST}A: ${'b'.repeat(90)}\r\nC: d\r\n`),
    ),
  },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      get('/x'),
      get(PENDING, HOST, '1.1', 'POST'),
      get(PENDING, ''),
      `GET ${PENDING} HTTP/1.1\nHost: x\r\n\r\n`,
      `GET ${PENDING}${'x'.repeat(200)} HTTP/1.1\r\n${HOST}\r\n`,
      get(PENDING, `${HOST}A: ${'b'.repeat(300)}\r\n`),
      '\r\n\r\n',
      '\x16\x03\x01',
    ),
  },
);

t.test('input in pieces of any size is answered as in one', async () => {
  const limits = { requestLineBytes: 150, headerBytes: 350 };
  const story = fc.record({
    requests: fc.array(oneRequest, { maxLength: 6 }),
    cuts: fc.array(fc.nat(1_500), { maxLength: 12 }),
    everyByte: fc.boolean(),
  });
  await fc.assert(
    fc.asyncProperty(story, async ({ requests, cuts, everyByte }) => {
      const all = bytes([...requests, FINAL].join(''));
      const whole = await exchange(createHandlerRig({ limits }), [all]);
      const places = everyByte
        ? [...all.keys()]
        : cuts.filter((cut) => cut < all.length).sort((a, b) => a - b);
      const pieces = places.map((place, i) => all.subarray(i === 0 ? 0 : places[i - 1], place));
      const rest = all.subarray(places.at(-1) ?? 0);
      const split = await exchange(
        createHandlerRig({ limits }),
        [...pieces, rest].filter(({ length }) => length > 0),
      );
      return whole === split;
    }),
    { numRuns: 60 },
  );
});

t.test('whatever comes is answered with statuses of the contract, or not at all', async (t) => {
  const rig = createHandlerRig();
  const damage = fc.array(fc.tuple(fc.nat(100), fc.nat(255)), { minLength: 1, maxLength: 4 });
  await fc.assert(
    fc.asyncProperty(damage, fc.constantFrom(get(PENDING), FINAL), async (hits, request) => {
      const all = bytes(request);
      for (const [at, byte] of hits) all[at % all.length] = byte;
      const phone = rig.connect();
      phone.stream.write(all);
      phone.stream.end();
      const text = await phone.closed;
      return /^(HTTP\/1\.1 (200|202|400|404|405|503) [A-Za-z ]+\r\n(Allow: GET, HEAD\r\n)?Content-Length: 0\r\n(Connection: (close|keep-alive)\r\n)?\r\n)*$/.test(
        text,
      );
    }),
    { numRuns: 500 },
  );
  t.equal(rig.stats().connections.open, 0);
});

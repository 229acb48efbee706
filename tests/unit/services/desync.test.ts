import { strict as assert } from 'node:assert';
import t from 'tap';
import { answering, ok, startRawUpstream, startWpi } from './harness.ts';

/** What one server may read as one request and another as two, or as something else. */
interface Vector {
  name: string;
  sent: string;
  /** Statuses that refuse it; the connection ends with them. Empty = cut without a word is fine too. */
  refused?: number[];
  /** Or what upstream gets, all of it. */
  upstream?: string;
}

const line = 'POST /x HTTP/1.1\r\n';
const host = 'Host: a\r\n';
const smuggled = 'GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n';
const length = (body: string): string => `Content-Length: ${body.length}\r\n`;
/** How undici writes what came with Host `a`. */
const asked = (first: string, rest: string): string =>
  `${first} HTTP/1.1\r\nhost: a\r\nconnection: keep-alive\r\n${rest}`;

const vectors: Vector[] = [
  { name: 'two Hosts', sent: `${line}${host}Host: b\r\n${length('x')}\r\nx`, refused: [400] },
  { name: 'the same Host twice', sent: `${line}${host}${host}${length('x')}\r\nx`, refused: [400] },
  { name: 'no Host in 1.1', sent: `${line}${length('x')}\r\nx`, refused: [400] },
  { name: 'an empty Host', sent: `${line}Host: \r\n${length('x')}\r\nx`, refused: [400] },
  { name: 'a Host with a path', sent: `${line}Host: a/b\r\n${length('x')}\r\nx`, refused: [400] },
  { name: 'a Host with a user', sent: `${line}Host: u@a\r\n${length('x')}\r\nx`, refused: [400] },
  { name: 'two Hosts in one line', sent: `${line}Host: a, b\r\n${length('x')}\r\nx`, refused: [400] },
  {
    name: 'two lengths that differ',
    sent: `${line}${host}Content-Length: 1\r\nContent-Length: 5\r\n\r\nx`,
    refused: [400],
  },
  { name: 'two lengths that agree', sent: `${line}${host}${length('x')}${length('x')}\r\nx`, refused: [400] },
  { name: 'two lengths in one line', sent: `${line}${host}Content-Length: 1, 1\r\n\r\nx`, refused: [400] },
  { name: 'a length with a sign', sent: `${line}${host}Content-Length: +1\r\n\r\nx`, refused: [400] },
  { name: 'a negative length', sent: `${line}${host}Content-Length: -1\r\n\r\nx`, refused: [400] },
  { name: 'a hexadecimal length', sent: `${line}${host}Content-Length: 0x1\r\n\r\nx`, refused: [400] },
  { name: 'an empty length', sent: `${line}${host}Content-Length: \r\n\r\nx`, refused: [400] },
  {
    name: 'a length beyond 64 bits',
    sent: `${line}${host}Content-Length: 18446744073709551617\r\n\r\nx`,
    refused: [400, 413],
  },
  {
    name: 'length and chunks',
    sent: `${line}${host}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${smuggled}`,
    refused: [400],
  },
  {
    name: 'chunks and length',
    sent: `${line}${host}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n${smuggled}`,
    refused: [400],
  },
  {
    name: 'chunks in 1.0',
    sent: `POST /x HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    refused: [400],
  },
  {
    name: 'two transfer codings',
    sent: `${line}${host}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    refused: [400],
  },
  {
    name: 'chunked twice in one line',
    sent: `${line}${host}Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n`,
    refused: [400, 501],
  },
  {
    name: 'a coding before chunked',
    sent: `${line}${host}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n`,
    refused: [400, 501],
  },
  {
    name: 'chunked not last',
    sent: `${line}${host}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n`,
    refused: [400, 501],
  },
  {
    name: 'an unknown coding',
    sent: `${line}${host}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n`,
    refused: [400, 501],
  },
  {
    name: 'a coding with a tab before it',
    sent: `${line}${host}Transfer-Encoding:\tchunked\r\n\r\n1\r\nx\r\n0\r\n\r\n`,
    upstream: asked('POST /x', 'content-length: 1\r\n\r\nx'),
  },
  {
    name: 'a coding with a vertical tab',
    sent: `${line}${host}Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n${smuggled}`,
    refused: [400, 501],
  },
  {
    name: 'space before the colon',
    sent: `${line}${host}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n`,
    refused: [400],
  },
  { name: 'a folded header', sent: `${line}${host}X: a\r\n b\r\n${length('x')}\r\nx`, refused: [400] },
  {
    name: 'a folded coding',
    sent: `${line}${host}Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n`,
    refused: [400, 501],
  },
  { name: 'a header without a colon', sent: `${line}${host}Broken\r\n${length('x')}\r\nx`, refused: [400] },
  { name: 'a header without a name', sent: `${line}${host}: x\r\n${length('x')}\r\nx`, refused: [400] },
  { name: 'NUL in a header', sent: `${line}${host}X: a\0b\r\n${length('x')}\r\nx`, refused: [400] },
  { name: 'a bare CR in a header', sent: `${line}${host}X: a\rY: b\r\n${length('x')}\r\nx`, refused: [400] },
  {
    name: 'a bare LF after a header',
    sent: `${line}${host}X: a\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    refused: [400],
  },
  { name: 'bare LFs only', sent: `POST /x HTTP/1.1\nHost: a\nContent-Length: 1\n\nx`, refused: [400] },
  { name: 'a bare LF at the end of the head', sent: `${line}${host}${length('x')}\nx`, refused: [400] },
  {
    name: 'a chunk extension',
    sent: `${line}${host}Transfer-Encoding: chunked\r\n\r\n1;a=b\r\nx\r\n0\r\n\r\n`,
    upstream: asked('POST /x', 'content-length: 1\r\n\r\nx'),
  },
  {
    name: 'a chunk extension with a bare LF',
    sent: `${line}${host}Transfer-Encoding: chunked\r\n\r\n1;a\nx\r\n0\r\n\r\n`,
    refused: [400],
  },
  {
    name: 'a bare LF after a chunk size',
    sent: `${line}${host}Transfer-Encoding: chunked\r\n\r\n1\nx\r\n0\r\n\r\n`,
    refused: [400],
  },
  {
    name: 'a chunk longer than its size',
    sent: `${line}${host}Transfer-Encoding: chunked\r\n\r\n1\r\nxyz\r\n0\r\n\r\n`,
    refused: [400],
  },
  {
    name: 'a chunk size with a sign',
    sent: `${line}${host}Transfer-Encoding: chunked\r\n\r\n+1\r\nx\r\n0\r\n\r\n`,
    refused: [400],
  },
  {
    name: 'a chunk size beyond 64 bits',
    sent: `${line}${host}Transfer-Encoding: chunked\r\n\r\n10000000000000001\r\nx\r\n0\r\n\r\n`,
    refused: [400],
  },
  {
    name: 'a length in a trailer',
    sent: `${line}${host}Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nContent-Length: 9\r\n\r\n`,
    refused: [400],
  },
  {
    name: 'a trailer',
    sent: `${line}${host}Transfer-Encoding: chunked\r\nTrailer: X\r\n\r\n1\r\nx\r\n0\r\nX: 9\r\n\r\n`,
    upstream: asked('POST /x', 'content-length: 1\r\n\r\nx'),
  },
  {
    name: 'an absolute target',
    sent: `POST http://b/x HTTP/1.1\r\n${host}${length('x')}\r\nx`,
    refused: [400],
  },
  { name: 'a target that is an asterisk', sent: `OPTIONS * HTTP/1.1\r\n${host}\r\n`, refused: [400] },
  { name: 'a target without a slash', sent: `POST x HTTP/1.1\r\n${host}${length('x')}\r\nx`, refused: [400] },
  {
    name: 'a backslash in the target',
    sent: `POST /a\\..\\b HTTP/1.1\r\n${host}${length('x')}\r\nx`,
    refused: [400],
  },
  {
    name: 'a fragment in the target',
    sent: `POST /a#b HTTP/1.1\r\n${host}${length('x')}\r\nx`,
    refused: [400],
  },
  {
    name: 'a control byte in the target',
    sent: `POST /a\x01b HTTP/1.1\r\n${host}${length('x')}\r\nx`,
    refused: [400],
  },
  {
    name: 'byte 0xFF in the target',
    sent: `POST /a\xffb HTTP/1.1\r\n${host}${length('x')}\r\nx`,
    refused: [400],
  },
  {
    name: 'a space in the target',
    sent: `POST /a b HTTP/1.1\r\n${host}${length('x')}\r\nx`,
    refused: [400, 505],
  },
  {
    name: 'an encoded line end in the target',
    sent: `POST /a%0d%0aX:%20b HTTP/1.1\r\n${host}${length('x')}\r\nx`,
    upstream: asked('POST /a%0d%0aX:%20b', 'content-length: 1\r\n\r\nx'),
  },
  {
    name: 'two slashes in front',
    sent: `POST //b/x HTTP/1.1\r\n${host}${length('x')}\r\nx`,
    upstream: asked('POST //b/x', 'content-length: 1\r\n\r\nx'),
  },
  {
    name: 'byte 0xFF in a header',
    sent: `${line}${host}X: a\xffb\r\n${length('x')}\r\nx`,
    upstream: asked('POST /x', 'X: a\xffb\r\ncontent-length: 1\r\n\r\nx'),
  },
  {
    name: 'byte 0xFF in the method',
    sent: `PO\xffST /x HTTP/1.1\r\n${host}${length('x')}\r\nx`,
    refused: [400],
  },
  { name: 'a method in lower case', sent: `post /x HTTP/1.1\r\n${host}${length('x')}\r\nx`, refused: [400] },
  { name: 'an unusual method', sent: `PROPFIND /x HTTP/1.1\r\n${host}${length('x')}\r\nx`, refused: [405] },
  { name: 'CONNECT', sent: `CONNECT b:443 HTTP/1.1\r\n${host}\r\n`, refused: [400, 405] },
  { name: 'TRACE', sent: `TRACE /x HTTP/1.1\r\n${host}\r\n`, refused: [405] },
  {
    name: 'Upgrade',
    sent: `GET /x HTTP/1.1\r\n${host}Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n`,
    refused: [400],
  },
  { name: 'the HTTP/2 preface', sent: 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', refused: [] },
  { name: 'HTTP/2.0 in the request line', sent: `GET /x HTTP/2.0\r\n${host}\r\n`, refused: [400, 505] },
  { name: 'HTTP/1.2', sent: `GET /x HTTP/1.2\r\n${host}\r\n`, refused: [400, 505] },
  { name: 'HTTP/0.9', sent: 'GET /x\r\n\r\n', refused: [400, 505] },
  {
    name: 'Expect: 100-continue',
    sent: `${line}${host}Expect: 100-continue\r\n${length('x')}\r\nx`,
    refused: [417],
  },
  { name: 'another Expect', sent: `${line}${host}Expect: something\r\n${length('x')}\r\nx`, refused: [417] },
  {
    name: 'Connection naming Host',
    sent: `${line}${host}Connection: close, host\r\n${length('x')}\r\nx`,
    refused: [400],
  },
  {
    name: 'Connection naming Content-Length',
    sent: `${line}${host}Connection: content-length\r\n${length(smuggled)}\r\n${smuggled}`,
    refused: [400],
  },
  {
    name: 'Connection naming Cookie',
    sent: `${line}${host}Connection: Cookie\r\nCookie: a=b\r\n${length('x')}\r\nx`,
    refused: [400],
  },
  {
    name: 'GET with a body that is a request',
    sent: `GET /x HTTP/1.1\r\n${host}${length(smuggled)}\r\n${smuggled}`,
    upstream: asked('GET /x', `content-length: ${smuggled.length}\r\n\r\n${smuggled}`),
  },
  {
    name: 'a body that is a request',
    sent: `${line}${host}${length(smuggled)}\r\n${smuggled}`,
    upstream: asked('POST /x', `content-length: ${smuggled.length}\r\n\r\n${smuggled}`),
  },
  {
    name: 'empty lines before the request',
    sent: `\r\n\r\n${line}${host}${length('x')}\r\nx`,
    upstream: asked('POST /x', 'content-length: 1\r\n\r\nx'),
  },
  { name: 'a TLS hello on a clear connection', sent: '\x16\x03\x01\x02\x00\x01\x00\x01\xfc', refused: [400] },
];

t.test('a request is refused and the connection closed, or upstream gets exactly that request', async (t) => {
  const upstream = await startRawUpstream(t, answering(ok()));
  const wpi = await startWpi(t, { upstream: upstream.url, limits: { lingerMs: 5_000 } });
  t.ok(vectors.length >= 60, `${vectors.length} vectors`);
  for (const { name, sent, refused, upstream: expected } of vectors) {
    const before = upstream.connections.length;
    const phone = await wpi.phone();
    phone.send(sent);
    if (refused !== undefined) {
      const how = await phone.over;
      const status = Number(/^HTTP\/1\.1 (\d{3}) /.exec(phone.received())?.[1] ?? 0);
      t.ok(
        refused.length === 0 ? status === 0 || status >= 400 : refused.includes(status),
        `${name}: refused, ${status} ${how}`,
      );
      t.equal(
        phone.received().split('HTTP/1.1 ').length,
        status === 0 ? 1 : 2,
        `${name}: one answer at most`,
      );
      t.equal(upstream.connections.length, before, `${name}: upstream saw nothing`);
    } else {
      assert(expected !== undefined);
      const { head } = await phone.answer();
      t.match(head, /^HTTP\/1\.1 200 /, `${name}: answered`);
      // What the phone sent is used up: the next request is its own.
      phone.send(`GET /next HTTP/1.1\r\n${host}\r\n`);
      t.match((await phone.answer()).head, /^HTTP\/1\.1 200 /, `${name}: in step afterwards`);
      const received = upstream.connections
        .slice(before)
        .map((connection) => connection.received())
        .join('');
      t.equal(received, `${expected}${asked('GET /next', '\r\n')}`, `${name}: upstream got exactly it`);
      phone.socket.destroy();
    }
  }
});

import t from 'tap';
import {
  createAnswerReader,
  HttpFault,
  type HttpAnswer,
  type ReaderOptions,
} from '../../phones/http-reader.ts';

function read(text: string, options?: ReaderOptions): HttpAnswer {
  const reader = createAnswerReader(options);
  if (!reader.push(Buffer.from(text, 'latin1'))) reader.end();
  return reader.answer();
}

const ANSWERS: Record<string, { text: string; body: string; close: boolean; chunked?: boolean }> = {
  'with a length': { text: 'HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc', body: 'abc', close: false },
  'without a reason phrase': { text: 'HTTP/1.1 202\r\nContent-Length: 0\r\n\r\n', body: '', close: false },
  'with 204 and no length': { text: 'HTTP/1.1 204 No Content\r\n\r\n', body: '', close: false },
  'of HTTP/1.0 that ends with the connection': {
    text: 'HTTP/1.0 200 OK\r\n\r\nabc',
    body: 'abc',
    close: true,
  },
  'that announces close': {
    text: 'HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx',
    body: 'x',
    close: true,
  },
  'in chunks': {
    text: 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n',
    body: 'abc0123456789',
    close: false,
    chunked: true,
  },
};

for (const [name, { text, body, close, chunked }] of Object.entries(ANSWERS)) {
  t.test(`an answer ${name} is read, wherever it is split`, async (t) => {
    for (let cut = 0; cut <= text.length; cut += 1) {
      const reader = createAnswerReader({ acceptChunked: chunked ?? false });
      let done = false;
      for (const piece of [text.slice(0, cut), text.slice(cut)]) {
        if (piece !== '' && !done) done = reader.push(Buffer.from(piece, 'latin1'));
      }
      if (!done) reader.end();
      const answer = reader.answer();
      if (
        answer.body.toString() !== body ||
        answer.close !== close ||
        answer.raw.toString('latin1') !== text
      ) {
        t.fail(`split at ${cut}`, answer);
      }
    }
    t.pass('every split read the same');
  });
}

const FAULTS: [reason: string, text: string][] = [
  ['malformed', 'HTTP/2 200\r\n\r\n'],
  ['malformed', '<br>HTTP/1.1 200 OK\r\n\r\n'],
  ['malformed', 'HTTP/1.1 200 OK\r\nno colon\r\n\r\n'],
  ['malformed', 'HTTP/1.1 200 OK\r\n\r\n'],
  ['malformed', 'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n'],
  ['malformed', 'HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab'],
  ['chunked', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'],
  ['cut', 'HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab'],
  ['cut', 'HTTP/1.1 200'],
  ['too-large', 'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabcdef'],
];

for (const [reason, text] of FAULTS) {
  t.test(`${reason}: ${JSON.stringify(text)}`, async (t) => {
    try {
      read(text, { maxBody: 5 });
      t.fail('it was taken');
    } catch (error) {
      t.equal(error instanceof HttpFault && error.reason, reason);
    }
  });
}

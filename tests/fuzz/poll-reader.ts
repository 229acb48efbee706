import { SITE_BYTES } from '../../proxy/marks-layout.ts';
import { RequestReader } from '../../proxy/poll/request-reader.ts';
import { scanHeader } from '../../proxy/poll/header-scan.ts';
import { DEFAULT_POLL_LIMITS } from '../../proxy/poll/limits.ts';
import { createRoutes } from '../../proxy/poll/routes.ts';
import { mutate, pick } from './mutate.ts';
import type { Random } from './mutate.ts';
import { readRequests } from './reference.ts';

const DEVICE = '00:1a:e8:00:00:01';
const REQUESTS = [
  `GET /dcmp/contact-me?device-id=${DEVICE} HTTP/1.1\r\nHost: a\r\n\r\n`,
  `HEAD //contact-me?x=1&device-id=00%3A1a%3ae8-00-00-01 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n`,
  `GET http://a/dcmp/contact-me?device-id=001AE8000001 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n`,
];
const PIECES = [
  '\r\n',
  '\n',
  '\r',
  '\0',
  ' ',
  '\t',
  '%00',
  '%',
  '&device-id=b',
  '#',
  '?',
  'Content-Length: 1\r\n',
  'Transfer-Encoding: chunked\r\n',
  'Host: b\r\n',
  ':',
  '\xff',
];
const reader = new RequestReader(createRoutes([{ number: 0, prefixes: null, secret: false }]));

/** A header comes out the same in one piece and in many; what is taken for a poll is a plain request for one device. */
export function pollReader(random: Random): string | null {
  const text = mutate(random, pick(random, REQUESTS), PIECES);
  const bytes = Buffer.from(text, 'latin1');
  const whole = { seen: 0, line: 0, blank: 0 };
  const length = scanHeader(bytes, 0, whole, DEFAULT_POLL_LIMITS);
  const state = { seen: 0, line: 0, blank: 0 };
  let inPieces = 0;
  for (let end = 0; end < bytes.length && inPieces === 0;) {
    end = Math.min(bytes.length, end + 1 + Math.floor(random() * 9));
    inPieces = scanHeader(bytes.subarray(0, end), 0, state, DEFAULT_POLL_LIMITS);
  }
  if (inPieces !== length) return `${length} in one piece, ${inPieces} in many: ${JSON.stringify(text)}`;
  if (length <= 0) return null;
  const kind = reader.read(bytes, whole.blank, length);
  if (kind !== 'poll') return null;
  const id = reader.key.toString('latin1', SITE_BYTES, reader.keyEnd);
  if (!/^[0-9a-z:.\-_+]{1,64}$/.test(id)) return `device ${JSON.stringify(id)}: ${JSON.stringify(text)}`;
  // The reference knows no absolute targets; those are the poll reader's own.
  const plain = readRequests(text.slice(0, length).replace(/^(\r\n)?([A-Z]+) https?:\/\/[^/ ]+/i, '$2 '));
  return plain?.length === 1 && (plain[0]?.body ?? '') === ''
    ? null
    : `not plain, and taken: ${JSON.stringify(text)}`;
}

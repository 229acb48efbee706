import type { ServerResponse } from 'node:http';
import type { AnswerHead } from './answer.ts';
import { endToEndHeaders, headerValues } from './headers.ts';
import type { RawHeaders } from './observer.ts';

/** A body is handed to the phone's connection in pieces, to see whether the phone takes them. */
const PIECE_BYTES = 65_536;

/**
 * Writes the head of an answer towards a phone: upstream's end-to-end headers as they are, then `extra`.
 *
 * @param length - of the body that follows; null where an answer of this kind has none
 * @throws TypeError when Node finds a header that cannot be written
 */
export function writeAnswerHead(
  response: ServerResponse,
  head: AnswerHead,
  extra: RawHeaders,
  length: number | null,
  close: boolean,
): void {
  // RFC 9110 §8.6: none in a 204; old clients might wait for the body.
  const headers = endToEndHeaders(head.headers, head.status === 204 ? ['content-length'] : []);
  if (length !== null && headerValues(headers, 'content-length').length === 0) {
    headers.push('Content-Length', String(length));
  }
  headers.push(...extra);
  if (close) headers.push('Connection', 'close');
  // A missing Date is upstream's business.
  response.sendDate = false;
  response.writeHead(head.status, /^[\t\x20-\x7e]*$/.test(head.reason) ? head.reason : '', headers);
}

/** A body up to this goes to Node as text, a byte a character, which it joins with the head: they leave by one write. */
const SMALL_BYTES = 4_096;

/** Writes a whole body at the phone's speed; `progress` comes with each piece that is handed over. */
export function writeBody(
  response: ServerResponse,
  body: Buffer,
  progress: () => void,
  sent: () => void,
): void {
  if (body.length <= SMALL_BYTES) {
    progress();
    response.end(body.toString('latin1'), 'latin1', sent);
    return;
  }
  let at = 0;
  const next = (): void => {
    progress();
    while (body.length - at > PIECE_BYTES) {
      const piece = body.subarray(at, at + PIECE_BYTES);
      at += PIECE_BYTES;
      if (!response.write(piece)) return;
    }
    response.off('drain', next);
    response.end(body.subarray(at), sent);
  };
  response.on('drain', next);
  next();
}

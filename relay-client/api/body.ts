import type { IncomingMessage } from 'node:http';
import { ApiError } from './errors.ts';

/**
 * Reads a JSON body of at most `limit` bytes. No body at all reads as `{}`.
 *
 * @throws ApiError `TOO_LARGE`, `CONTENT_TYPE_REFUSED`, `REQUEST_INVALID`
 */
export async function readJson(request: IncomingMessage, limit: number): Promise<unknown> {
  const declared = Number(request.headers['content-length'] ?? 0);
  if (declared > limit) throw tooLarge(limit);
  const bodied = declared > 0 || request.headers['transfer-encoding'] !== undefined;
  // A browser sends other types across origins without asking first, so JSON must be called JSON.
  if (bodied) demandType(request, ['application/json']);
  const body = await readWhole(request, limit);
  return body.length === 0 ? {} : parseJson(body);
}

/** By events: an iterator over the request would cost a push more than its JSON does. */
function readWhole(request: IncomingMessage, limit: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const parts: Buffer[] = [];
    let size = 0;
    const take = (part: Buffer): void => {
      size += part.length;
      if (size <= limit) return void parts.push(part);
      // What else comes is drained once the answer has been written.
      request.off('data', take);
      request.pause();
      reject(tooLarge(limit));
    };
    request.on('data', take);
    request.once('end', () => resolve(Buffer.concat(parts)));
    request.once('error', reject);
    request.once('close', () => reject(new Error('the request was cut')));
  });
}

/** @throws ApiError `CONTENT_TYPE_REFUSED` unless the body is of one of `types` */
export function demandType(request: IncomingMessage, types: readonly string[]): void {
  const type = (request.headers['content-type'] ?? '').split(';')[0]?.trim().toLowerCase() ?? '';
  if (types.includes(type)) return;
  throw new ApiError(
    'CONTENT_TYPE_REFUSED',
    `A body here is sent with content-type ${types.join(' or ')}, not ${type === '' ? 'without any' : JSON.stringify(type.slice(0, 80))}`,
  );
}

const utf8 = new TextDecoder('utf-8', { fatal: true });

/** @throws ApiError `REQUEST_INVALID`; never quotes the text, which may hold a secret */
export function parseJson(bytes: Buffer): unknown {
  try {
    return JSON.parse(utf8.decode(bytes));
  } catch {
    throw new ApiError('REQUEST_INVALID', 'The body is no valid JSON in UTF-8', { field: 'body' });
  }
}

export interface Line {
  /** From 1. */
  number: number;
  /** The line without its end; null where it was longer than the limit. */
  bytes: Buffer | null;
}

const LINE_FEED = 0x0a;
const CARRIAGE_RETURN = 0x0d;

/**
 * Cuts a request's body into lines, holding one line and one chunk at a time, and gives those that end in a chunk
 * together: to wait for each would cost more than to read it. Empty lines are counted and left out; of a line over
 * `limit` bytes only its number is told.
 */
export async function* readLines(request: AsyncIterable<Buffer>, limit: number): AsyncGenerator<Line[]> {
  let number = 1;
  let parts: Buffer[] = [];
  let size = 0;
  const take = (part: Buffer): void => {
    size += part.length;
    if (size <= limit) parts.push(part);
    else parts = [];
  };
  const finish = (): Line | null => {
    const [only = Buffer.alloc(0)] = parts;
    const bytes = size > limit ? null : withoutReturn(parts.length > 1 ? Buffer.concat(parts) : only);
    const line = { number: number++, bytes };
    parts = [];
    size = 0;
    return bytes !== null && bytes.length === 0 ? null : line;
  };
  for await (const chunk of request) {
    const lines: Line[] = [];
    let from = 0;
    for (let end = chunk.indexOf(LINE_FEED); end !== -1; end = chunk.indexOf(LINE_FEED, from)) {
      take(chunk.subarray(from, end));
      from = end + 1;
      const line = finish();
      if (line !== null) lines.push(line);
    }
    take(chunk.subarray(from));
    if (lines.length > 0) yield lines;
  }
  const last = size > 0 ? finish() : null;
  if (last !== null) yield [last];
}

function withoutReturn(line: Buffer): Buffer {
  return line.at(-1) === CARRIAGE_RETURN ? line.subarray(0, -1) : line;
}

function tooLarge(limit: number): ApiError {
  return new ApiError('TOO_LARGE', `The body is over ${limit} bytes`);
}

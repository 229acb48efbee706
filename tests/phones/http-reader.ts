/** Reads one HTTP/1.x answer from a byte stream, as strictly as an embedded phone would. */

/** Why an exchange or a connection failed, as counted in the statistics. */
export type FaultReason =
  | 'refused'
  | 'unreachable'
  | 'connect-timeout'
  | 'tls'
  | 'timeout'
  | 'cut'
  | 'malformed'
  | 'chunked'
  | 'too-large'
  | 'closed';

/** A failed exchange; `reason` is stable, `message` is for people. */
export class HttpFault extends Error {
  override name = 'HttpFault';
  readonly reason: FaultReason;
  constructor(reason: FaultReason, message: string, options?: ErrorOptions) {
    super(message, options);
    this.reason = reason;
  }
}

/** A complete answer. `raw` holds every byte of it, unless the body was streamed to `onBody`. */
export type HttpAnswer = {
  version: '1.0' | '1.1';
  status: number;
  /** Names as sent, values trimmed, in order. */
  headers: [name: string, value: string][];
  body: Buffer;
  raw: Buffer;
  /** The service will not take another request on this connection. */
  close: boolean;
};

export type ReaderOptions = {
  /** Largest body kept in memory, bytes. Default 1 MiB; ignored with `onBody`. */
  maxBody?: number;
  /** Firmware up to V2R2 cannot read chunked answers (DG p.12), so the default is false: such an answer is a fault. */
  acceptChunked?: boolean;
  /** Receives the body piece by piece instead of collecting it (downloads). */
  onBody?: (piece: Buffer) => void;
};

export const MAX_HEAD_BYTES = 16 * 1024;
export const DEFAULT_MAX_BODY_BYTES = 1024 * 1024;

export type AnswerReader = {
  /** Takes the next bytes; true once the answer is complete. @throws HttpFault */
  push(chunk: Buffer): boolean;
  /** The peer ended the stream; true when that completes the answer. @throws HttpFault `cut` */
  end(): boolean;
  answer(): HttpAnswer;
  /** Whether any byte has arrived. */
  started(): boolean;
};

/** The first header of that name, letter case ignored. */
export function header(headers: HttpAnswer['headers'], name: string): string | undefined {
  const wanted = name.toLowerCase();
  return headers.find(([key]) => key.toLowerCase() === wanted)?.[1];
}

type Framing = { kind: 'length'; left: number } | { kind: 'close' } | { kind: 'chunked' };

export function createAnswerReader(options: ReaderOptions = {}): AnswerReader {
  const maxBody = options.maxBody ?? DEFAULT_MAX_BODY_BYTES;
  const pieces: Buffer[] = [];
  const raw: Buffer[] = [];
  let pending: Buffer = Buffer.alloc(0);
  let head: Omit<HttpAnswer, 'body' | 'raw'> | undefined;
  let framing: Framing = { kind: 'close' };
  let chunkLeft = -1;
  let bodyBytes = 0;
  let any = false;
  let done = false;

  function keep(piece: Buffer): void {
    if (piece.length === 0) return;
    if (options.onBody) return options.onBody(piece);
    bodyBytes += piece.length;
    if (bodyBytes > maxBody) throw new HttpFault('too-large', `answer body above ${maxBody} bytes`);
    pieces.push(piece);
  }

  function body(): boolean {
    if (framing.kind === 'close') {
      keep(pending);
      pending = Buffer.alloc(0);
      return false;
    }
    if (framing.kind === 'chunked') return chunks();
    if (pending.length > framing.left)
      throw new HttpFault('malformed', 'bytes after the announced answer body');
    framing.left -= pending.length;
    keep(pending);
    pending = Buffer.alloc(0);
    return framing.left === 0;
  }

  function chunks(): boolean {
    for (;;) {
      if (chunkLeft > 0) {
        const piece = pending.subarray(0, chunkLeft);
        pending = pending.subarray(piece.length);
        chunkLeft -= piece.length;
        keep(piece);
        if (chunkLeft > 0) return false;
      }
      if (chunkLeft === 0) {
        if (pending.length < 2) return false;
        if (pending.toString('latin1', 0, 2) !== '\r\n') throw new HttpFault('malformed', 'bad chunk end');
        pending = pending.subarray(2);
        chunkLeft = -1;
      }
      const line = pending.indexOf('\r\n');
      if (line < 0) {
        if (pending.length > 1024) throw new HttpFault('malformed', 'chunk size line too long');
        return false;
      }
      const size = /^([0-9a-fA-F]{1,8})\s*(;.*)?$/.exec(pending.toString('latin1', 0, line))?.[1];
      if (size === undefined) throw new HttpFault('malformed', 'bad chunk size');
      if (Number.parseInt(size, 16) === 0) {
        const end = pending.indexOf('\r\n\r\n', line);
        if (end < 0) return false;
        if (end + 4 !== pending.length) throw new HttpFault('malformed', 'bytes after the last chunk');
        return true;
      }
      chunkLeft = Number.parseInt(size, 16);
      pending = pending.subarray(line + 2);
    }
  }

  return {
    push(chunk) {
      any = true;
      if (!options.onBody || !head) raw.push(chunk);
      pending = pending.length === 0 ? chunk : Buffer.concat([pending, chunk]);
      if (!head) {
        const end = pending.indexOf('\r\n\r\n');
        if (end < 0) {
          if (pending.length > MAX_HEAD_BYTES)
            throw new HttpFault('too-large', `answer head above ${MAX_HEAD_BYTES}`);
          return false;
        }
        ({ head, framing } = readHead(pending.toString('latin1', 0, end), options.acceptChunked ?? false));
        pending = pending.subarray(end + 4);
      }
      done = body();
      return done;
    },
    end() {
      if (head && framing.kind === 'close') done = true;
      if (!done)
        throw new HttpFault(
          'cut',
          head ? 'the answer body was cut' : 'no answer before the connection ended',
        );
      return true;
    },
    answer() {
      if (!head || !done) throw new HttpFault('cut', 'the answer is not complete');
      return { ...head, body: Buffer.concat(pieces), raw: Buffer.concat(raw) };
    },
    started: () => any,
  };
}

function readHead(
  text: string,
  acceptChunked: boolean,
): { head: Omit<HttpAnswer, 'body' | 'raw'>; framing: Framing } {
  const [statusLine = '', ...lines] = text.split('\r\n');
  const status = /^HTTP\/(1\.[01]) ([1-5][0-9]{2})(?: .*)?$/.exec(statusLine);
  if (!status) throw new HttpFault('malformed', `bad status line ${JSON.stringify(statusLine.slice(0, 60))}`);
  const headers = lines.map((line): [string, string] => {
    const found = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*$/.exec(line);
    if (!found) throw new HttpFault('malformed', `bad answer header ${JSON.stringify(line.slice(0, 60))}`);
    return [found[1] ?? '', found[2] ?? ''];
  });
  const version = status[1] === '1.0' ? '1.0' : '1.1';
  const code = Number(status[2]);
  const connection = (header(headers, 'connection') ?? '').toLowerCase();
  let close = connection.includes('close') || (version === '1.0' && !connection.includes('keep-alive'));
  const lengths = headers
    .filter(([name]) => name.toLowerCase() === 'content-length')
    .map(([, value]) => value);
  const length = lengths[0];
  let framing: Framing;
  if (header(headers, 'transfer-encoding') !== undefined) {
    if (!acceptChunked) throw new HttpFault('chunked', 'a chunked answer, which older firmware cannot read');
    if (length !== undefined) throw new HttpFault('malformed', 'Content-Length beside Transfer-Encoding');
    framing = { kind: 'chunked' };
  } else if (code === 204 || code === 304) framing = { kind: 'length', left: 0 };
  else if (length !== undefined) {
    if (lengths.some((value) => value !== length) || !/^[0-9]{1,15}$/.test(length)) {
      throw new HttpFault('malformed', `bad Content-Length ${JSON.stringify(lengths.join(', '))}`);
    }
    framing = { kind: 'length', left: Number(length) };
  } else if (close) framing = { kind: 'close' };
  else throw new HttpFault('malformed', 'neither Content-Length nor Connection: close');
  if (framing.kind === 'close') close = true;
  return { head: { version, status: code, headers, close }, framing };
}

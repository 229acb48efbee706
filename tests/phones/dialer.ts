/** Opens connections the way a phone does: one socket, one request at a time, TLS without verification. */
import { connect, isIP, type Socket } from 'node:net';
import { connect as connectTls, createSecureContext, type SecureVersion, type TLSSocket } from 'node:tls';
import {
  createAnswerReader,
  HttpFault,
  type AnswerReader,
  type HttpAnswer,
  type ReaderOptions,
} from './http-reader.ts';

export type Target = { host: string; port: number; tls: boolean };

/** TLS as the phone speaks it. */
export type PhoneTls = {
  /** Default false: in default mode a phone trusts any certificate (DG p.12). */
  verify?: boolean;
  ca?: string | Buffer | (string | Buffer)[];
  /** Client certificate and key, as secure mode demands (DG p.62). */
  cert?: string | Buffer;
  key?: string | Buffer;
  minVersion?: SecureVersion;
  maxVersion?: SecureVersion;
  /** OpenSSL cipher list; `DEFAULT@SECLEVEL=0` together with `TLSv1` imitates old firmware. */
  ciphers?: string;
  /** Sent as SNI and verified; default none sent, the host verified. */
  servername?: string;
};

export type DialerOptions = {
  tls?: PhoneTls;
  /** Connections open at once, further ones wait their turn. Default 0: no limit. */
  maxOpen?: number;
  /** Default 10 000 ms. */
  connectTimeoutMs?: number;
  /** Longest silence while waiting for an answer. Default 30 000 ms. */
  answerTimeoutMs?: number;
};

export type RequestOptions = ReaderOptions;

/** One connection; `request` may be called again once the previous answer is complete. */
export type PhoneConnection = {
  request(bytes: Buffer, options?: RequestOptions): Promise<HttpAnswer>;
  /** Still usable for another request. */
  alive(): boolean;
  /** Negotiated TLS version, or undefined in clear text. */
  tlsVersion(): string | undefined;
  close(): void;
};

export type OpenOptions = {
  localAddress?: string;
  /** Called when the connection's turn has come (see `maxOpen`), just before it is dialled. */
  onTurn?: () => void;
  /** Goes before all that wait: a phone that was called comes at once, however many others want to poll. Default false. */
  first?: boolean;
};

export type Dialer = {
  /** @throws HttpFault with the reason */
  open(target: Target, options?: OpenOptions): Promise<PhoneConnection>;
  readonly openCount: number;
  /** Connections waiting for their turn. */
  readonly waiting: number;
  /** Most connections that were ever open at once. */
  readonly openPeak: number;
  close(): void;
};

/** Splits `http(s)://host[:port]` or `host:port` (the latter is TLS). @throws TypeError */
export function parseTarget(text: string, defaultTls = true): Target {
  const url = new URL(/^https?:\/\//i.test(text) ? text : `${defaultTls ? 'https' : 'http'}://${text}`);
  const tls = url.protocol === 'https:';
  return {
    host: url.hostname.replace(/^\[|\]$/g, ''),
    port: url.port === '' ? (tls ? 443 : 80) : Number(url.port),
    tls,
  };
}

/** `host:port` as it belongs into a Host header or a URL. */
export function hostPort(target: { host: string; port: number }): string {
  return `${target.host.includes(':') ? `[${target.host}]` : target.host}:${target.port}`;
}

export function createDialer(options: DialerOptions = {}): Dialer {
  const connectTimeoutMs = options.connectTimeoutMs ?? 10_000;
  const answerTimeoutMs = options.answerTimeoutMs ?? 30_000;
  const maxOpen = options.maxOpen ?? 0;
  const { verify = false, servername, ...material } = options.tls ?? {};
  const secureContext = createSecureContext(material);
  const sockets = new Set<Socket>();
  const queue: (() => void)[] = [];
  let open = 0;
  let openPeak = 0;
  let closed = false;

  async function turn(first: boolean): Promise<void> {
    if (maxOpen > 0 && open >= maxOpen) {
      await new Promise<void>((resolve) => void (first ? queue.unshift(resolve) : queue.push(resolve)));
    } else open += 1;
    if (closed) throw new HttpFault('closed', 'the simulator is closing');
    openPeak = Math.max(openPeak, open);
  }

  /** Hands the freed place to the next in line, so `open` stays true to the number of places taken. */
  function release(): void {
    const next = queue.shift();
    if (next) next();
    else open -= 1;
  }

  function dial(target: Target, localAddress: string | undefined): Promise<Socket> {
    const to = {
      host: target.host,
      port: target.port,
      ...(localAddress === undefined ? {} : { localAddress }),
    };
    return new Promise((resolve, reject) => {
      const name = servername ?? (verify && isIP(target.host) === 0 ? target.host : '');
      const socket = target.tls
        ? connectTls({ ...to, secureContext, rejectUnauthorized: verify, servername: name })
        : connect({ ...to, noDelay: true });
      let connected = false;
      sockets.add(socket);
      socket.once('close', () => {
        sockets.delete(socket);
        release();
        fail(
          new HttpFault(connected ? 'tls' : 'refused', `${hostPort(target)} ended the connection at once`),
        );
      });
      socket.setTimeout(connectTimeoutMs, () => {
        fail(
          new HttpFault(
            'connect-timeout',
            `${hostPort(target)} did not answer within ${connectTimeoutMs} ms`,
          ),
        );
      });
      const fail = (fault: HttpFault): void => {
        reject(fault);
        if (!settled) socket.destroy();
        settled = true;
      };
      let settled = false;
      const onError = (error: NodeJS.ErrnoException): void => {
        fail(dialFault(error, target, connected && target.tls));
      };
      socket.on('error', onError);
      socket.once('connect', () => {
        connected = true;
        if (!target.tls) ready();
        else socket.setNoDelay(true);
      });
      if (target.tls) socket.once('secureConnect', ready);
      function ready(): void {
        if (settled) return;
        settled = true;
        socket.removeAllListeners('timeout');
        socket.setTimeout(0);
        resolve(socket);
      }
    });
  }

  return {
    async open(target, { localAddress, onTurn, first = false } = {}) {
      if (!(target.port > 0 && target.port < 65536))
        throw new HttpFault('unreachable', `bad port ${target.port}`);
      await turn(first);
      onTurn?.();
      const socket = await dial(target, localAddress);
      return converse(socket, answerTimeoutMs);
    },
    get openCount() {
      return open;
    },
    get waiting() {
      return queue.length;
    },
    get openPeak() {
      return openPeak;
    },
    close() {
      closed = true;
      for (const socket of sockets) socket.destroy();
      for (const next of queue.splice(0)) next();
    },
  };
}

function dialFault(error: NodeJS.ErrnoException, target: Target, handshaking: boolean): HttpFault {
  const where = hostPort(target);
  if (handshaking)
    return new HttpFault('tls', `TLS with ${where} failed: ${error.message}`, { cause: error });
  if (error.code === 'ECONNREFUSED' || error.code === 'ECONNRESET') {
    return new HttpFault('refused', `${where} refused the connection`, { cause: error });
  }
  return new HttpFault('unreachable', `${where} cannot be reached: ${error.message}`, { cause: error });
}

function converse(socket: Socket, answerTimeoutMs: number): PhoneConnection {
  type Waiting = {
    reader: AnswerReader;
    resolve: (answer: HttpAnswer) => void;
    reject: (fault: HttpFault) => void;
  };
  let waiting: Waiting | undefined;
  let usable = true;

  function settle(step: (reader: AnswerReader) => boolean): void {
    const current = waiting;
    if (!current) return;
    try {
      if (!step(current.reader)) return;
      const answer = current.reader.answer();
      finish(answer.close);
      current.resolve(answer);
    } catch (error) {
      finish(true);
      current.reject(
        error instanceof HttpFault ? error : new HttpFault('malformed', String(error), { cause: error }),
      );
    }
  }

  function finish(drop: boolean): void {
    waiting = undefined;
    socket.setTimeout(0);
    if (drop) close();
  }

  function close(): void {
    usable = false;
    socket.end();
    // A peer that never closes its half must not hold the socket: nothing is read after this point anyway.
    socket.destroySoon();
  }

  socket.on('data', (chunk: Buffer) => {
    if (waiting) settle((reader) => reader.push(chunk));
    else close();
  });
  socket.on('end', () => {
    usable = false;
    settle((reader) => reader.end());
  });
  socket.on('timeout', () => {
    const current = waiting;
    finish(true);
    current?.reject(new HttpFault('timeout', `no answer within ${answerTimeoutMs} ms`));
    socket.destroy();
  });
  socket.on('error', (error) => {
    usable = false;
    const current = waiting;
    waiting = undefined;
    current?.reject(new HttpFault('cut', `the connection broke: ${error.message}`, { cause: error }));
  });
  socket.on('close', () => {
    usable = false;
    settle((reader) => reader.end());
  });

  return {
    request(bytes, options) {
      return new Promise((resolve, reject) => {
        if (!usable) return reject(new HttpFault('cut', 'the connection was already closed'));
        if (waiting)
          return reject(new HttpFault('malformed', 'a request is already under way on this connection'));
        waiting = { reader: createAnswerReader(options), resolve, reject };
        socket.setTimeout(answerTimeoutMs);
        socket.write(bytes);
      });
    },
    alive: () => usable && !socket.destroyed,
    tlsVersion: () =>
      'getProtocol' in socket ? ((socket as TLSSocket).getProtocol() ?? undefined) : undefined,
    close,
  };
}

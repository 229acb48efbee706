import { isIP, Socket } from 'node:net';
import type { SocketConstructorOpts, TcpNetConnectOpts } from 'node:net';
import { connect as connectTls } from 'node:tls';
import type { ConnectionOptions, TLSSocket } from 'node:tls';
import type { Clock, Milliseconds } from '../../shared/clock.ts';
import { describeError, SallyportError } from '../../shared/errors.ts';
import type { Address } from '../../shared/address.ts';
import { formatAddress } from '../../shared/address.ts';
import { pinOf } from '../../shared/key-pair.ts';
import type { Pin } from '../../shared/key-pair.ts';

/** Takes the connection or the reason why there's none; called once. */
export type Dialled = (error: SallyportError | null, socket: Socket | null) => void;

/** How a connection begins. */
export interface DialManner {
  /** Local address that it's made from, IPv4. Default: the system's choice. */
  from?: string;
  /** Its first bytes, before any TLS, once it's known where it leads. Default: none. */
  header?: (to: Address) => Buffer;
  /** Makes its socket. Default: an ordinary one. */
  make?: (options: SocketConstructorOpts) => Socket;
}

/** What a TLS connection stands on: one that's there, or one to be made. */
type TlsOver = Pick<ConnectionOptions, 'socket'> & Pick<TcpNetConnectOpts, 'localAddress' | 'family'>;

/** Bytes read from a socket at once, and written before it counts as full. */
const SOCKET_BYTES = 65_536;

/**
 * Opens a TCP connection.
 *
 * @returns the way to give up; `done` is not called then
 */
export function dialTcp(
  address: Address,
  clock: Clock,
  limitMs: Milliseconds,
  done: Dialled,
  { from, header, make = (options) => new Socket(options) }: DialManner = {},
): () => void {
  const options = {
    host: address.host,
    port: address.port,
    noDelay: true,
    keepAlive: true,
    allowHalfOpen: true,
    highWaterMark: SOCKET_BYTES,
    ...localTo(from),
  };
  const socket = make(options).connect(options);
  const begin = (): null => {
    if (header !== undefined) {
      socket.write(header({ host: socket.remoteAddress ?? '', port: socket.remotePort ?? 0 }));
    }
    return null;
  };
  return settle(socket, 'connect', formatAddress(address), clock, limitMs, begin, done);
}

/** What a TLS connection to upstream trusts. */
export interface DialTls {
  /** PEM; null = the system's authorities. */
  ca: string | null;
  /** Null = the certificate is judged by authority and name. */
  pin: Pin | null;
  verify: boolean;
}

/** Opens TLS connections to one upstream, resuming earlier sessions with it. */
export interface TlsDialler {
  /** @returns the way to give up; `done` is not called then */
  dial(done: Dialled, manner?: DialManner): () => void;
}

/** A dialler for `address`. HTTP/1.1 is the one protocol offered, so an upstream that knows HTTP/2 speaks 1.1. */
export function createTlsDialler(
  address: Address,
  trust: DialTls,
  clock: Clock,
  limitMs: Milliseconds,
): TlsDialler {
  const name = formatAddress(address);
  const byPin = trust.pin !== null;
  const options: ConnectionOptions = {
    host: address.host,
    port: address.port,
    ALPNProtocols: ['http/1.1'],
    rejectUnauthorized: trust.verify && !byPin,
    // An address is no server name (RFC 6066 §3); it is still checked against the certificate.
    ...(isIP(address.host) === 0 ? { servername: address.host } : {}),
    ...(trust.ca === null ? {} : { ca: trust.ca }),
  };
  let session: Buffer | null = null;

  return {
    dial(done, { from, header } = {}) {
      if (header === undefined) return handshake(localTo(from), limitMs, done);
      const until = clock.monotonic() + limitMs;
      let giveUp = dialTcp(
        address,
        clock,
        limitMs,
        (error, carrier) => {
          if (carrier === null) return done(error, null);
          giveUp = handshake({ socket: carrier }, Math.max(1, until - clock.monotonic()), done);
        },
        { header, ...(from === undefined ? {} : { from }) },
      );
      return () => giveUp();
    },
  };

  function handshake(over: TlsOver, withinMs: Milliseconds, done: Dialled): () => void {
    const socket = connectTls({ ...options, ...over, ...(session === null ? {} : { session }) });
    socket.setNoDelay(true);
    socket.setKeepAlive(true, 60_000);
    let trusted = false;
    let offered: Buffer | null = null;
    // Only a session of a server that passed the checks is resumed: resuming skips them.
    socket.on('session', (ticket) => {
      if (trusted) session = ticket;
      else offered = ticket;
    });
    const check = (): SallyportError | null => {
      // A resumed session shows no certificate; the server that took it up is the one that passed when it was made.
      const error = byPin && !socket.isSessionReused() ? checkPin(socket, trust.pin, name) : null;
      trusted = error === null;
      if (trusted && offered !== null) session = offered;
      return error;
    };
    return settle(socket, 'secureConnect', name, clock, withinMs, check, (error, result) => {
      if (error !== null) session = null;
      done(error, result);
    });
  }
}

/** An IPv4 address can only lead to another one, whatever else the name of upstream stands for. */
function localTo(from: string | undefined): { localAddress?: string; family?: 4 } {
  return from === undefined ? {} : { localAddress: from, family: 4 };
}

function checkPin(socket: TLSSocket, pin: Pin | null, name: string): SallyportError | null {
  const certificate = socket.getPeerX509Certificate();
  if (certificate !== undefined && pinOf(certificate) === pin) return null;
  return new SallyportError(
    'PIN_MISMATCH',
    `upstream ${name} has another key than the pin in upstream_tls; if its key was renewed, put the new pin there`,
  );
}

function settle(
  socket: Socket,
  event: 'connect' | 'secureConnect',
  name: string,
  clock: Clock,
  limitMs: Milliseconds,
  check: () => SallyportError | null,
  done: Dialled,
): () => void {
  let over = false;
  const fail = (error: SallyportError): void => {
    if (over) return;
    over = true;
    timer.cancel();
    socket.destroy();
    done(error, null);
  };
  const onError = (cause: Error): void =>
    fail(new SallyportError('UPSTREAM_REFUSED', `upstream ${name}: ${describeError(cause)}`, { cause }));
  const onClose = (): void =>
    fail(new SallyportError('UPSTREAM_REFUSED', `upstream ${name} closed the connection at once`));
  const timer = clock.after(limitMs, () =>
    fail(new SallyportError('UPSTREAM_TIMEOUT', `upstream ${name} took no connection within ${limitMs} ms`)),
  );
  // Stays: a socket that fails after it was given up must not take the process with it.
  socket.on('error', onError);
  socket.once('close', onClose);
  socket.once(event, () => {
    if (over) return;
    const error = check();
    if (error !== null) return fail(error);
    over = true;
    timer.cancel();
    socket.off('close', onClose);
    done(null, socket);
  });
  return () => {
    if (over) return;
    over = true;
    timer.cancel();
    socket.destroy();
  };
}

import { AsyncLocalStorage } from 'node:async_hooks';
import { createSecureContext, createServer } from 'node:tls';
import type { SecureContextOptions, TLSSocket } from 'node:tls';
import type { Duplex } from 'node:stream';
import type { Clock, Milliseconds, Timer } from '../../shared/clock.ts';
import { describeError, SallyportError } from '../../shared/errors.ts';
import { tlsProfileOptions } from '../../shared/tls-profile.ts';
import { readAuthorities, readNamedFile } from './authorities.ts';
import type { PhoneTlsConfig } from './config.ts';

/** Ends the TLS of phones whose bytes come sealed through the DMZ. */
export interface PhoneTls {
  /**
   * Takes a phone's stream; `established` gets the clear side. A failed or slow handshake destroys the stream and
   * calls `failed`. After that, the end of the one is the end of the other.
   */
  accept(stream: Duplex, established: (socket: TLSSocket) => void, failed: (why: string) => void): void;
  /** Re-reads certificate, key and authorities; throws with the old ones kept. Connections keep what they have. */
  reload(): void;
}

interface Handshake {
  established(socket: TLSSocket): void;
  failed(error: Error): void;
}

/**
 * @param goodbyeMs - how long a phone that has ended TLS has to end its connection too
 * @throws SallyportError FILE_UNREADABLE, KEY_INVALID
 */
export function createPhoneTls(
  config: PhoneTlsConfig,
  clock: Clock,
  handshakeMs: Milliseconds,
  goodbyeMs: Milliseconds,
): PhoneTls {
  // A server that never listens: it takes streams of any kind, checks client certificates and issues tickets. It
  // does not tell which stream a finished handshake belongs to, so that goes with the asynchronous context.
  const handshakes = new AsyncLocalStorage<Handshake>();
  const server = createServer({
    ...readContext(config),
    requestCert: config.clientCa !== null,
    rejectUnauthorized: true,
    handshakeTimeout: handshakeMs * 2,
    ALPNProtocols: ['http/1.1'],
  });
  server.on('secureConnection', (socket) => handshakes.getStore()?.established(socket));
  server.on('tlsClientError', (error, socket) => {
    handshakes.getStore()?.failed(error);
    socket.destroy();
  });

  return {
    accept(stream, established, failed) {
      let over = false;
      const fail = (why: string): void => {
        if (over) return;
        over = true;
        timer.cancel();
        stream.destroy();
        failed(why);
      };
      // TLS over a stream that is no socket leaves the stream open when a handshake gets nowhere.
      const timer = clock.after(handshakeMs, () => fail(`no TLS handshake within ${handshakeMs} ms`));
      stream.on('error', (error) => fail(describeError(error)));
      stream.once('close', () => fail('closed during the TLS handshake'));
      // A half-closed phone cannot finish it: what is kept for it would be kept until the timer, at no cost to it.
      stream.once('end', () => fail('ended during the TLS handshake'));
      const handshake: Handshake = {
        failed: (error) => fail(describeError(error)),
        established(socket) {
          if (over) return void socket.destroy();
          over = true;
          timer.cancel();
          // Neither of them always takes the other along by itself: a TLS error leaves the stream open.
          socket.once('error', () => stream.destroy());
          socket.once('close', () => stream.destroy());
          stream.once('close', () => socket.destroy());
          awaitGoodbye(stream, clock, goodbyeMs);
          established(socket);
        },
      };
      handshakes.run(handshake, () => server.emit('connection', stream));
    },
    reload() {
      server.setSecureContext(readContext(config));
    },
  };
}

/** Names looked at in one certificate. */
const NAMES_LIMIT = 32;

/**
 * The names that a verified client certificate gives its owner: common name, serial number, and alternative names of the
 * kinds DNS and URI. Empty where none was asked for.
 */
export function certificateNames(socket: TLSSocket): string[] {
  if (!socket.authorized) return [];
  const { subject, subjectaltname = '' } = socket.getPeerCertificate();
  const others = subjectaltname.split(', ').flatMap((name) => /^(?:DNS|URI):(.+)$/.exec(name)?.[1] ?? []);
  const own = [subject?.CN, subject?.serialNumber].flat().filter((name) => typeof name === 'string');
  return [...own, ...others].slice(0, NAMES_LIMIT);
}

/**
 * TLS destroys the stream that it lies on once both sides have said goodbye. The phone's own end is a moment behind
 * then, and destroying the stream before it comes would cut the phone; so an orderly goodbye leaves it that moment.
 */
function awaitGoodbye(stream: Duplex, clock: Clock, withinMs: Milliseconds): void {
  const destroy = stream.destroy.bind(stream);
  let timer: Timer | null = null;
  stream.destroy = (error) => {
    if (error !== undefined || !stream.writableFinished || stream.readableEnded) return destroy(error);
    timer ??= clock.after(withinMs, () => void destroy());
    return stream.resume();
  };
  stream.once('close', () => timer?.cancel());
}

function readContext(config: PhoneTlsConfig): SecureContextOptions {
  const options: SecureContextOptions = {
    ...tlsProfileOptions(config.profile),
    cert: readNamedFile('tls.cert', config.cert),
    key: readNamedFile('tls.key', config.key),
    ...(config.clientCa === null ? {} : { ca: readAuthorities('tls.client_ca', config.clientCa) }),
  };
  try {
    createSecureContext(options);
  } catch (cause) {
    throw new SallyportError(
      'KEY_INVALID',
      `tls.cert ${config.cert} and tls.key ${config.key} are no usable pair for profile ${config.profile}: ${describeError(cause)}`,
      { cause },
    );
  }
  return options;
}

import { AsyncLocalStorage } from 'node:async_hooks';
import { createServer } from 'node:tls';
import type { SecureContextOptions, TLSSocket } from 'node:tls';
import type { Duplex } from 'node:stream';
import type { Clock, Milliseconds, Timer } from './clock.ts';
import { describeError } from './errors.ts';

/** Ends TLS on streams of any kind, such as those of a lane. */
export interface StreamTls {
  /**
   * Takes a phone's stream; `established` gets the clear side. A failed or slow handshake destroys the stream and
   * calls `failed`. After that, the end of the one is the end of the other.
   */
  accept(stream: Duplex, established: (socket: TLSSocket) => void, failed: (why: string) => void): void;
  /** Shows another certificate from now on; throws with the old one kept. Connections keep what they have. */
  setContext(context: SecureContextOptions): void;
}

interface Handshake {
  established(socket: TLSSocket): void;
  failed(error: Error): void;
}

/**
 * @param clientCertificates - whether phones must show a certificate of the context's `ca`
 * @param goodbyeMs - how long a phone that has ended TLS has to end its connection too
 * @throws what `createServer` of node:tls throws for a context that cannot be used
 */
export function createStreamTls(
  context: SecureContextOptions,
  options: {
    clientCertificates: boolean;
    clock: Clock;
    handshakeMs: Milliseconds;
    goodbyeMs: Milliseconds;
  },
): StreamTls {
  const { clock, handshakeMs, goodbyeMs } = options;
  // A server that never listens: it takes streams of any kind, checks client certificates and issues tickets. It
  // does not tell which stream a finished handshake belongs to, so that goes with the asynchronous context.
  const handshakes = new AsyncLocalStorage<Handshake>();
  const server = createServer({
    ...context,
    requestCert: options.clientCertificates,
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
    setContext: (fresh) => server.setSecureContext(fresh),
  };
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

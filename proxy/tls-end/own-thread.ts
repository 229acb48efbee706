import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { createServer } from 'node:tls';
import { endOfChain } from '../../shared/certificates.ts';
import type { Milliseconds } from '../../shared/clock.ts';
import { describeError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { DoorTls } from '../config.ts';
import { readTlsMaterial } from './tls-end.ts';
import type { TlsEnd } from './tls-end.ts';

/**
 * Ends TLS where the proxy does all else.
 *
 * @throws SallyportError FILE_UNREADABLE, KEY_INVALID
 */
export function createOwnTlsEnd(tls: DoorTls, options: { handshakeMs: Milliseconds; log: Log }): TlsEnd {
  /** Phones at their handshake, by the raw connection's peer, which its TLS socket shares. */
  const waiting = new Map<string, (clear: Duplex) => void>();
  let material = readTlsMaterial(tls);
  const server = createServer({
    ...material,
    requestCert: tls.clientCa !== null,
    rejectUnauthorized: tls.clientCa !== null,
    handshakeTimeout: options.handshakeMs,
    pauseOnConnect: true,
    ALPNProtocols: ['http/1.1'],
  });
  server.on('tlsClientError', (error, socket) => {
    options.log.debug('phone handshake failed', { why: describeError(error) });
    socket.destroy();
  });
  server.on('secureConnection', (socket) => {
    const established = waiting.get(peerOf(socket));
    if (established === undefined) return void socket.destroy();
    socket.allowHalfOpen = true;
    established(socket);
  });

  return {
    accept(socket, established) {
      const peer = peerOf(socket);
      waiting.set(peer, established);
      socket.once('close', () => waiting.delete(peer));
      server.emit('connection', socket);
    },
    notAfter: () => endOfChain(material.cert),
    reload() {
      const fresh = readTlsMaterial(tls);
      server.setSecureContext(fresh);
      material = fresh;
    },
    close: () => undefined,
  };
}

const peerOf = (socket: Socket): string => `${socket.remoteAddress} ${socket.remotePort}`;

import type { Socket } from 'node:net';
import { createServer } from 'node:tls';
import { systemClock, type Milliseconds } from '../../shared/clock.ts';
import { describeError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import { tlsProfileOptions, type TlsProfile } from '../../shared/tls-profile.ts';
import { createProcessTlsEnd } from '../tls-end/own-process.ts';
import { ClearConnection } from './clear-connection.ts';
import type { Connection } from './connection.ts';
import { StreamConnection } from './stream-connection.ts';

/** A certificate chain and its private key, both PEM. */
export interface Certificate {
  cert: string;
  key: string;
}

/** TLS that a listener ends. */
export interface ListenerTls extends Certificate {
  profile: TlsProfile;
  /** Where certificate and key were read. */
  files: Certificate;
  /** With `legacy`: who the process is that ends it; null = who the proxy is. */
  runAs: { uid: number; gid: number } | null;
}

/** Where the TLS of a poll listener ends. */
export interface TlsFront {
  /**
   * Takes a phone's connection.
   *
   * @param address - the phone's address, where a balancer told it; null = ask the connection
   */
  accept(socket: Socket, address: string | null): void;
  /** Takes another certificate for the handshakes to come. */
  setCertificate(certificate: Certificate, ticketKeys: Uint8Array): void;
  /** To be called when no connection is left. */
  close(): void;
}

export interface TlsFrontParts {
  handshakeMs: Milliseconds;
  /** 48 random bytes, the same in all workers, so that a TLS session is resumed by whichever gets it. */
  ticketKeys: Uint8Array;
  /** Most connections at once. */
  connections: number;
  log: Log;
  /** The handshake is done. */
  established(connection: Connection): void;
  /** A handshake failed, or took too long. */
  failed(socket: { destroy(): void }): void;
}

/** Ends TLS in this thread. */
export function createThreadFront(tls: ListenerTls, parts: TlsFrontParts): TlsFront {
  /** The addresses that a balancer told, by the balancer's own port, while TLS stands between. */
  const told = new Map<string, string>();
  const server = createServer({
    ...secureOptions(tls, parts.ticketKeys),
    handshakeTimeout: parts.handshakeMs,
  });
  server.on('secureConnection', (socket) =>
    parts.established(new StreamConnection(socket, false, told.get(endOf(socket)) ?? null)),
  );
  // A handshake that takes too long is reported here with the connection still open.
  server.on('tlsClientError', (_, socket) => parts.failed(socket));
  return {
    accept(socket, address) {
      if (address !== null) {
        const name = endOf(socket);
        told.set(name, address);
        socket.on('close', () => told.delete(name));
      }
      // Without a listener, an error between here and the handshake's own listeners would end the process.
      socket.on('error', () => socket.destroy());
      server.emit('connection', socket);
    },
    setCertificate(certificate, ticketKeys) {
      server.setSecureContext(secureOptions({ ...tls, ...certificate }, ticketKeys));
    },
    close: () => undefined,
  };
}

/**
 * Ends TLS in a process of its own, as session doors for old phones do.
 *
 * @throws SallyportError FILE_UNREADABLE, KEY_INVALID, CONFIG_INVALID
 */
export async function createProcessFront(tls: ListenerTls, parts: TlsFrontParts): Promise<TlsFront> {
  const { cert, key } = tls.files;
  const end = await createProcessTlsEnd(
    { cert, key, profile: tls.profile, clientCa: null, runAs: tls.runAs },
    { most: parts.connections, handshakeMs: parts.handshakeMs, clock: systemClock, log: parts.log },
  );
  return {
    accept(socket, address) {
      const peer = address ?? socket.remoteAddress ?? null;
      let through = false;
      socket.on('error', () => socket.destroy());
      socket.once('close', () => {
        if (!through) parts.failed(socket);
      });
      end.accept(socket, (clear) => {
        through = true;
        parts.established(new ClearConnection(clear, peer));
      });
    },
    setCertificate() {
      try {
        end.reload();
      } catch (error) {
        parts.log.error('a poll door shows its former certificate', { why: describeError(error) });
      }
    },
    close: () => end.close(),
  };
}

/** The options that a change of certificate needs again. */
function secureOptions(tls: Certificate & { profile: TlsProfile }, ticketKeys: Uint8Array) {
  return {
    ...tlsProfileOptions(tls.profile),
    cert: tls.cert,
    key: tls.key,
    ticketKeys: Buffer.from(ticketKeys),
    sessionIdContext: 'sallyport-poll',
  };
}

function endOf(socket: Socket): string {
  return `${socket.remoteAddress} ${socket.remotePort}`;
}

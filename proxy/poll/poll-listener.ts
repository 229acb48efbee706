import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer, type Server as TlsServer } from 'node:tls';
import { parseAllowList, type Address } from '../../shared/address.ts';
import type { Milliseconds } from '../../shared/clock.ts';
import { tlsProfileOptions, type TlsProfile } from '../../shared/tls-profile.ts';
import { parseProxyHeader } from '../proxy-protocol.ts';
import { Connection, ConnectionList, type Connections } from './connections.ts';
import type { PollLimits } from './limits.ts';
import type { PollHandler } from './poll-handler.ts';

/** A certificate chain and its private key, both PEM. */
export interface Certificate {
  cert: string;
  key: string;
}

/** One listener of the poll door, with everything read that was in files. */
export interface PollListenerConfig {
  listen: Address;
  allow: readonly string[];
  /** Every connection begins with a PROXY v2 header, and `allow` is about the address that it tells. */
  proxyProtocol: boolean;
  tls: (Certificate & { profile: TlsProfile }) | null;
}

export interface PollListenerParts {
  connections: Connections;
  handler: PollHandler;
  limits: PollLimits;
  now: () => Milliseconds;
  /** 48 random bytes, the same in all workers, so that a TLS session is resumed by whichever gets it. */
  ticketKeys: Uint8Array;
  /** Whether other threads listen on the same port. */
  reusePort: boolean;
}

/** A listening socket of one worker. */
export interface PollListener {
  /** Listens; resolves to the port, which is of the system's choice where the config's is 0. */
  listen(): Promise<number>;
  /** Takes another certificate for the handshakes to come. Without TLS it does nothing. */
  setCertificate(certificate: Certificate, ticketKeys: Uint8Array): void;
  /** Cuts connections whose PROXY header is late. To be called about once a second. */
  sweep(): void;
  /** Stops listening. Connections stay. */
  close(): void;
}

export function createPollListener(config: PollListenerConfig, parts: PollListenerParts): PollListener {
  const { connections, handler, limits, now } = parts;
  const allow = parseAllowList(config.allow);
  const allowsAll = allow.allowsAll(config.listen.host);
  const secure = config.tls === null ? null : secureServer(config.tls);
  const greeting = new ConnectionList();
  /** The addresses that a balancer told, by the balancer's own port, while TLS stands between. */
  const told = new Map<string, string>();

  const server: Server = createServer({ pauseOnConnect: config.proxyProtocol }, accept);

  function accept(socket: Socket): void {
    if (!config.proxyProtocol && !allowsAll && !allow.allows(socket.remoteAddress)) {
      connections.cut(socket, 'not_allowed');
      return;
    }
    const room = connections.opened();
    const speaksPlainly = secure === null && !config.proxyProtocol;
    if (!speaksPlainly) socket.on('close', () => connections.closed());
    if (room) {
      if (config.proxyProtocol) greet(socket);
      else pass(socket, null, null);
    } else if (speaksPlainly) handler.turnAway(new Connection(socket, true, false, null));
    else connections.cut(socket, 'connections');
  }

  function pass(socket: Socket, address: string | null, head: Buffer | null): void {
    if (secure === null) {
      handler.serve(new Connection(socket, !config.proxyProtocol, false, address), head);
      if (config.proxyProtocol) socket.resume();
      return;
    }
    // Without a listener, an error between here and the handshake's own listeners would end the process.
    socket.on('error', () => socket.destroy());
    if (head !== null && head.length > 0) socket.unshift(head);
    secure.emit('connection', socket);
  }

  /** Reads the balancer's header, then hands the connection on as if the peer had come itself. */
  function greet(socket: Socket): void {
    const connection = new Connection(socket, false, false, null);
    greeting.add(connection, now());
    const leave = (): void => connection.list?.remove(connection);
    const onError = (): void => void socket.destroy();
    const onData = (chunk: Buffer): void => {
      const bytes = connection.carry === null ? chunk : Buffer.concat([connection.carry, chunk]);
      const header = parseProxyHeader(bytes);
      if (header.result === 'more') {
        connection.carry = bytes;
        return;
      }
      socket.off('data', onData).off('error', onError).off('close', leave).pause();
      leave();
      if (header.result === 'refused') {
        connections.cut(socket, 'proxy_header');
        return;
      }
      const address = header.source?.address ?? socket.remoteAddress ?? null;
      if (!allow.allows(address ?? undefined)) {
        connections.cut(socket, 'not_allowed');
        return;
      }
      if (secure !== null && address !== null) {
        const name = endOf(socket);
        told.set(name, address);
        socket.on('close', () => told.delete(name));
      }
      pass(socket, address, bytes.subarray(header.bytes));
    };
    socket.on('data', onData).on('error', onError).on('close', leave).resume();
  }

  function secureServer(tls: Certificate & { profile: TlsProfile }): TlsServer {
    const tlsServer = createTlsServer({
      ...secureOptions(tls, parts.ticketKeys),
      handshakeTimeout: limits.handshakeMs,
    });
    tlsServer.on('secureConnection', (socket) => {
      const address = config.proxyProtocol ? (told.get(endOf(socket)) ?? null) : null;
      handler.serve(new Connection(socket, false, true, address), null);
    });
    // A handshake that takes too long is reported here with the connection still open.
    tlsServer.on('tlsClientError', (_, socket) => connections.cut(socket, 'tls_handshake'));
    return tlsServer;
  }

  return {
    listen() {
      return new Promise((resolve, reject) => {
        server.once('error', reject);
        const { host, port } = config.listen;
        server.listen({ host, port, backlog: limits.listenBacklog, reusePort: parts.reusePort }, () => {
          server.off('error', reject);
          // Running out of file descriptors is told here; the connections that are open go on.
          server.on('error', () => undefined);
          resolve((server.address() as AddressInfo).port);
        });
      });
    },
    setCertificate(certificate, ticketKeys) {
      if (secure === null || config.tls === null) return;
      secure.setSecureContext(secureOptions({ ...certificate, profile: config.tls.profile }, ticketKeys));
    },
    sweep() {
      const time = now();
      for (
        let one = greeting.first;
        one !== null && time - one.since >= limits.handshakeMs;
        one = greeting.first
      ) {
        greeting.remove(one);
        connections.cut(one.socket, 'proxy_header');
      }
    },
    close: () => void server.close(),
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

import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { allowEverything, parseAllowList, type Address } from '../../shared/address.ts';
import type { Milliseconds } from '../../shared/clock.ts';
import type { Log } from '../../shared/log.ts';
import { parseProxyHeader } from '../proxy-protocol.ts';
import type { Connection } from './connection.ts';
import type { AtSite, Connections } from './connections.ts';
import type { PollLimits } from './limits.ts';
import { NO_SITE_YET } from './lists-by-site.ts';
import type { PollHandler } from './poll-handler.ts';
import { RawConnection, peerOf } from './raw-connection.ts';
import type { RawHandle, RawTcp } from './raw-tcp.ts';
import { StreamConnection } from './stream-connection.ts';
import { createProcessFront, createThreadFront } from './tls-front.ts';
import type { Certificate, ListenerTls, TlsFront } from './tls-front.ts';
import { Waiting, WaitingList } from './waiting-list.ts';

/** One listener of the poll door, with everything read that was in files. */
export interface PollListenerConfig {
  listen: Address;
  /** Number of the one site that is polled here; null = the path decides. */
  site: number | null;
  allow: readonly string[];
  /** Every connection begins with a PROXY v2 header, and `allow` is about the address that it tells. */
  proxyProtocol: boolean;
  /** With `proxyProtocol`: the balancers' networks; left out = anybody's. */
  proxyProtocolFrom?: readonly string[];
  tls: ListenerTls | null;
}

export interface PollListenerParts {
  connections: Connections;
  handler: PollHandler;
  limits: PollLimits;
  now: () => Milliseconds;
  /** 48 random bytes, the same in all workers, so that a TLS session is resumed by whichever gets it. */
  ticketKeys: Uint8Array;
  /** How plain connections are carried without Node's streams; null = they are not. */
  rawTcp: RawTcp | null;
  /** Whether other threads listen on the same port. */
  reusePort: boolean;
  log: Log;
}

/** Whether TLS of old ends here, in a process of its own, of which one is enough: the first worker alone has it. */
export const isApart = (config: PollListenerConfig): boolean => config.tls?.profile === 'legacy';

/** A listening socket of one worker. */
export interface PollListener {
  /**
   * Listens; resolves to the port, which is of the system's choice where the config's is 0.
   *
   * @throws SallyportError where a process that it needs cannot be started
   */
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
  const balancers =
    config.proxyProtocolFrom === undefined ? allowEverything : parseAllowList(config.proxyProtocolFrom);
  const allowsAll = allow.allowsAll(config.listen.host);
  const frontParts = {
    handshakeMs: limits.handshakeMs,
    ticketKeys: parts.ticketKeys,
    connections: limits.connections,
    log: parts.log,
    established: (connection: Connection): void => serve(connection, null),
    failed: (socket: { destroy(): void }): void => connections.cut(socket, 'tls_handshake'),
  };
  /** Set before it listens. */
  let secure: TlsFront | null = null;
  const greeting = new WaitingList<Greeting>();

  const server: Server = createServer({ pauseOnConnect: config.proxyProtocol }, accept);

  function accept(socket: Socket): void {
    if (!config.proxyProtocol && !allowsAll && !allow.allows(socket.remoteAddress)) {
      connections.cut(socket, 'not_allowed');
      return;
    }
    if (config.tls === null && !config.proxyProtocol) {
      welcome(new StreamConnection(socket, true, null));
      return;
    }
    if (config.proxyProtocol && !balancers.allows(socket.remoteAddress)) {
      connections.cut(socket, 'not_allowed');
      return;
    }
    const room = connections.opened();
    const place: AtSite = { site: NO_SITE_YET, entered: false };
    const siteRoom = room && (config.site === null || connections.enter(place, config.site));
    socket.on('close', () => {
      connections.left(place);
      connections.closed();
    });
    if (!siteRoom) connections.cut(socket, room ? 'site_full' : 'connections');
    else if (config.proxyProtocol) greet(socket);
    else pass(socket, null, null);
  }

  function acceptRaw(tcp: RawTcp, handle: RawHandle): void {
    if (allowsAll || allow.allows(peerOf(handle) ?? undefined)) welcome(new RawConnection(tcp, handle));
    else connections.cut({ destroy: () => handle.close() }, 'not_allowed');
  }

  function welcome(connection: Connection): void {
    const room = connections.opened() && (config.site === null || connections.enter(connection, config.site));
    if (room) handler.serve(connection, null);
    else handler.turnAway(connection);
  }

  /** What stands below the connection has been counted. */
  function serve(connection: Connection, head: Buffer | null): void {
    if (config.site !== null) connection.site = config.site;
    handler.serve(connection, head);
  }

  function pass(socket: Socket, address: string | null, head: Buffer | null): void {
    if (secure === null) {
      serve(new StreamConnection(socket, false, address), head);
      return;
    }
    if (head !== null && head.length > 0) socket.unshift(head);
    secure.accept(socket, address);
  }

  /** Reads the balancer's header, then hands the connection on as if the peer had come itself. */
  function greet(socket: Socket): void {
    const waiting = new Greeting(socket);
    greeting.add(waiting, now());
    const leave = (): void => waiting.list?.remove(waiting);
    const onError = (): void => void socket.destroy();
    const onData = (chunk: Buffer): void => {
      const bytes = waiting.carry === null ? chunk : Buffer.concat([waiting.carry, chunk]);
      const header = parseProxyHeader(bytes);
      if (header.result === 'more') {
        waiting.carry = bytes;
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
      pass(socket, address, bytes.subarray(header.bytes));
    };
    socket.on('data', onData).on('error', onError).on('close', leave).resume();
  }

  return {
    async listen() {
      if (config.tls !== null) {
        secure = isApart(config)
          ? await createProcessFront(config.tls, frontParts)
          : createThreadFront(config.tls, frontParts);
      }
      return new Promise((resolve, reject) => {
        server.once('error', reject);
        const { host, port } = config.listen;
        server.listen({ host, port, backlog: limits.listenBacklog, reusePort: parts.reusePort }, () => {
          server.off('error', reject);
          // Running out of file descriptors is told here; the connections that are open go on.
          server.on('error', () => undefined);
          const tcp = parts.rawTcp;
          if (tcp !== null && config.tls === null && !config.proxyProtocol) {
            tcp.takeOver(server, (handle) => acceptRaw(tcp, handle));
          }
          resolve((server.address() as AddressInfo).port);
        });
      });
    },
    setCertificate(certificate, ticketKeys) {
      secure?.setCertificate(certificate, ticketKeys);
    },
    sweep() {
      for (const late of greeting.older(limits.handshakeMs, now()))
        connections.cut(late.socket, 'proxy_header');
    },
    close: () => void server.close(() => secure?.close()),
  };
}

/** A connection of which the balancer's header is awaited. */
class Greeting extends Waiting {
  readonly socket: Socket;
  carry: Buffer | null = null;

  constructor(socket: Socket) {
    super();
    this.socket = socket;
  }
}

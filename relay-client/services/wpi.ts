import { createServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import type { Clock } from '../../shared/clock.ts';
import type { Log } from '../../shared/log.ts';
import { cutOff } from '../../shared/splice.ts';
import type { SourceAddresses } from '../addresses/book.ts';
import type { WpiServiceConfig } from './config.ts';
import { createConnectionSet } from './connection-set.ts';
import type { dialTcp } from './dial.ts';
import { guardObserver } from './guarded-observer.ts';
import { createByteBudget, WPI_LIMITS } from './limits.ts';
import type { WpiLimits } from './limits.ts';
import type { ServiceEvent, ServiceMetrics } from './metrics.ts';
import type { Observer } from './observer.ts';
import { servePhone } from './phone-connection.ts';
import type { PhoneConnection } from './phone-connection.ts';
import { certificateNames, createPhoneTls } from './phone-tls.ts';
import { createRareLog } from './rare-log.ts';
import type { PhoneOrigin, Service } from './service.ts';
import { createUpstream } from './upstream.ts';

export interface WpiDependencies {
  observer: Observer;
  /** Addresses of its `sourceAddresses`; null or left out = all requests come from the machine's ordinary one. */
  addresses?: SourceAddresses | null;
  clock: Clock;
  log: Log;
  metrics?: ServiceMetrics;
  /** How an upstream without TLS is dialled; default by a socket of this machine. */
  dialTcp?: typeof dialTcp;
}

/**
 * A service that speaks HTTP with phones and leads each of their requests to one upstream: bodies byte for byte,
 * end-to-end headers unchanged, at most once.
 *
 * @throws SallyportError ADDRESS_INVALID, FILE_UNREADABLE, KEY_INVALID for what its config names
 */
export function createWpiService(config: WpiServiceConfig, dependencies: WpiDependencies): Service {
  const { clock } = dependencies;
  const log = dependencies.log.child({ service: config.name });
  const rareLog = createRareLog(log, clock);
  const limits: WpiLimits = { ...WPI_LIMITS, ...config.limits };
  const tls =
    config.tls === null ? null : createPhoneTls(config.tls, clock, limits.handshakeMs, limits.halfCloseMs);
  const upstream = createUpstream(config, limits, clock, dependencies.dialTcp);
  const count = (event: ServiceEvent): void => dependencies.metrics?.count(config.name, event);
  const parts = {
    limits,
    forwarded: config.forwarded,
    budget: createByteBudget(limits.bufferedBytes),
    clock,
    count,
    upstream,
    addresses: dependencies.addresses ?? null,
    observer: guardObserver(dependencies.observer, log),
    log: rareLog,
  };

  const connections = createConnectionSet(clock);
  const phones = new WeakMap<Duplex, PhoneConnection>();
  /** Phones that have made a request. */
  const spoken = new WeakSet<PhoneConnection>();
  const speakHttp = createHttpParser(
    limits,
    (socket) => phones.get(socket),
    (phone) => spoken.add(phone),
  );

  const refuse = (stream: Duplex, why: string, origin: PhoneOrigin): void => {
    count('connection_refused');
    rareLog.warn('refused a connection', { why, door: origin.door, proxy: origin.proxy });
    stream.on('error', () => undefined);
    cutOff(stream);
  };

  return {
    name: config.name,
    kind: 'wpi',
    accept(stream, origin) {
      if (stream.destroyed) return;
      if (connections.draining()) return refuse(stream, 'draining', origin);
      if (origin.tls === 'relay' && tls === null) {
        return refuse(stream, 'the door is sealed and this service has no certificate (tls)', origin);
      }
      if (connections.size() >= limits.connections) {
        // Whoever opens connections and says nothing keeps no phone out for long.
        if (!connections.makeRoom()) return refuse(stream, 'too many connections', origin);
        count('connection_refused');
      }
      count('connection');
      let phone: PhoneConnection | null = null;
      const entry = {
        drain: () => (phone === null ? void stream.destroy() : phone.drain()),
        destroy: () => (phone === null ? void stream.destroy() : phone.destroy()),
        fresh: () => phone === null || !spoken.has(phone),
      };
      connections.add(entry);
      const serve = (socket: Duplex, names: readonly string[] = []): void => {
        phone = servePhone(socket, origin, names, parts, () => connections.delete(entry));
        phones.set(socket, phone);
        speakHttp(socket);
      };
      if (origin.tls === 'proxy' || tls === null) return serve(stream);
      const served = (socket: TLSSocket): void => serve(socket, certificateNames(socket));
      tls.accept(stream, served, (why) => {
        count('handshake_failed');
        rareLog.info('a phone made no TLS connection', { why, door: origin.door, phone: origin.address });
        connections.delete(entry);
      });
    },
    health: () => upstream.probe.health(),
    onHealth: (listener) => upstream.probe.onHealth(listener),
    certificate: () => (tls === null ? null : { name: `service ${config.name}`, notAfter: tls.notAfter() }),
    connections: () => connections.size(),
    async reload() {
      tls?.reload();
      upstream.reload();
    },
    drain: (withinMs) => connections.drain(withinMs),
    async close() {
      await connections.drain(0);
      upstream.close();
    },
  };
}

/**
 * Node's HTTP/1 parser at its strictest, fed with streams that come from elsewhere. Its own timers and limits on
 * listening sockets play no part; the phone's connection keeps time.
 */
function createHttpParser(
  limits: WpiLimits,
  phoneOf: (socket: Duplex) => PhoneConnection | undefined,
  onSpoken: (phone: PhoneConnection) => unknown,
): (socket: Duplex) => void {
  const server = createServer({
    insecureHTTPParser: false,
    joinDuplicateHeaders: false,
    // Checked later, with everything else that's checked.
    requireHostHeader: false,
    maxHeaderSize: limits.headerBytes,
    keepAliveTimeout: limits.keepAliveMs,
    headersTimeout: 0,
    requestTimeout: 0,
  });
  // 0 = no line is dropped silently; the check counts them.
  server.maxHeadersCount = 0;
  // Otherwise Node ends its side as soon as the phone does, in the middle of an exchange.
  Object.assign(server, { httpAllowHalfOpen: true });

  const onRequest = (request: IncomingMessage, response: ServerResponse): void => {
    const phone = phoneOf(request.socket);
    if (phone === undefined) return;
    onSpoken(phone);
    phone.request(request, response);
  };
  server.on('request', onRequest);
  server.on('checkContinue', onRequest);
  server.on('checkExpectation', onRequest);
  server.on('connect', (_request, socket) => phoneOf(socket)?.malformed(405));
  server.on('clientError', (error: Error & { code?: string }, socket) => {
    // Other errors are those of the stream itself; its end is on the way.
    if (error.code?.startsWith('HPE_') !== true) return;
    phoneOf(socket)?.malformed(error.code === 'HPE_HEADER_OVERFLOW' ? 431 : 400);
  });
  return (socket) => void server.emit('connection', socket);
}

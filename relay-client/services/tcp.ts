import type { Socket } from 'node:net';
import { parseAddress } from '../../shared/address.ts';
import type { Clock } from '../../shared/clock.ts';
import { describeError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import { cutOff, splice } from '../../shared/splice.ts';
import type { TcpLimits, TcpServiceConfig } from './config.ts';
import { TCP_LIMITS } from './config.ts';
import { createConnectionSet } from './connection-set.ts';
import { dialTcp } from './dial.ts';
import type { Dialled, DialManner } from './dial.ts';
import { createReadBuffer, DirectSocket } from './direct-socket.ts';
import type { ServiceEvent, ServiceMetrics } from './metrics.ts';
import { createProbe } from './probe.ts';
import { createRareLog } from './rare-log.ts';
import type { Service } from './service.ts';

export interface TcpDependencies {
  clock: Clock;
  log: Log;
  metrics?: ServiceMetrics;
}

/** How many times per idle limit the connections are looked at. */
const IDLE_LOOKS = 2;

/**
 * A service that passes bytes: what the phone sends goes to one fixed address and back, half-closes included. TLS goes
 * through untouched, with the certificates of both ends.
 *
 * @throws SallyportError ADDRESS_INVALID
 */
export function createTcpService(config: TcpServiceConfig, dependencies: TcpDependencies): Service {
  const { clock } = dependencies;
  const log = createRareLog(dependencies.log.child({ service: config.name }), clock);
  const limits: TcpLimits = { ...TCP_LIMITS, ...config.limits };
  const address = parseAddress(config.upstream);
  const connections = createConnectionSet(clock);
  const buffer = createReadBuffer();
  const manner: DialManner = { make: (options) => new DirectSocket(options, buffer) };
  const count = (event: ServiceEvent): void => dependencies.metrics?.count(config.name, event);
  const probe = createProbe({
    clock,
    periodMs: limits.probeMs,
    attempt: (done) =>
      dialTcp(address, clock, limits.connectMs, (error, socket) => {
        socket?.destroy();
        done(error);
      }),
  });

  /** Upstream's side of each connection, and the bytes that had passed when it was last looked at. */
  const looked = new Map<Socket, { bytes: number; idleLooks: number }>();
  const look = (): void => {
    for (const [socket, last] of looked) {
      const bytes = socket.bytesRead + socket.bytesWritten;
      last.idleLooks = bytes === last.bytes ? last.idleLooks + 1 : 0;
      last.bytes = bytes;
      // The first look may come right after the last byte.
      if (last.idleLooks > IDLE_LOOKS) cutOff(socket);
    }
  };
  const idle = limits.idleMs === 0 ? null : clock.every(limits.idleMs / IDLE_LOOKS, look);

  return {
    name: config.name,
    kind: 'tcp',
    accept(stream, origin) {
      if (stream.destroyed) return;
      stream.on('error', () => undefined);
      if (connections.draining() || connections.size() >= limits.connections) {
        count('connection_refused');
        log.warn('refused a connection', {
          why: connections.draining() ? 'draining' : 'too many connections',
          door: origin.door,
          proxy: origin.proxy,
        });
        return cutOff(stream);
      }
      count('connection');
      // Whoever is connected through cannot be asked to end, so draining waits for its own end.
      const entry = { drain: () => undefined, destroy: () => cutOff(stream) };
      connections.add(entry);
      const dialled: Dialled = (error, socket) => {
        if (socket === null) {
          if (error !== null) {
            count(error.code === 'UPSTREAM_TIMEOUT' ? 'upstream_timeout' : 'upstream_refused');
            probe.failed(error);
            log.warn('upstream failed', { error: describeError(error), door: origin.door });
          }
          return cutOff(stream);
        }
        probe.succeeded();
        splice(stream, socket);
        looked.set(socket, { bytes: 0, idleLooks: 0 });
        socket.once('close', () => looked.delete(socket));
      };
      const giveUp = dialTcp(address, clock, limits.connectMs, dialled, manner);
      stream.once('close', () => {
        giveUp();
        connections.delete(entry);
      });
    },
    health: () => probe.health(),
    onHealth: (listener) => probe.onHealth(listener),
    certificate: () => null,
    connections: () => connections.size(),
    reload: () => Promise.resolve(),
    drain: (withinMs) => connections.drain(withinMs),
    async close() {
      await connections.drain(0);
      idle?.cancel();
      probe.close();
    },
  };
}

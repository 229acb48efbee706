import { parseAddress } from '../../shared/address.ts';
import type { Clock } from '../../shared/clock.ts';
import { describeError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { TcpLimits, TcpServiceConfig } from './config.ts';
import { TCP_LIMITS } from './config.ts';
import { createConnectionSet } from './connection-set.ts';
import { dialTcp } from './dial.ts';
import type { ServiceEvent, ServiceMetrics } from './metrics.ts';
import { createProbe } from './probe.ts';
import type { Service } from './service.ts';
import { splice } from './splice.ts';

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
  const log = dependencies.log.child({ service: config.name });
  const limits: TcpLimits = { ...TCP_LIMITS, ...config.limits };
  const address = parseAddress(config.upstream);
  const connections = createConnectionSet(clock);
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

  /** Connections and the bytes that had passed when they were last looked at. */
  const looked = new Map<{ moved(): number; cut(): void }, { bytes: number; idleLooks: number }>();
  const idle =
    limits.idleMs === 0
      ? null
      : clock.every(limits.idleMs / IDLE_LOOKS, () => {
          for (const [running, last] of looked) {
            const bytes = running.moved();
            last.idleLooks = bytes === last.bytes ? last.idleLooks + 1 : 0;
            last.bytes = bytes;
            // The first look may come right after the last byte.
            if (last.idleLooks > IDLE_LOOKS) running.cut();
          }
        });

  return {
    name: config.name,
    kind: 'tcp',
    accept(stream, origin) {
      stream.on('error', () => undefined);
      if (connections.draining() || connections.size() >= limits.connections) {
        count('connection_refused');
        log.warn('refused a connection', {
          why: connections.draining() ? 'draining' : 'too many connections',
          door: origin.door,
          proxy: origin.proxy,
        });
        return void stream.destroy();
      }
      count('connection');
      // Whoever is connected through cannot be asked to end, so draining waits for its own end.
      const entry = { drain: () => undefined, destroy: () => void stream.destroy() };
      connections.add(entry);
      const giveUp = dialTcp(address, clock, limits.connectMs, (error, socket) => {
        if (socket === null) {
          if (error !== null) {
            count(error.code === 'UPSTREAM_TIMEOUT' ? 'upstream_timeout' : 'upstream_refused');
            probe.failed(error);
            log.warn('upstream failed', { error: describeError(error), door: origin.door });
          }
          return void stream.destroy();
        }
        probe.succeeded();
        const running = splice(stream, socket);
        looked.set(running, { bytes: 0, idleLooks: 0 });
        stream.once('close', () => looked.delete(running));
      });
      stream.once('close', () => {
        giveUp();
        connections.delete(entry);
      });
    },
    health: () => probe.health(),
    onHealth: (listener) => probe.onHealth(listener),
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

import type { Duplex } from 'node:stream';
import type { Clock, Milliseconds } from '../../shared/clock.ts';
import { describeError, SallyportError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { SourceAddresses } from '../addresses/book.ts';
import type { ServiceConfig, WpiServiceConfig } from './config.ts';
import type { dialTcp } from './dial.ts';
import type { ServiceMetrics } from './metrics.ts';
import type { Observer } from './observer.ts';
import type { PhoneOrigin, Service } from './service.ts';
import { createTcpService } from './tcp.ts';
import { createWpiService } from './wpi.ts';

export interface ServicesDependencies {
  /** The observer for a `wpi` service. */
  observer(service: WpiServiceConfig): Observer;
  /** The addresses of a `wpi` service's devices; null = none. Left out = for none of the services. */
  addresses?(service: WpiServiceConfig): SourceAddresses | null;
  clock: Clock;
  log: Log;
  metrics?: ServiceMetrics;
  /** See {@link WpiDependencies}. */
  dialTcp?: typeof dialTcp;
}

/** All services of a relay, by name. */
export interface Services {
  /** Takes over the stream; false = no service of that name, and the stream is left alone. */
  accept(name: string, stream: Duplex, origin: PhoneOrigin): boolean;
  get(name: string): Service | undefined;
  list(): readonly Service[];
  /** Re-reads certificates and keys of all; rejects with what each service could not use, those keep the old ones. */
  reload(): Promise<void>;
  drain(withinMs: Milliseconds): Promise<void>;
  close(): Promise<void>;
}

/**
 * Makes the services of a relay. Where one cannot be made, those made before are closed again.
 *
 * @throws SallyportError as {@link createWpiService} and {@link createTcpService}; CONFIG_INVALID for a name used twice
 */
export function createServices(
  configs: readonly ServiceConfig[],
  dependencies: ServicesDependencies,
): Services {
  const byName = new Map<string, Service>();
  const create = (config: ServiceConfig): Service => {
    if (byName.has(config.name)) {
      throw new SallyportError('CONFIG_INVALID', `services: the name ${config.name} is used twice`);
    }
    switch (config.kind) {
      case 'wpi':
        return createWpiService(config, {
          ...dependencies,
          observer: dependencies.observer(config),
          addresses: dependencies.addresses?.(config) ?? null,
        });
      case 'tcp':
        return createTcpService(config, dependencies);
    }
  };
  const all = async (act: (service: Service) => Promise<void>): Promise<void> => {
    await Promise.all([...byName.values()].map(act));
  };
  try {
    for (const config of configs) byName.set(config.name, create(config));
  } catch (error) {
    void all((service) => service.close());
    throw error;
  }

  return {
    accept(name, stream, origin) {
      const service = byName.get(name);
      service?.accept(stream, origin);
      return service !== undefined;
    },
    get: (name) => byName.get(name),
    list: () => [...byName.values()],
    async reload() {
      const failures: string[] = [];
      await all((service) =>
        service.reload().catch((error: unknown) => {
          failures.push(`${service.name}: ${describeError(error)}`);
        }),
      );
      if (failures.length > 0) {
        throw new SallyportError(
          'KEY_INVALID',
          `services keep their old certificates: ${failures.join('; ')}`,
        );
      }
    },
    drain: (withinMs) => all((service) => service.drain(withinMs)),
    close: () => all((service) => service.close()),
  };
}

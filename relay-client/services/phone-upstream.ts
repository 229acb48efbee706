import type { DeviceId } from '../../shared/device-id.ts';
import type { SourceAddresses } from '../addresses/book.ts';
import type { ServiceEvent } from './metrics.ts';
import type { PhoneOrigin } from './service.ts';
import type { Upstream, UpstreamConnection } from './upstream.ts';

/** Upstream as one connection of a phone has it: one connection, as long as it stays the same phone. */
export interface PhoneUpstream {
  /**
   * The connection for a request of `device`, from that device's address where devices have their own. Null = the
   * device can't be known: the machine's ordinary address. Undefined = nobody has looked: as before. Called back at
   * once, but for a device that is given its address only now; with an error where there's none to be had.
   */
  take(
    device: DeviceId | null | undefined,
    done: (error: Error | null, connection: UpstreamConnection | null) => void,
  ): void;
  close(): void;
}

/** @param addresses - null = all requests come from the machine's ordinary address */
export function createPhoneUpstream(
  parts: { upstream: Upstream; addresses: SourceAddresses | null; count(event: ServiceEvent): void },
  origin: PhoneOrigin,
): PhoneUpstream {
  const { upstream, addresses, count } = parts;
  let current: { from: string | null; connection: UpstreamConnection } | null = null;
  let closed = false;

  const connect = (from: string | null): UpstreamConnection => {
    if (current !== null && current.from === from) return current.connection;
    current?.connection.close();
    current = { from, connection: upstream.connection(origin, from) };
    return current.connection;
  };

  return {
    take(device, done) {
      if (addresses === null) return done(null, connect(null));
      const from =
        device === undefined ? (current?.from ?? null) : device === null ? null : addresses.of(device);
      if (from !== null || device === undefined || device === null) {
        if (from === null) count('address_unknown');
        return done(null, connect(from));
      }
      addresses.assign(device).then(
        (address) => {
          // The phone may be gone by now, and nobody would close what is opened here.
          if (!closed) done(null, connect(address));
        },
        (error: unknown) => done(error instanceof Error ? error : new Error(String(error)), null),
      );
    },
    close() {
      closed = true;
      current?.connection.close();
    },
  };
}

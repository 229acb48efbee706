import type { Duplex } from 'node:stream';
import type { Clock, Milliseconds } from '../../shared/clock.ts';

/** Why a guest had to go. */
export type GuestEnd = 'address-full' | 'door-full' | 'late';

/**
 * Connections at the relay door that have not shown a relay's key: before their handshake, or only there to join. They
 * cost memory and prove nothing, so they are few, and a newcomer is never the one who suffers: whoever fills the door
 * pushes out its own. Relays' links have places of their own, which no guest can take.
 */
export interface Guests {
  /** Takes a connection in; it leaves by itself when it closes. */
  add(socket: Duplex, address: string): void;
  /** It has shown a relay's key. */
  leave(socket: Duplex): void;
}

/**
 * @param most - guests at once
 * @param perAddress - of them from one address
 * @param within - how long each may stay
 * @param onCut - told why a guest is cut
 */
export function createGuests(options: {
  most: number;
  perAddress: number;
  within: Milliseconds;
  clock: Clock;
  onCut: (why: GuestEnd) => void;
}): Guests {
  const { most, perAddress, clock } = options;
  /** By address, each in the order of coming. */
  const present = new Map<string, Map<Duplex, () => void>>();
  let count = 0;

  function leave(socket: Duplex): void {
    for (const guests of present.values()) guests.get(socket)?.();
  }

  function cut(socket: Duplex, why: GuestEnd): void {
    leave(socket);
    options.onCut(why);
    socket.destroy();
  }

  const oldest = (guests: Map<Duplex, () => void>): Duplex => guests.keys().next().value!;

  return {
    add(socket, address) {
      const own = present.get(address);
      if (own !== undefined && own.size >= perAddress) cut(oldest(own), 'address-full');
      else if (count >= most) {
        const [crowd] = [...present.values()].sort((a, b) => b.size - a.size);
        if (crowd !== undefined) cut(oldest(crowd), 'door-full');
      }
      const guests = present.get(address) ?? new Map<Duplex, () => void>();
      present.set(address, guests);
      const late = clock.after(options.within, () => cut(socket, 'late'));
      count += 1;
      guests.set(socket, () => {
        late.cancel();
        guests.delete(socket);
        count -= 1;
        if (guests.size === 0 && present.get(address) === guests) present.delete(address);
      });
      socket.once('close', () => leave(socket));
    },
    leave,
  };
}

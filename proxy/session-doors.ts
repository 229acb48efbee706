import { formatAddress } from '../shared/address.ts';
import type { Clock, Milliseconds } from '../shared/clock.ts';
import { describeError } from '../shared/errors.ts';
import type { Log } from '../shared/log.ts';
import type { ProxyConfig, SessionDoorConfig } from './config.ts';
import { createSessionDoor } from './session-door.ts';
import type { SessionDoor, SessionSlots } from './session-door.ts';
import type { Site } from './site.ts';

export interface SessionDoorsOptions {
  sites: readonly Site[];
  slots: SessionSlots;
  handshakeMs: Milliseconds;
  /** How long the phones of a door that closes have to finish. */
  drainMs: Milliseconds;
  clock: Clock;
  log: Log;
}

/** All session doors; they may come and go while the proxy runs. */
export interface SessionDoors {
  readonly list: () => readonly SessionDoor[];
  /** Where each listens, by name. */
  addresses(): Record<string, string>;
  /** The doors of one site, as its relay is told. */
  of(site: string): { name: string; service: string; tls: 'relay' | 'proxy' }[];
  /**
   * Opens what is new, closes what is gone, re-reads the certificates of what stays. Rejects when a new door cannot
   * be opened; the others are as they were then.
   */
  change(config: ProxyConfig): Promise<void>;
  /** Takes no more phones, waits for those that are there, then cuts what is left. */
  close(): Promise<void>;
}

interface Place {
  config: SessionDoorConfig;
  site: Site;
  door: SessionDoor;
}

/** Opens the session doors. @throws as {@link createSessionDoor}; none is left open then */
export async function createSessionDoors(
  config: ProxyConfig,
  options: SessionDoorsOptions,
): Promise<SessionDoors> {
  const { sites, clock, log } = options;
  let places: Place[] = [];

  async function open(door: SessionDoorConfig, from: ProxyConfig): Promise<Place> {
    const owner = from.sites.find(({ doors }) => doors.includes(door.name))?.name;
    const site = sites.find(({ name }) => name === owner);
    if (site === undefined) throw new Error(`session door ${door.name} is of a site that needs a restart`);
    return { config: door, site, door: await createSessionDoor(door, { ...options, site }) };
  }

  /** Opens all or none. */
  async function openAll(doors: SessionDoorConfig[], from: ProxyConfig): Promise<Place[]> {
    const tried = await Promise.allSettled(doors.map((door) => open(door, from)));
    const opened = tried.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
    const failed = tried.find((result) => result.status === 'rejected');
    if (failed === undefined) return opened;
    await Promise.all(opened.map(({ door }) => door.close()));
    throw failed.reason;
  }

  async function retire({ door }: Place): Promise<void> {
    const late = Promise.withResolvers<void>();
    const timer = clock.after(options.drainMs, late.resolve);
    await Promise.race([door.drain(), late.promise]);
    timer.cancel();
    await door.close();
  }

  places = await openAll(config.doors, config);

  return {
    list: () => places.map(({ door }) => door),
    addresses: () => Object.fromEntries(places.map(({ door }) => [door.name, formatAddress(door.address)])),
    of: (site) =>
      places
        .filter((place) => place.site.name === site)
        .map(({ config: { name, service, tls } }) => ({
          name,
          service,
          tls: tls === 'relay' ? tls : 'proxy',
        })),
    async change(next) {
      const same = (a: SessionDoorConfig, b: SessionDoorConfig): boolean =>
        JSON.stringify(a) === JSON.stringify(b);
      const staying = places.filter((place) => next.doors.some((door) => same(door, place.config)));
      const gone = places.filter((place) => !staying.includes(place));
      const fresh = next.doors.filter((door) => !staying.some((place) => same(door, place.config)));
      // A door that only changes gives up its port first.
      const leaving = gone.map((place) => ({ place, retired: retire(place) }));
      for (const { place, retired } of leaving) {
        retired.catch((error: unknown) =>
          log.error('session door did not close', { door: place.door.name, why: describeError(error) }),
        );
      }
      places = staying;
      const opened = await openAll(fresh, next);
      places = [...staying, ...opened];
      for (const { door } of staying) door.reload();
    },
    async close() {
      await Promise.all(places.map(retire));
    },
  };
}

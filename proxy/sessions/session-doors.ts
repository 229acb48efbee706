import { formatAddress } from '../../shared/address.ts';
import type { Clock, Milliseconds } from '../../shared/clock.ts';
import { describeError } from '../../shared/errors.ts';
import type { Sharing } from '../../shared/listen.ts';
import type { Log } from '../../shared/log.ts';
import type { ProxyConfig, SessionDoorConfig } from '../config.ts';
import { createPace } from './pace.ts';
import type { Pace } from './pace.ts';
import { createSessionDoor, createSlots } from './session-door.ts';
import type { SessionDoor, SessionSlots, Slots } from './session-door.ts';
import type { Site } from '../site.ts';

export interface SessionDoorsOptions {
  sites: readonly Site[];
  slots: SessionSlots;
  handshakeMs: Milliseconds;
  linkWaitMs?: Milliseconds;
  sharing?: Sharing;
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
   * be opened; a door whose port it would have taken listens again then, its phones of before being let go.
   */
  change(config: ProxyConfig): Promise<void>;
  /**
   * Waits for phones that are in a session, then takes no more, waits for those that are there, and cuts what is left. In all
   * no longer than `drainMs`; the first takes a third of it at most, so that phones which keep coming can't use it up.
   */
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
  const slotsOf = new Map<string, Slots>(
    sites.map(({ name, config: { sessionConnections } }) => [name, createSlots(sessionConnections)]),
  );

  async function open(door: SessionDoorConfig, from: ProxyConfig): Promise<Place> {
    const owner = from.sites.find(({ doors }) => doors.includes(door.name))?.name;
    const site = sites.find(({ name }) => name === owner);
    if (site === undefined) throw new Error(`session door ${door.name} is of a site that needs a restart`);
    return openAt(door, site);
  }

  const pacesOf = new Map<string, { up: Pace; down: Pace }>(
    sites
      .filter(({ config: { bytesPerSecond } }) => bytesPerSecond > 0)
      .map(({ name, config: { bytesPerSecond } }) => [
        name,
        { up: createPace(bytesPerSecond, clock), down: createPace(bytesPerSecond, clock) },
      ]),
  );

  async function openAt(config: SessionDoorConfig, site: Site): Promise<Place> {
    const siteSlots = slotsOf.get(site.name);
    const paces = pacesOf.get(site.name);
    const door = await createSessionDoor(config, {
      ...options,
      site,
      ...(siteSlots === undefined ? {} : { siteSlots }),
      ...(paces === undefined ? {} : { paces }),
    });
    return { config, site, door };
  }

  /** All or none. */
  async function all(opening: Promise<Place>[]): Promise<Place[]> {
    const tried = await Promise.allSettled(opening);
    const opened = tried.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
    const failed = tried.find((result) => result.status === 'rejected');
    if (failed === undefined) return opened;
    await Promise.all(opened.map(({ door }) => door.close()));
    throw failed.reason;
  }

  async function retire({ door }: Place, until = clock.monotonic() + options.drainMs): Promise<void> {
    const late = Promise.withResolvers<void>();
    const timer = clock.after(Math.max(0, until - clock.monotonic()), late.resolve);
    await Promise.race([door.drain(), late.promise]);
    timer.cancel();
    await door.close();
  }

  places = await all(config.doors.map((door) => open(door, config)));

  const same = (a: SessionDoorConfig, b: SessionDoorConfig): boolean =>
    JSON.stringify(a) === JSON.stringify(b);
  const hasPortOf = (place: Place, { listen }: SessionDoorConfig): boolean =>
    place.door.address.port === listen.port;

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
      const staying = places.filter((place) => next.doors.some((door) => same(door, place.config)));
      const gone = places.filter((place) => !staying.includes(place));
      const fresh = next.doors.filter((door) => !staying.some((place) => same(door, place.config)));
      // What needs the port of a door that goes waits for it; the rest is tried before anything is given up.
      const waiting = fresh.filter((door) => gone.some((place) => hasPortOf(place, door)));
      const opened = await all(
        fresh.filter((door) => !waiting.includes(door)).map((door) => open(door, next)),
      );
      for (const place of gone) {
        retire(place).catch((error: unknown) =>
          log.error('session door did not close', { door: place.door.name, why: describeError(error) }),
        );
      }
      places = [...staying, ...opened];
      try {
        places = [...places, ...(await all(waiting.map((door) => open(door, next))))];
      } catch (error) {
        const needed = gone.filter((place) => waiting.some((door) => hasPortOf(place, door)));
        places = [
          ...places,
          ...(await all(
            needed.map(({ config, site, door }) => openAt({ ...config, listen: door.address }, site)),
          )),
        ];
        throw error;
      }
      for (const { door } of staying) door.reload();
    },
    async close() {
      const now = clock.monotonic();
      await Promise.all(
        places.map(async (place) => {
          await place.door.finish(now + options.drainMs / 3);
          await retire(place, now + options.drainMs);
        }),
      );
    },
  };
}

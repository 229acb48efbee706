import type { Milliseconds } from '../../../shared/clock.ts';
import type { Dice } from '../engine/dice.ts';
import { BEGINNING } from '../engine/process.ts';
import type { Route } from '../engine/route.ts';
import type { World } from './world.ts';

const DAY_MS = 24 * 3_600_000;
const NIGHT_MS = 25 * 3_600_000;

type Fault =
  | 'cut'
  | 'one-way'
  | 'stall'
  | 'network-down'
  | 'relay-crash'
  | 'relay-close'
  | 'relay-freeze'
  | 'proxy-crash'
  | 'proxy-drain'
  | 'proxy-freeze'
  | 'service-down'
  | 'wall-jump'
  | 'disk-full'
  | 'sync-fails'
  | 'back-up'
  | 'restore'
  | 'second-relay'
  | 'night';

/** What goes wrong, and how often on average. */
const FAULTS: Readonly<Record<Fault, number>> = {
  cut: 10,
  'one-way': 8,
  stall: 8,
  'network-down': 6,
  'relay-crash': 10,
  'relay-close': 5,
  'relay-freeze': 4,
  'proxy-crash': 8,
  'proxy-drain': 4,
  'proxy-freeze': 5,
  'service-down': 8,
  'wall-jump': 10,
  'disk-full': 4,
  'sync-fails': 3,
  'back-up': 10,
  restore: 5,
  'second-relay': 8,
  night: 2,
};

export interface Storm {
  /** Mends everything and starts what does not run. */
  end(): void;
}

export function startStorm(world: World, dice: Dice): Storm {
  const { scheduler, plan } = world;
  const relay = world.relays[0]!;
  const routes: Route[] = world.relays.flatMap((each) => [...each.routes.values()]);
  // Each run has faults of its own: what is rare everywhere is common somewhere.
  const weights = Object.fromEntries(
    Object.entries(FAULTS).map(([name, weight]) => [name, weight * dice.pick([0, 1, 1, 5])]),
  ) as Record<Fault, number>;
  let over = false;

  const later = (mean: number, task: () => void): void =>
    void scheduler.after(dice.pause(mean), () => void (over || task()));
  const startRelay = (): void => relay.start();
  const setClock = (ahead: Milliseconds): void => {
    const by = ahead - relay.host.wallAhead;
    relay.host.wallAhead = ahead;
    world.tell({ what: 'clock-set', relay: relay.name, by });
  };

  function strike(): void {
    const fault = dice.weighted(weights);
    world.tell({ what: 'fault', name: fault });
    const route = dice.pick(routes);
    const proxy = dice.pick(world.proxies);
    switch (fault) {
      case 'cut':
        return route.cut();
      case 'one-way':
        route.stall(dice.pick(['toProxy', 'toRelay']));
        return later(9_000, () => route.heal(dice.chance(0.4)));
      case 'stall':
        route.stall('both');
        return later(9_000, () => route.heal(dice.chance(0.4)));
      case 'network-down':
        route.refuse();
        return later(8_000, () => route.heal(false));
      case 'relay-crash':
        relay.crash(dice.pick([0, 0, 1, 2]));
        return later(3_000, startRelay);
      case 'relay-close':
        relay.close();
        return later(12_000, startRelay);
      case 'relay-freeze':
        return relay.running()?.process.freeze(dice.pick([500, 5_000, 12_000]));
      case 'proxy-crash':
        proxy.crash();
        return later(3_000, () => proxy.start());
      case 'proxy-drain':
        proxy.drain();
        return later(9_000, () => proxy.start());
      case 'proxy-freeze':
        return proxy.process()?.freeze(dice.pick([500, 5_000, 12_000]));
      case 'service-down':
        world.service.goDown(dice.pick(['refuse', 'hang']));
        return later(20_000, () => world.service.comeUp());
      case 'wall-jump':
        return setClock(
          dice.pick([
            relay.host.wallAhead + DAY_MS,
            relay.host.wallAhead - DAY_MS,
            relay.host.wallAhead + 60_000,
            -BEGINNING - scheduler.now(),
            0,
          ]),
        );
      case 'disk-full':
        relay.faults.full = true;
        return later(6_000, () => (relay.faults.full = false));
      case 'sync-fails':
        relay.faults.failSync = true;
        return later(4_000, () => {
          relay.faults.failSync = false;
          startRelay();
        });
      case 'back-up':
        return relay.backUp();
      case 'restore':
        if (relay.backup() === null) return relay.backUp();
        relay.crash(0);
        relay.restore(relay);
        return later(2_000, startRelay);
      case 'second-relay':
        return secondRelay();
      case 'night':
        return night();
    }
  }

  /** A copy of the relay's machine, key and backup, runs beside it for a while. */
  function secondRelay(): void {
    const second = world.relays[1];
    if (relay.backup() === null) relay.backUp();
    if (second === undefined || !second.restore(relay)) return;
    second.start();
    later(15_000, () => second.crash(0));
  }

  /** Everything is switched off for a day and an hour. */
  function night(): void {
    for (const each of world.relays) each.crash(0);
    for (const each of world.proxies) each.crash();
    scheduler.skip(NIGHT_MS);
    for (const each of world.proxies) each.start();
    startRelay();
  }

  async function live(): Promise<void> {
    while (plan.faultMs !== Infinity) {
      await scheduler.sleep(dice.pause(plan.faultMs));
      if (over) return;
      strike();
    }
  }
  void live();

  /** What does not run is started again in the end, whatever came in between. */
  async function supervise(): Promise<void> {
    let absent = new Set<object>();
    for (;;) {
      await scheduler.sleep(over ? 1_000 : 10_000);
      const now = new Set<object>();
      if (relay.running() === null) now.add(relay);
      for (const proxy of world.proxies) if (proxy.process() === null) now.add(proxy);
      for (const place of [relay, ...world.proxies]) if (now.has(place) && absent.has(place)) place.start();
      absent = now;
    }
  }
  void supervise();

  return {
    end() {
      over = true;
      for (const route of routes) route.heal(true);
      relay.faults.full = relay.faults.failSync = false;
      for (const second of world.relays.slice(1)) second.crash(0);
      world.service.comeUp();
      for (const proxy of world.proxies) proxy.start();
      startRelay();
    },
  };
}

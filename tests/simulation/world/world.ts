import type { Lane, LaneEvents } from '../../../shared/lane.ts';
import type { Log } from '../../../shared/log.ts';
import type { Fact } from '../checker/facts.ts';
import type { Dice } from '../engine/dice.ts';
import { BEGINNING } from '../engine/process.ts';
import { createRoute } from '../engine/route.ts';
import type { Route } from '../engine/route.ts';
import type { Scheduler } from '../engine/scheduler.ts';
import { startClient } from './client.ts';
import type { Client } from './client.ts';
import { startForger, startPhone, startProbes } from './phone.ts';
import type { Plan } from './plan.ts';
import { createProxyPlace } from './proxy.ts';
import type { ProxyPlace, RelayEnd } from './proxy.ts';
import { createRelayPlace } from './relay.ts';
import type { RelayPlace } from './relay.ts';
import { createService } from './service.ts';
import type { Service } from './service.ts';

/** A relay dials one lane of a link. */
export interface Dial {
  end: RelayEnd;
  proxy: ProxyPlace;
  route: Route;
  lane: { kind: 'control' } | { kind: 'stream'; link: string };
  events: LaneEvents;
  signal: AbortSignal;
}

/** Everything that there is in a run. */
export interface World {
  readonly plan: Plan;
  readonly scheduler: Scheduler;
  readonly log: Log;
  readonly proxies: readonly ProxyPlace[];
  /** The relay, and one that may at times be taken for it. */
  readonly relays: readonly RelayPlace[];
  readonly service: Service;
  readonly client: Client;
  tell(fact: Fact): void;
  breach(promise: string, why: string): void;
  /** Whether faults, forgers and moods are over. */
  calm(): boolean;
  beCalm(): void;
  proxyOf(url: string): ProxyPlace;
  dialThrough(dial: Dial): Promise<Lane>;
  /** A message that ended dead in the relay of this run; null = none. */
  dead(run: number): string | null;
  nextRun(): number;
  nextStore(): string;
  nextAsk(): number;
  nextSession(): number;
}

/** What a run tells whoever watches it. */
export interface Watching {
  tell(fact: Fact): void;
  breach(promise: string, why: string): void;
  log: Log;
}

/** Makes the parts of a run; nothing of it runs yet. */
export function createWorld(plan: Plan, dice: Dice, scheduler: Scheduler, watching: Watching): World {
  let runs = 0;
  let stores = 0;
  let asks = 0;
  let sessions = 0;
  let calm = false;
  const dead = new Map<number, string[]>();

  function remember(fact: Fact): void {
    if (fact.what === 'commit') {
      const newly = fact.events.filter(({ event }) => event === 'dead').map(({ message }) => message ?? '');
      if (newly.length > 0) dead.set(fact.run, [...(dead.get(fact.run) ?? []), ...newly]);
    }
  }

  async function dialThrough({ end, proxy, route, lane, events, signal }: Dial): Promise<Lane> {
    const answers = (): boolean => proxy.process() !== null;
    try {
      await route.reach(signal, answers);
    } catch (error) {
      // A program that is gone hears of nothing.
      return await new Promise<Lane>((_, reject) => end.process.enter(() => reject(error)));
    }
    const there = proxy.process();
    if (there === null || !end.process.alive()) return new Promise<Lane>(() => undefined);
    const wire = route.wire(end.process, there);
    wire.attach('toRelay', events);
    proxy.accept(end, lane, wire);
    return new Promise<Lane>((resolve) => end.process.enter(() => resolve(wire.relayEnd)));
  }

  const proxies: ProxyPlace[] = [];
  const relays: RelayPlace[] = [];
  const world: World = {
    plan,
    scheduler,
    log: watching.log,
    proxies,
    relays,
    service: null as unknown as Service,
    client: null as unknown as Client,
    tell(fact) {
      remember(fact);
      watching.tell(fact);
    },
    breach: watching.breach,
    calm: () => calm,
    beCalm() {
      calm = true;
      world.tell({ what: 'calm' });
    },
    proxyOf(url) {
      const proxy = proxies.find(({ name }) => url === urlOf(name));
      if (proxy === undefined) throw new Error(`nobody is at ${url}`);
      return proxy;
    },
    dialThrough,
    dead: (run) => dead.get(run)?.pop() ?? null,
    nextRun: () => (runs += 1),
    nextStore: () => `store-${(stores += 1)}`,
    nextAsk: () => (asks += 1),
    nextSession: () => (sessions += 1),
  };
  for (let i = 1; i <= plan.proxies; i++) proxies.push(createProxyPlace(world, `proxy-${i}`, dice.split()));
  for (const name of ['hq-1', 'hq-1-copy']) {
    const routes = new Map(
      proxies.map((proxy) => [urlOf(proxy.name), createRoute(scheduler, dice.split())] as const),
    );
    relays.push(createRelayPlace(world, { name, dice: dice.split(), routes }));
  }
  return Object.assign(world, {
    service: createService(world, dice.split()),
    client: startClient(world, relays[0]!, dice.split()),
  });
}

/** Switches everything on. */
export function startWorld(world: World, dice: Dice): void {
  for (const proxy of world.proxies) proxy.start();
  const relay = world.relays[0]!;
  if (world.plan.unsetClock) relay.host.wallAhead = -BEGINNING;
  relay.start();
  world.plan.devices.forEach((device, i) =>
    startPhone(world, { device, address: `198.51.100.${i + 1}`, dice: dice.split() }),
  );
  startForger(world, dice.split());
  startProbes(world);
}

const urlOf = (name: string): string => `wss://${name}/`;

import type { Milliseconds } from '../../../shared/clock.ts';
import type { AskedPush, Fact } from './facts.ts';

/** A message as its store's history tells of it. */
export interface BookedMessage {
  id: string;
  device: string;
  /** `contact-me` or `dls`. */
  kind: string;
  generation: number;
  state: string;
  /** Simulated time before which it was not there in its present generation. */
  since: Milliseconds;
  /** Store time of that, at least and at most. */
  from: Span;
  /** Store time of its end, at least. */
  endedFrom: Milliseconds;
  /** What was asked for; null = nobody heard that it was accepted. */
  push: AskedPush | null;
}

/** A time that is not known exactly. */
export interface Span {
  least: Milliseconds;
  most: Milliseconds;
}

/** One life of a relay's disk, between two times that a backup was put back. */
export interface Store {
  messages: Map<string, BookedMessage>;
  /** Newest generation by device. */
  generations: Map<string, number>;
  /** Messages that clients were told of. */
  acknowledged: Set<string>;
  /** The newest message by device and key. */
  keys: Map<string, { id: string; push: AskedPush }>;
  seq: number;
  /** Store time before which nothing has happened that the last commit told of, at least. */
  told(): Milliseconds;
  /** Simulated time at which its relay began; Infinity while none runs. */
  runsSince(): Milliseconds;
  /** Store time now. */
  time(now: Milliseconds): Span;
}

/** Which run writes to which store, and what time it is there. */
export interface Stores {
  of(run: number): Store;
  take(fact: Fact, now: Milliseconds): void;
}

/** From a commit until it is told of, at most: a slow disk, and a relay that stands still. */
const COMMIT_MS = 60_000;

/** A wall clock that says an earlier time was never set. */
const FIRST_WALL = Date.UTC(2026, 0, 1);

/**
 * Store time runs by the monotonic clock while the relay does. A stop counts from the latest wall time that there can
 * have been at its beginning, and not at all where the clock had never been set. What a store remembers is not seen from
 * outside, hence the spans.
 */
export function createStores(): Stores {
  interface Kept extends Store {
    least: Milliseconds;
    most: Milliseconds;
    setAt: Milliseconds;
    running: boolean;
    committed: Milliseconds;
    before: Milliseconds;
    /** How far the wall clock was ahead of store time at most, as the store remembers it. It never shrinks. */
    ahead: Span;
    /** The least of that which any older state of the store can remember. */
    firstAhead: Milliseconds | null;
    relay: string;
    /** How far the wall clock of its machine is ahead of simulated time in this run, each from when on. */
    walls: { at: Milliseconds; ahead: Milliseconds }[];
    /** Whether the first commit of this run was told. */
    begun: boolean;
  }
  const stores = new Map<string, Kept>();
  const byRun = new Map<number, Kept>();

  const open = (): Kept => {
    const store: Kept = {
      messages: new Map(),
      generations: new Map(),
      acknowledged: new Set(),
      keys: new Map(),
      seq: 0,
      least: 0,
      most: 0,
      setAt: 0,
      running: false,
      committed: 0,
      before: 0,
      ahead: { least: 0, most: 0 },
      firstAhead: null,
      relay: '',
      walls: [],
      begun: false,
      told: () => store.before,
      runsSince: () => (store.running ? store.setAt : Infinity),
      time(now) {
        const passed = store.running ? now - store.setAt : 0;
        return { least: store.least + passed, most: store.most + passed };
      },
    };
    return store;
  };

  /** Where the clock can have been unset, the longest stop is one that begins as soon as it counts. */
  const begin = (store: Kept, wall: Milliseconds): Span => {
    const { committed, most, ahead } = store;
    const certain = committed + ahead.least >= FIRST_WALL;
    const possible = most + ahead.most >= FIRST_WALL;
    return {
      least: certain ? Math.max(committed, wall - ahead.most) : committed,
      most: possible ? Math.max(most, wall - Math.max(ahead.least, FIRST_WALL - most)) : most,
    };
  };

  const setClock = (store: Kept, now: Milliseconds, ahead: Milliseconds): void => {
    store.walls.push({ at: now, ahead });
    store.ahead.most = Math.max(store.ahead.most, now + ahead - store.time(now).least);
  };

  /** What was committed just now was done within a time before, and the clock may have been set since. */
  const remember = (store: Kept, now: Milliseconds): void => {
    const { least, most } = store.time(now);
    store.committed = least - COMMIT_MS;
    const since = now - COMMIT_MS;
    const recent = store.walls.filter((_, i) => (store.walls[i + 1]?.at ?? Infinity) > since);
    const ahead = Math.min(...recent.map((each) => each.ahead)) + now - most;
    store.ahead.least = Math.max(store.ahead.least, ahead);
    store.firstAhead ??= store.ahead.least;
  };

  return {
    of(run) {
      const store = byRun.get(run);
      if (store === undefined) throw new Error(`run ${run} has no store`);
      return store;
    },
    take(fact, now) {
      switch (fact.what) {
        case 'relay-began': {
          const store = stores.get(fact.store) ?? open();
          stores.set(fact.store, store);
          byRun.set(fact.run, store);
          Object.assign(store, begin(store, fact.wall));
          store.setAt = now;
          store.running = true;
          store.begun = false;
          store.relay = fact.relay;
          store.walls = [];
          return setClock(store, now, fact.wall - now);
        }
        case 'clock-set': {
          for (const store of stores.values()) {
            const last = store.walls.at(-1);
            if (!store.running || store.relay !== fact.relay || last === undefined) continue;
            setClock(store, now, last.ahead + fact.by);
          }
          return;
        }
        case 'relay-ended': {
          const store = byRun.get(fact.run);
          if (store === undefined) return;
          store.most = store.time(now).most;
          store.running = false;
          return;
        }
        case 'store-restored': {
          const store = open();
          const from = stores.get(fact.from);
          if (from !== undefined) {
            store.most = from.time(now).most;
            store.firstAhead = from.firstAhead;
            store.ahead = { least: from.firstAhead ?? 0, most: from.ahead.most };
          }
          stores.set(fact.store, store);
          return;
        }
        case 'commit': {
          const store = byRun.get(fact.run);
          if (store === undefined) return;
          // What is told first may have happened before the crash, and in a backup at any time.
          store.before = fact.old ? -Infinity : store.committed;
          if (store.begun && fact.events.length > 0) remember(store, now);
          store.begun = true;
          return;
        }
        default:
      }
    },
  };
}

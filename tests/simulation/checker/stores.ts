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

/**
 * Store time is the wall time of the start or the last time that the store remembers, whichever is later, and from then
 * on runs by the monotonic clock. What a store remembers is not seen from outside, hence the spans.
 */
export function createStores(): Stores {
  interface Kept extends Store {
    least: Milliseconds;
    most: Milliseconds;
    setAt: Milliseconds;
    running: boolean;
    committed: Milliseconds;
    before: Milliseconds;
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
      told: () => store.before,
      runsSince: () => (store.running ? store.setAt : Infinity),
      time(now) {
        const passed = store.running ? now - store.setAt : 0;
        return { least: store.least + passed, most: store.most + passed };
      },
    };
    return store;
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
          store.least = Math.max(fact.wall, store.committed);
          store.most = Math.max(fact.wall, store.most);
          store.setAt = now;
          store.running = true;
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
          store.most = stores.get(fact.from)?.time(now).most ?? 0;
          stores.set(fact.store, store);
          return;
        }
        case 'commit': {
          const store = byRun.get(fact.run);
          if (store === undefined) return;
          // What is told first may have happened before the crash, and in a backup at any time.
          store.before = fact.old ? -Infinity : store.committed;
          if (fact.events.length > 0) store.committed = store.time(now).least - COMMIT_MS;
          return;
        }
        default:
      }
    },
  };
}

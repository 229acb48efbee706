import type { RelayConfig } from '../../../relay-client/config.ts';
import { DEFAULT_RELAY_LIMITS } from '../../../relay-client/config-limits.ts';
import { DEFAULT_COURIER } from '../../../relay-client/courier/config.ts';
import { DEFAULT_WARNINGS } from '../../../relay-client/warnings/config.ts';
import { copyModelDisk, createModelDisk, createModelOutbox } from '../../../relay-client/outbox/model.ts';
import type { ModelDisk, ModelFaults, ModelOutbox } from '../../../relay-client/outbox/model.ts';
import type { HistoryEntry, Message, OutboxCounts } from '../../../relay-client/outbox/outbox.ts';
import type { dialLane } from '../../../relay-client/links/dial.ts';
import { createRelay } from '../../../relay-client/relay.ts';
import type { Relay } from '../../../relay-client/relay.ts';
import { describeError, isSallyportError } from '../../../shared/errors.ts';
import type { DeviceId } from '../../../shared/device-id.ts';
import type { SeenActions } from '../checker/facts.ts';
import type { Dice } from '../engine/dice.ts';
import { createProcess } from '../engine/process.ts';
import type { Host, Process } from '../engine/process.ts';
import type { Route } from '../engine/route.ts';
import { FILE_WAIT_MS, SOFTWARE_GAP_MS } from './plan.ts';
import type { ProxyPlace, RelayEnd } from './proxy.ts';
import type { World } from './world.ts';

/** Entries of history read after a commit. */
const READ = 10_000;
/** Messages of one device whose results are read after a commit. */
const READ_MESSAGES = 20;

/** A running relay as clients see it. */
export interface RunningRelay {
  run: number;
  process: Process;
  outbox: ModelOutbox;
  /** Null until it listens. */
  relay: Relay | null;
}

/** One relay of the run, over all the programs that run in its place one after another, and its disk. */
export interface RelayPlace {
  readonly name: string;
  readonly host: Host;
  readonly routes: ReadonlyMap<string, Route>;
  readonly faults: Partial<ModelFaults>;
  running(): RunningRelay | null;
  start(): void;
  /** @param survivors - calls that the kernel had written without being asked to */
  crash(survivors: number): void;
  /** Ends it in order, as SIGTERM does. */
  close(): void;
  backUp(): void;
  backup(): { disk: ModelDisk; store: string } | null;
  /** Puts a copy of the last backup of `from` in the place of the disk; false while it runs, or where there is none. */
  restore(from: RelayPlace): boolean;
}

export function createRelayPlace(
  world: World,
  options: { name: string; dice: Dice; routes: ReadonlyMap<string, Route> },
): RelayPlace {
  const { name, dice, routes } = options;
  const host: Host = { wallAhead: 0 };
  const faults: Partial<ModelFaults> = { syncDelay: world.plan.syncDelayMs };
  let disk = createModelDisk();
  let store = world.nextStore();
  let backup: { disk: ModelDisk; store: string } | null = null;
  /** Up to where its history was told. */
  let told = 0;
  /** The history that is told next is that of a backup. */
  let restored = false;
  let current: RunningRelay | null = null;

  const ended = (gone: RunningRelay, how: 'crash' | 'close' | 'storage'): void => {
    if (current !== gone) return;
    current = null;
    world.tell({ what: 'relay-ended', relay: name, run: gone.run, how });
  };

  const readActions = async (outbox: ModelOutbox): Promise<SeenActions[]> => {
    if (!world.plan.actions) return [];
    const all = await Promise.all(
      world.plan.devices.map((device) => outbox.messages(device as DeviceId, READ_MESSAGES)),
    );
    return all
      .flat()
      .filter(({ kind }) => kind === 'dls')
      .map(toActions);
  };

  /** Tells what each commit has brought. All reads are begun in one go, so that they are of one state. */
  function follow({ run, outbox, process }: RunningRelay): void {
    const read = (): void => {
      Promise.all([outbox.history({ after: told, limit: READ }), outbox.counts(), readActions(outbox)]).then(
        ([history, counts, held]) => {
          if (!process.alive()) return;
          const fresh = history.filter(({ seq }) => seq > told);
          const events = fresh.flatMap(toFact);
          told = fresh.at(-1)?.seq ?? told;
          const old = restored;
          world.tell({ what: 'commit', relay: name, run, old, events, counts: toCounts(counts), held });
          restored = false;
        },
        // It crashed meanwhile; what it had committed is read by the next one.
        () => undefined,
      );
    };
    outbox.onCommit(read);
    read();
  }

  function dial(end: RelayEnd, proxy: ProxyPlace, route: Route) {
    return (...[, lane, events, { signal } = {}]: Parameters<typeof dialLane>): ReturnType<typeof dialLane> =>
      world.dialThrough({ end, proxy, route, lane, events, signal: signal ?? new AbortController().signal });
  }

  return {
    name,
    host,
    routes,
    faults,
    running: () => current,
    start() {
      if (current !== null) return;
      const run = world.nextRun();
      const process = createProcess(world.scheduler, `${name}.${run}`, host, dice.whole(1_000, 100_000_000));
      const own = dice.split();
      const random = (size: number): Uint8Array => own.bytes(size);
      let outbox: ModelOutbox;
      try {
        outbox = createModelOutbox({
          clock: process.clock,
          random,
          limits: { messages: world.plan.held },
          faults,
          disk,
          onFatal: () => crash(now, 'storage', 0),
        });
      } catch (error) {
        // A restored store has its new name written down when it is opened; without room it does not start.
        if (isSallyportError(error, 'OUTBOX_STORAGE')) return process.kill();
        throw error;
      }
      const now: RunningRelay = { run, process, outbox, relay: null };
      current = now;
      world.tell({
        what: 'relay-began',
        relay: name,
        store,
        run,
        wall: process.clock.wall(),
      });
      follow(now);
      const end: RelayEnd = { name: 'hq-1', run, process };
      const dials = new Map(
        [...routes].map(([url, route]) => [url, dial(end, world.proxyOf(url), route)] as const),
      );
      const failed = (error: unknown): void => {
        if (process.alive()) world.breach('crash', `a relay could not start: ${describeError(error)}`);
      };
      createRelay(configOf(world, [...routes.keys()]), {
        clock: process.clock,
        log: world.log.child({ relay: process.name }),
        software: 'simulation',
        world: {
          random,
          readIdentity: async () => ({
            cert: '',
            key: '',
            catcherSecret: Buffer.alloc(32),
            formerCatcherSecret: undefined,
            pollSecrets: [Buffer.alloc(32)],
          }),
          openOutbox: async () => outbox,
          dialLane: (target, ...rest) => {
            const url = target.url.href;
            const way = dials.get(url);
            if (way === undefined) throw new Error(`nobody is at ${url}`);
            return way(target, ...rest);
          },
          createLookup: () => {
            throw new Error('there are no names here');
          },
          dialTcp: (_address, _clock, _limitMs, done) => world.service.dial(process, done),
        },
      }).then((relay) => {
        now.relay = relay;
        if (current !== now) return;
        world.tell({ what: 'relay-listens', relay: name, run });
        if (world.relays[0]?.name === name) world.client.lookUp(now);
      }, failed);
    },
    crash(survivors) {
      if (current !== null) crash(current, 'crash', survivors);
    },
    close() {
      const leaving = current;
      if (leaving === null || leaving.relay === null) return;
      leaving.relay.close().then(
        () => {
          ended(leaving, 'close');
          leaving.process.kill();
        },
        (error: unknown) => {
          if (leaving.process.alive())
            world.breach('crash', `a relay could not end: ${describeError(error)}`);
        },
      );
    },
    backUp() {
      backup = { disk: copyModelDisk(disk), store };
    },
    backup: () => backup,
    restore(from) {
      const found = from.backup();
      if (current !== null || found === null) return false;
      // A copy each time: a disk is written to.
      disk = copyModelDisk(found.disk);
      store = world.nextStore();
      told = 0;
      restored = true;
      world.tell({ what: 'store-restored', store, from: found.store });
      return true;
    },
  };

  function crash(leaving: RunningRelay, how: 'crash' | 'storage', survivors: number): void {
    leaving.outbox.crash(survivors);
    ended(leaving, how);
    leaving.process.kill();
  }
}

function configOf(world: World, proxies: string[]): RelayConfig {
  return {
    name: 'hq-1',
    site: 'default',
    key: '',
    proxies: proxies.map((url) => ({
      url: new URL(url),
      trust: { pins: ['sha256:simulated'] },
      via: null,
    })),
    formerKey: null,
    outbox: { path: '/nowhere', keyFile: '', postgres: null },
    services: [
      {
        name: 'wpi',
        kind: 'wpi',
        tls: null,
        upstream: 'http://dls:80',
        upstreamTls: {},
        forwarded: 'none',
        rewriteContactMe: false,
        // Its library keeps this time by the real clock, which plays no part here.
        limits: { upstreamIdleMs: 3_600_000 },
      },
    ],
    contactMe: null,
    pollSource: null,
    api: null,
    webhooks: [],
    warnings: DEFAULT_WARNINGS,
    // What would be waited for in hours is seen within a run.
    courier: {
      ...DEFAULT_COURIER,
      fileWait: FILE_WAIT_MS,
      softwareWait: FILE_WAIT_MS,
      softwareGap: SOFTWARE_GAP_MS,
    },
    deadAfterSessions: world.plan.deadAfterSessions,
    limits: { ...DEFAULT_RELAY_LIMITS, drain_s: 5, lane_streams: 64, held: world.plan.held },
  };
}

/** Of a campaign nothing is promised here. */
const toFact = ({ seq, device, message, generation, event, what }: HistoryEntry) =>
  device === null ? [] : [{ seq, device, message, generation, event, why: what }];

const toActions = ({ id, device, generation, state, actions, results }: Message): SeenActions => ({
  id,
  device,
  generation,
  state,
  actions,
  results,
});

const toCounts = ({ accepted, held, ended }: OutboxCounts) => ({ accepted, held, ended: { ...ended } });

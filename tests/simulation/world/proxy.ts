import type { Duplex } from 'node:stream';
import { createMarks } from '../../../proxy/marks.ts';
import type { PolledDevice } from '../../../proxy/marks.ts';
import { entryOf, LAST_202, LAST_POLL, openTable } from '../../../proxy/marks-layout.ts';
import { openMarks } from '../../../proxy/marks-reader.ts';
import { Connections } from '../../../proxy/poll/connections.ts';
import { counterBytes, openCounters } from '../../../proxy/poll/counters.ts';
import { DEFAULT_POLL_LIMITS } from '../../../proxy/poll/limits.ts';
import { createPollHandler } from '../../../proxy/poll/poll-handler.ts';
import { createPollSecrets } from '../../../proxy/poll/poll-secrets.ts';
import { createRoutes } from '../../../proxy/poll/routes.ts';
import { createUnknownReports } from '../../../proxy/poll/unknown-reports.ts';
import { createLoopShare } from '../../../proxy/relays/loop-share.ts';
import { createRelayLink } from '../../../proxy/relays/relay-link.ts';
import type { RelayLink } from '../../../proxy/relays/relay-link.ts';
import { createSite } from '../../../proxy/site.ts';
import type { SiteLink } from '../../../proxy/site-links.ts';
import type { Site } from '../../../proxy/site.ts';
import { createUnknownDevices } from '../../../proxy/unknown-devices.ts';
import type { Lane, LaneEvents } from '../../../shared/lane.ts';
import { CLOSE } from '../../../shared/protocol.ts';
import { splice } from '../../../shared/splice.ts';
import type { Dice } from '../engine/dice.ts';
import { createProcess } from '../engine/process.ts';
import type { Host, Process } from '../engine/process.ts';
import type { Wire } from '../engine/route.ts';
import { PollConnection } from './poll-connection.ts';
import type { World } from './world.ts';

const SITE = 'default';
const TELEMETRY_MS = 1_000;
const TICK_MS = 1_000;

/** One proxy of the run, over all the programs that run in its place one after another. */
export interface ProxyPlace {
  readonly name: string;
  process(): Process | null;
  start(): void;
  /** Ends it at once, with all that it knew. */
  crash(): void;
  /** Tells its relays that it goes, and ends it a little later. */
  drain(): void;
  /** Takes a relay's dial. */
  accept(relay: RelayEnd, lane: { kind: 'control' } | { kind: 'stream'; link: string }, wire: Wire): void;
  /** What a poll is answered now; null where nobody listens. What a probe changes is not looked at: they are many. */
  poll(device: string, by: PollBy): number | null;
  /** Takes a phone's connection; the run of the relay that it leads to, 0 where to none, null where nobody listens. */
  connect(socket: Duplex, address: string): number | null;
}

/** Who polls: the device, somebody in its name, or the simulation itself. */
export type PollBy = 'phone' | 'forger' | 'probe';

/** Who dials. */
export interface RelayEnd {
  name: string;
  run: number;
  process: Process;
}

interface Running {
  process: Process;
  site: Site;
  links: Map<string, RelayLink>;
  /** Asks the poll worker. */
  ask(device: string): number;
  /** Copies all of the shared memory that a decision may rest on into `copy`; returns how many words that is. */
  copyMarks(copy: Uint32Array): number;
  stop(): void;
}

export function createProxyPlace(world: World, name: string, dice: Dice): ProxyPlace {
  const host: Host = { wallAhead: 0 };
  let running: Running | null = null;
  let made = 0;
  const runs = new WeakMap<SiteLink, number>();

  function run(): Running {
    const process = createProcess(world.scheduler, name, host, dice.whole(1_000, 100_000_000));
    const { clock } = process;
    const log = world.log.child({ proxy: name });
    const unknown = createUnknownDevices();
    const marks = createMarks({
      sites: [SITE],
      clock,
      random: (bytes) => bytes.set(dice.bytes(bytes.length)),
      capacity: 8,
    });
    const site = createSite(
      {
        name: SITE,
        pollPrefixes: null,
        doors: ['wpi'],
        sessions: 'relayed',
        sessionGapMs: world.plan.gapMs,
        pollSecret: 'none',
        held: 1_000_000,
        pollConnections: Infinity,
        sessionConnections: 5_000,
        bytesPerSecond: 0,
        maxSessions: world.plan.maxSessions,
      },
      { marks, clock, log, held: 1_000, onKnown: (device) => unknown.forget(SITE, device) },
    );

    // A poll worker has a thread of its own: what holds the main thread up does not hold it up.
    const attachment = marks.attach();
    const reader = openMarks(attachment.seed);
    const counters = openCounters(new SharedArrayBuffer(counterBytes(1)));
    const connections = new Connections(DEFAULT_POLL_LIMITS, counters, clock.monotonic);
    const reports = createUnknownReports([SITE], DEFAULT_POLL_LIMITS.unknownReports);
    const handler = createPollHandler({
      connections,
      marks: reader,
      routes: createRoutes([{ number: 0, prefixes: null, secret: false }]),
      secrets: createPollSecrets(),
      limits: DEFAULT_POLL_LIMITS,
      counters,
      unknown: reports,
      now: clock.monotonic,
    });

    clock.every(TICK_MS, () => site.tick());
    clock.every(TELEMETRY_MS, () => {
      const [link] = site.links();
      for (const device of reports.take()) unknown.note(device);
      const polled: PolledDevice[] = [...marks.scan()].flat();
      const strangers = unknown.news(SITE);
      if (polled.length + strangers.length > 0) link?.sendPolls(polled, strangers);
    });

    return {
      process,
      site,
      links: new Map(),
      ask(device) {
        const connection = new PollConnection();
        connections.opened();
        const request = `GET /dcmp/contact-me?device-id=${device} HTTP/1.1\r\nHost: proxy\r\nConnection: close\r\n\r\n`;
        handler.serve(connection, null);
        return connection.ask(Buffer.from(request));
      },
      copyMarks(copy) {
        const { words, capacity } = openTable(attachment.seed.table);
        const sites = new Uint32Array(attachment.seed.sites);
        copy.set(words);
        copy.set(sites, words.length);
        // What workers write, when a device polled last, is no part of what is decided by.
        for (let slot = 0; slot < capacity; slot++) {
          copy[entryOf(slot) + LAST_POLL] = copy[entryOf(slot) + LAST_202] = 0;
        }
        return words.length + sites.length;
      },
      stop() {
        attachment.detach();
        marks.close();
      },
    };
  }

  const end = (): void => {
    if (running === null) return;
    const { process, stop } = running;
    running = null;
    process.kill();
    stop();
    world.tell({ what: 'proxy-ended', proxy: name });
  };

  function control(relay: RelayEnd, wire: Wire, now: Running): void {
    const id = `${name}-${(made += 1)}`;
    let told = false;
    const over = (): void => {
      if (told) return;
      told = true;
      now.links.delete(id);
      world.tell({ what: 'link-over', proxy: name, link: id });
    };
    const link = createRelayLink({
      id,
      record: { name: relay.name, site: SITE, pin: 'sha256:relay', added: '' },
      site: now.site,
      doors: () => [{ name: 'wpi', service: 'wpi', tls: 'proxy' }],
      software: 'simulation',
      clock: now.process.clock,
      log: world.log.child({ proxy: name }),
      maxStreams: 64,
      share: createLoopShare({ msPerSecond: 250, clock: now.process.clock, onHeldBack: () => undefined }),
      streamShare: createLoopShare({
        msPerSecond: 250,
        clock: now.process.clock,
        onHeldBack: () => undefined,
      }),
      onFenced: () => undefined,
    });
    now.links.set(id, link);
    world.tell({ what: 'link-made', proxy: name, link: id, run: relay.run });
    const events: LaneEvents = {
      frame(text) {
        world.tell({ what: 'frame', proxy: name, link: id, text: String(text) });
        link.events.frame(text);
        const [serving] = now.site.links();
        if (serving !== undefined && !runs.has(serving)) runs.set(serving, relay.run);
      },
      drained: () => link.events.drained(),
      closed(code, reason) {
        link.events.closed(code, reason);
        over();
      },
    };
    wire.attach('toProxy', events);
    link.start(watchClose(wire.proxyEnd, over));
  }

  function stream(link: RelayLink, wire: Wire): void {
    const place = link.addStreamLane();
    const { id } = link;
    wire.attach('toProxy', {
      frame: (bytes) => place.events.frame(bytes),
      drained: () => place.events.drained(),
      closed(code, reason) {
        place.events.closed(code, reason);
        world.tell({ what: 'stream-lane', proxy: name, link: id, open: false });
      },
    });
    world.tell({ what: 'stream-lane', proxy: name, link: id, open: true });
    place.start(wire.proxyEnd);
  }

  return {
    name,
    process: () => running?.process ?? null,
    start() {
      if (running !== null) return;
      running = run();
      world.tell({ what: 'proxy-began', proxy: name });
    },
    crash: end,
    drain() {
      const leaving = running;
      if (leaving === null) return;
      for (const link of leaving.site.links()) link.drain();
      leaving.process.clock.after(dice.whole(100, 5_000), () => {
        for (const link of [...leaving.links.values()]) link.close(CLOSE.going, 'the proxy is going away');
        leaving.process.clock.after(100, () => void (running === leaving && end()));
      });
    },
    accept(relay, lane, wire) {
      const now = running;
      if (now === null) return wire.proxyEnd.cut();
      now.process.enter(() => {
        if (lane.kind === 'control') return control(relay, wire, now);
        const link = now.links.get(lane.link);
        if (link === undefined) wire.proxyEnd.cut();
        else stream(link, wire);
      });
    },
    poll(device, by) {
      if (running === null) return null;
      const { ask } = running;
      const answered = by === 'probe' ? { status: ask(device), changed: null } : askWatched(running, device);
      world.tell({ what: 'poll', proxy: name, device, by, ...answered });
      return answered.status;
    },
    connect(socket, address) {
      const now = running;
      if (now === null) return null;
      const [serving] = now.site.links();
      now.process.onKilled(() => socket.destroy());
      now.process.enter(() => {
        try {
          const opening = { service: 'wpi', door: 'wpi', address, port: 50_000, tls: 'proxy' as const };
          splice(socket, now.site.open(opening));
        } catch {
          // No link: the door refuses.
          socket.destroy();
        }
      });
      return serving === undefined ? 0 : (runs.get(serving) ?? 0);
    },
  };
}

/** Polls, and says what of the proxy's state was another afterwards. */
function askWatched(
  { site, copyMarks, ask }: Running,
  device: string,
): { status: number; changed: string | null } {
  const words = JSON.stringify(site.status());
  const length = copyMarks(BEFORE);
  const status = ask(device);
  const marksChanged =
    copyMarks(AFTER) !== length || Buffer.compare(bytesOf(BEFORE, length), bytesOf(AFTER, length)) !== 0;
  const changed = marksChanged ? 'its marks' : words === JSON.stringify(site.status()) ? null : 'its status';
  return { status, changed };
}

/** Room for the marks of any run, used over and over. */
const MARKS_WORDS = 32_768;
const BEFORE = new Uint32Array(MARKS_WORDS);
const AFTER = new Uint32Array(MARKS_WORDS);

const bytesOf = (words: Uint32Array, length: number): Uint8Array =>
  new Uint8Array(words.buffer, 0, length * Uint32Array.BYTES_PER_ELEMENT);

/** Tells when the owner of a lane closes it: what still comes on it counts for nothing. */
function watchClose(lane: Lane, closed: () => void): Lane {
  return {
    send: (frame, sent) => lane.send(frame, sent),
    backlog: () => lane.backlog(),
    close(code, reason) {
      lane.close(code, reason);
      closed();
    },
    cut() {
      lane.cut();
      closed();
    },
  };
}

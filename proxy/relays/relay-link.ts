import type { Clock } from '../../shared/clock.ts';
import { describeError, SallyportError } from '../../shared/errors.ts';
import { createHeartbeat } from '../../shared/heartbeat.ts';
import type { Lane, LaneEvents } from '../../shared/lane.ts';
import type { Log } from '../../shared/log.ts';
import { STREAM_WINDOW_BYTES, WIDE_WINDOW_BYTES } from '../../shared/mux-frames.ts';
import { createMux } from '../../shared/mux.ts';
import type { Mux } from '../../shared/mux.ts';
import {
  CLOSE,
  CONTROL_BACKLOG_BYTES,
  ENTRIES_PER_FRAME,
  GREETING_MS,
  HEARTBEAT_MS,
} from '../../shared/protocol.ts';
import type { ProxyFrame, RelayFrame } from '../../shared/protocol.ts';
import { readRelayFrame } from '../../shared/protocol-read.ts';
import type { LoopShare } from './loop-share.ts';
import type { RelayRecord } from './registry.ts';
import { SITE_LINKS } from '../site-links.ts';
import type { SiteLink } from '../site-links.ts';
import type { Site } from '../site.ts';

/** Bytes that may wait on a control lane before telemetry is left out; marks and heartbeats go first. */
const TELEMETRY_BACKLOG_BYTES = 262_144;
/** Bytes of telemetry that are told at once; the polls of more devices within a second are left out. */
const TELEMETRY_BURST_BYTES = 2 * 1_048_576;
/** Within this a link may bring {@link BEATS} pings and pongs: an honest one brings a handful. */
const BEATS_WINDOW_MS = 10_000;
export const BEATS = 1_000;
/**
 * What a stream lane's messages may take of the loop without being charged for it. For each byte of a phone's stream, several
 * times what bulk takes; for each frame that the lane has sent, since what phones send is to be answered. With phones of its own
 * a relay can earn by these, so they give it no longer turn.
 */
const FREE_MS_PER_BYTE = 1 / 100_000;
const FREE_MS_PER_FRAME_SENT = 0.1;
/** What reading one message takes before it comes to be timed. */
const MESSAGE_MS = 0.005;
/** A link that was heard of within this is alive: each side says something each {@link HEARTBEAT_MS}. */
const ALIVE_MS = 1.5 * HEARTBEAT_MS;

export interface RelayLinkOptions {
  /** Random, names this link for its stream lanes. */
  id: string;
  record: RelayRecord;
  site: Site;
  /** The site's session doors at this moment. */
  doors: () => { name: string; service: string; tls: 'relay' | 'proxy' }[];
  software: string;
  clock: Clock;
  log: Log;
  maxStreams: number;
  /** What this relay's control frames may take of the loop. */
  share: LoopShare;
  /** What frames of its stream lanes may, besides bytes of phones' streams and answers to phones. */
  streamShare: LoopShare;
  /** Another link with this relay's key was alive, and had to make room. */
  onFenced: () => void;
}

/** The proxy's side of one relay's link: its control lane, from hello to the end, and its stream lanes. */
export interface RelayLink {
  readonly id: string;
  readonly record: RelayRecord;
  /** To be handed to the control lane when it is made. */
  readonly events: LaneEvents;
  /** The control lane is open. */
  start(lane: Lane): void;
  /** Takes one more stream lane; returns what that lane's events go to. */
  addStreamLane(): { events: LaneEvents; start(lane: Lane): void };
  close(code: number, reason: string): void;
}

export function createRelayLink(options: RelayLinkOptions): RelayLink {
  const { record, site, clock } = options;
  const log = options.log.child({ relay: record.name, site: site.name, link: options.id.slice(0, 8) });
  const streamLanes = new Map<Lane, Mux>();
  let lane: Lane | null = null;
  let serving: SiteLink | null = null;
  /** Most credit that the relay takes on a stream. */
  let peerCredit = STREAM_WINDOW_BYTES;
  let over = false;
  let pings = 0;
  let pingedAt = 0;
  let roundTrip: number | null = null;
  let heardAt = clock.monotonic();
  let beats = 0;
  let beatsSince = heardAt;

  const greeting = clock.after(GREETING_MS, () => close(CLOSE.noGreeting, 'no hello in time'));
  const heartbeat = createHeartbeat({
    clock,
    beat() {
      pingedAt = clock.monotonic();
      say({ type: 'ping', n: ++pings });
    },
    onSilent: (ms) => close(CLOSE.silent, `nothing heard for ${Math.round(ms)} ms`),
  });

  function say(frame: ProxyFrame): void {
    if (lane === null || over) return;
    if (lane.backlog() > CONTROL_BACKLOG_BYTES) {
      return close(CLOSE.violation, `the relay leaves more than ${CONTROL_BACKLOG_BYTES} bytes unread`);
    }
    lane.send(JSON.stringify(frame));
  }

  function close(code: number, reason: string): void {
    lane?.close(code, reason);
    end(code, reason);
  }

  /** The link is over for this side, whatever its connections still do. */
  function end(code: number, reason: string): void {
    if (over) return;
    over = true;
    greeting.cancel();
    heartbeat.stop();
    if (serving !== null) site.dropLink(serving);
    log.info('relay link closed', { code, reason });
    for (const [streamLane, mux] of streamLanes) {
      mux.closed(new SallyportError('LINK_DOWN', `the link of relay ${record.name} closed: ${reason}`));
      streamLane.close(code, reason);
    }
    streamLanes.clear();
  }

  function hello(frame: Extract<RelayFrame, { type: 'hello' }>): void {
    greeting.cancel();
    if (frame.site !== site.name) {
      return close(CLOSE.violation, `this relay serves site ${site.name} here, not ${frame.site}`);
    }
    const former = site.links().find(({ relay }) => relay === record.name) ?? null;
    const others = site.links().filter(({ relay }) => relay !== record.name);
    const stranger = others.find(({ incarnation }) => incarnation !== frame.incarnation);
    if (stranger !== undefined) {
      return close(
        CLOSE.siteTaken,
        `site ${site.name} is served by relay ${stranger.relay} with another outbox`,
      );
    }
    if (others.length >= SITE_LINKS) {
      return close(CLOSE.siteTaken, `site ${site.name} is served by ${SITE_LINKS} relays already`);
    }
    peerCredit = frame.credit ?? STREAM_WINDOW_BYTES;
    serving = siteLink(frame.incarnation);
    const holds = site.holds();
    site.takeSecrets(record.name, frame.pollSecrets ?? []);
    site.takeLink(serving, frame.blind);
    if (former !== null) {
      // A link that the network has cut is silent by now; one that isn't belongs to a second relay, or a stolen key.
      const fenced = former.silentFor() < ALIVE_MS;
      if (fenced) {
        options.onFenced();
        log.error('two live links with the key of one relay: the older one was closed', {
          silentMs: Math.round(former.silentFor()),
        });
      } else log.warn('relay link replaced', { former: former.relay });
      former.close(CLOSE.replaced, 'a newer link of this relay took over');
    }
    log.info('relay link up', { software: frame.software, holds: holds?.seq ?? null });
    say({
      type: 'welcome',
      link: options.id,
      software: options.software,
      site: site.name,
      doors: options.doors(),
      holds,
      credit: WIDE_WINDOW_BYTES,
      direct: site.config.sessions === 'direct',
      pollSecret: site.config.pollSecret === 'path',
      sessionGapMs: site.config.sessionGapMs,
    });
  }

  function siteLink(incarnation: string): SiteLink {
    return {
      relay: record.name,
      incarnation,
      since: clock.monotonic(),
      silentFor: () => clock.monotonic() - heardAt,
      open(opening) {
        const mux = leastLoaded(streamLanes.values());
        if (mux === null) {
          throw new SallyportError('LINK_DOWN', `relay ${record.name} has no stream lane open`);
        }
        return mux.open(opening);
      },
      carries: () => streamLanes.size > 0,
      streams: () => [...streamLanes.values()].reduce((sum, mux) => sum + mux.streams(), 0),
      roundTrip: () => roundTrip,
      sendPolls(polls, unknown) {
        if (lane === null || lane.backlog() > TELEMETRY_BACKLOG_BYTES) return;
        const now = clock.monotonic();
        const ago = (at: number): number => Math.max(0, Math.round(now - at));
        const most = Math.max(polls.length, unknown.length);
        for (let i = 0; i < most && lane.backlog() <= TELEMETRY_BURST_BYTES; i += ENTRIES_PER_FRAME) {
          say({
            type: 'polls',
            polls: polls
              .slice(i, i + ENTRIES_PER_FRAME)
              .map(({ device, at, status }) => ({ device, agoMs: ago(at), status })),
            unknown: unknown
              .slice(i, i + ENTRIES_PER_FRAME)
              .map(({ device, at, address }) => ({ device, agoMs: ago(at), address })),
          });
        }
      },
      sendMetrics(samples) {
        if (lane === null || lane.backlog() > TELEMETRY_BACKLOG_BYTES) return;
        say({ type: 'metrics', samples: samples.slice(0, ENTRIES_PER_FRAME) });
      },
      sendApplied: (position) => say({ type: 'applied', ...position }),
      drain: () => say({ type: 'drain', successor: true }),
      close,
    };
  }

  /** Whether there were more pings and pongs than anybody has a use for. */
  function tooManyBeats(): boolean {
    if (heardAt - beatsSince >= BEATS_WINDOW_MS) {
      beatsSince = heardAt;
      beats = 0;
    }
    return (beats += 1) > BEATS;
  }

  function hear(text: string): void {
    heartbeat.heard();
    heardAt = clock.monotonic();
    const read = readRelayFrame(text);
    if ('wrong' in read) return close(CLOSE.violation, read.wrong);
    if ('skipped' in read) return log.debug('control frame skipped', { type: read.skipped });
    const { frame } = read;
    if (serving === null) {
      if (frame.type !== 'hello') return close(CLOSE.violation, 'the first frame is not a hello');
      return hello(frame);
    }
    if ((frame.type === 'ping' || frame.type === 'pong') && tooManyBeats()) {
      return close(CLOSE.violation, `more than ${BEATS} pings and pongs in ${BEATS_WINDOW_MS / 1_000} s`);
    }
    site.heard(serving);
    if (frame.type === 'ping') return say({ type: 'pong', n: frame.n });
    if (frame.type === 'pong') {
      if (frame.n === pings) roundTrip = clock.monotonic() - pingedAt;
      return;
    }
    let wrong: string | null;
    try {
      wrong = site.frame(serving, frame);
    } catch (error) {
      // A fault of ours, but the other sites of this proxy shall not suffer from it.
      log.error('control frame failed', { type: frame.type, why: describeError(error) });
      wrong = `a ${frame.type} could not be handled; the proxy's log says why`;
    }
    if (wrong !== null) close(CLOSE.violation, wrong);
  }

  const events: LaneEvents = {
    frame(text) {
      if (over || typeof text !== 'string') return;
      const began = clock.monotonic();
      hear(text);
      const unread = options.share.spent(clock.monotonic() - began);
      if (unread !== null) lane?.hold?.(unread);
    },
    drained: () => undefined,
    closed: end,
  };

  return {
    id: options.id,
    record,
    events,
    start(opened) {
      lane = opened;
    },
    addStreamLane() {
      let own: Lane | null = null;
      let mux: Mux | null = null;
      const before = { received: 0, frames: 0 };
      const receive = (bytes: Buffer): void => {
        if (mux === null) return;
        const began = clock.monotonic();
        mux.receive(bytes);
        const { received, frames } = mux.moved;
        const beyondBytes =
          clock.monotonic() - began + MESSAGE_MS - (received - before.received) * FREE_MS_PER_BYTE;
        const answered = (frames - before.frames) * FREE_MS_PER_FRAME_SENT;
        Object.assign(before, { received, frames });
        const unread = options.streamShare.spent(beyondBytes - answered, beyondBytes);
        if (unread !== null) own?.hold?.(unread);
      };
      const gone = (code: number, reason: string): void => {
        mux?.closed(new SallyportError('LINK_DOWN', `a stream lane closed (${code} ${reason})`));
        if (own !== null && streamLanes.delete(own) && serving !== null) site.lanesChanged(serving);
      };
      return {
        events: {
          frame: (bytes) => void (typeof bytes !== 'string' && receive(bytes)),
          drained: () => mux?.drained(),
          closed: gone,
        },
        start(opened) {
          own = opened;
          if (over) return opened.close(CLOSE.going, 'the link is closed');
          mux = createMux({ lane: opened, clock, side: 'proxy', maxStreams: options.maxStreams, peerCredit });
          streamLanes.set(opened, mux);
          if (serving !== null) site.lanesChanged(serving);
        },
      };
    },
    close,
  };
}

function leastLoaded(muxes: Iterable<Mux>): Mux | null {
  let best: Mux | null = null;
  for (const mux of muxes) if (best === null || mux.streams() < best.streams()) best = mux;
  return best;
}

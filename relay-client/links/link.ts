import type { Clock, Milliseconds } from '../../shared/clock.ts';
import { describeError, SallyportError } from '../../shared/errors.ts';
import { createHeartbeat } from '../../shared/heartbeat.ts';
import type { Heartbeat } from '../../shared/heartbeat.ts';
import type { Lane, LaneEvents } from '../../shared/lane.ts';
import type { Log } from '../../shared/log.ts';
import { CUT, WIDE_WINDOW_BYTES } from '../../shared/mux-frames.ts';
import type { StreamOpening } from '../../shared/mux-frames.ts';
import type { CutCode, MuxStream } from '../../shared/mux-stream.ts';
import { createMux } from '../../shared/mux.ts';
import type { Mux } from '../../shared/mux.ts';
import { CLOSE, CONTROL_BACKLOG_BYTES, GREETING_MS } from '../../shared/protocol.ts';
import type { MetricSample, PollsFrame, ProxyFrame, RelayFrame } from '../../shared/protocol.ts';
import { readProxyFrame } from '../../shared/protocol-read.ts';
import type { Outbox } from '../outbox/outbox.ts';
import type { ProxyGuard } from './proxy-guard.ts';
import { createFeed } from './feed.ts';
import type { Feed } from './feed.ts';

export type DialLane = (
  lane: { kind: 'control' } | { kind: 'stream'; link: string },
  events: LaneEvents,
  signal: AbortSignal,
) => Promise<Lane>;

/** How a link ended. */
export interface LinkEnd {
  code: number;
  reason: string;
}

export type Welcome = Extract<ProxyFrame, { type: 'welcome' }>;

export interface LinkOptions {
  relay: string;
  site: string;
  software: string;
  services: string[];
  /** No service sees how sessions end. */
  blind: boolean;
  /** From which the secrets in poll paths are made, the present one first. Default: none. */
  pollSecrets?: readonly Buffer[];
  outbox: Outbox;
  streamLanes: number;
  maxStreams: number;
  clock: Clock;
  log: Log;
  /** Dials one lane of this link's proxy, unless the signal says that the link is over. */
  dial: DialLane;
  /** What the proxy must know besides the outbox: running quiets, then health. Said after each resync. */
  afterResync: () => RelayFrame[];
  onStream: (stream: MuxStream, opening: StreamOpening) => CutCode | null;
  /** What the proxy may bring. */
  guard: ProxyGuard;
  /**
   * A proxy claims to hold more than this outbox ever had: then all proxies must be told everything anew.
   *
   * @returns what is wrong with the claim, or null
   */
  onRestored: () => string | null;
  /** The proxy was greeted, and holds everything up to here from before; null = nothing. */
  onHolds: (seq: number | null) => void;
  onPolls: (frame: PollsFrame) => void;
  onMetrics: (samples: MetricSample[]) => void;
  /** State, round trip or position changed. */
  onChange: () => void;
}

/** One link to one proxy, from dialling to its end. It is never used again after that. */
export interface Link {
  /** Resolves when the link is over; never rejects. */
  readonly ended: Promise<LinkEnd>;
  /** Whether the proxy has welcomed this relay, holds all that is pending, and has a stream lane. */
  up(): boolean;
  draining(): boolean;
  /** Whether the proxy goes away in a way that whoever is dialled again is another one. */
  succeeded(): boolean;
  /** The newest sequence that the proxy said it holds; null = nothing so far. */
  applied(): number | null;
  roundTrip(): number | null;
  software(): string | null;
  /** Whether the site's phones reach the service by themselves, as far as the proxy has said. */
  direct(): boolean;
  /** Whether the proxy answers by the secrets in poll paths; null before its welcome. */
  pollSecret(): boolean | null;
  /** The site's session gap, as far as the proxy has said; null = it has not. */
  sessionGap(): Milliseconds | null;
  streams(): number;
  /** Says something, once the resync is whole; before that the resync itself will tell it. */
  say(frame: RelayFrame): void;
  close(code: number, reason: string): void;
}

export function createLink(options: LinkOptions): Link {
  const { clock, log, outbox, pollSecrets = [] } = options;
  const { promise: ended, resolve: resolveEnded } = Promise.withResolvers<LinkEnd>();
  const muxes = new Map<Lane, Mux>();
  let control: Lane | null = null;
  let heartbeat: Heartbeat | null = null;
  let feed: Feed | null = null;
  let welcome: Welcome | null = null;
  let over: LinkEnd | null = null;
  let synced = false;
  let draining = false;
  let succeeded = false;
  let applied: number | null = null;
  /** What the proxy says that it applied, beyond what is known here; null = nothing that is yet to be asked about. */
  let doubted: { incarnation: string; seq: number } | null = null;
  let checking = false;
  let pings = 0;
  let pingedAt = 0;
  let roundTrip: number | null = null;

  const gone = new AbortController();

  function send(frame: RelayFrame): void {
    if (control === null || over !== null) return;
    if (control.backlog() > CONTROL_BACKLOG_BYTES) {
      return close(CLOSE.violation, `the proxy leaves more than ${CONTROL_BACKLOG_BYTES} bytes unread`);
    }
    control.send(JSON.stringify(frame));
  }

  function end(code: number, text: string): void {
    if (over !== null) return;
    // Much of it comes from the proxy, and goes to logs and terminals.
    const reason = text.replace(/\p{Cc}+/gu, ' ');
    over = { code, reason };
    gone.abort();
    greeting.cancel();
    heartbeat?.stop();
    feed?.stop();
    const error = new SallyportError('LINK_DOWN', `the link closed: ${reason}`);
    for (const [lane, mux] of muxes) {
      mux.closed(error);
      lane.close(code, reason);
    }
    muxes.clear();
    options.onChange();
    resolveEnded(over);
  }

  function close(code: number, reason: string): void {
    control?.close(code, reason);
    end(code, reason);
  }

  function violation(why: string): void {
    hostile(why);
    close(CLOSE.violation, why);
  }

  function hostile(text: string): void {
    if (over !== null) return;
    // It may quote what the proxy sent, and goes to logs and terminals.
    const why = text.replace(/\p{Cc}+/gu, ' ');
    log.error('hostile proxy: the link is cut', { why });
    options.guard.hostile(why);
  }

  const greeting = clock.after(2 * GREETING_MS, () => close(CLOSE.noGreeting, 'no welcome in time'));

  async function welcomed(frame: Welcome): Promise<void> {
    greeting.cancel();
    welcome = frame;
    if (frame.site !== options.site) {
      return close(CLOSE.violation, `the proxy knows this relay for site ${frame.site}, not ${options.site}`);
    }
    const { holds } = frame;
    if (holds !== null && (await isAhead(holds))) {
      log.error('the outbox went back in time: was a backup restored?', {
        holds: holds.seq,
        has: outbox.sequence(),
      });
      const wrong = options.onRestored();
      if (wrong !== null) violation(wrong);
      return;
    }
    if (over !== null) return;
    // Where nothing was changed since, nothing is sent, and the proxy says no more than this.
    if (holds !== null && holds.incarnation === outbox.incarnation) applied = holds.seq;
    options.onHolds(applied);
    await Promise.all(Array.from({ length: options.streamLanes }, () => openStreamLane(frame)));
    if (over !== null) return;
    feed = createFeed({
      outbox,
      clock,
      holds: frame.holds,
      send,
      backlog: () => control?.backlog() ?? 0,
      onSynced() {
        for (const extra of options.afterResync()) send(extra);
        synced = true;
        log.info('proxy holds what is pending', { seq: outbox.sequence() });
        options.onChange();
      },
    });
    feed.ended.then(
      () => undefined,
      (error: unknown) => {
        if (over !== null) return;
        log.error('outbox cannot be sent', { why: describeError(error) });
        close(CLOSE.going, 'the outbox failed');
      },
    );
  }

  /** Whether a proxy is ahead of the outbox. What is known here of one that relays share may be a moment old. */
  async function isAhead(position: { incarnation: string; seq: number }): Promise<boolean> {
    const ahead = (): boolean =>
      position.incarnation === outbox.incarnation && position.seq > outbox.sequence();
    if (ahead()) await outbox.refresh();
    return ahead();
  }

  async function openStreamLane({ link, credit }: Welcome): Promise<void> {
    let mux: Mux | null = null;
    const lane = await options.dial(
      { kind: 'stream', link },
      {
        frame(bytes) {
          if (typeof bytes === 'string') return;
          const hold = options.guard.moved(bytes.length);
          if (hold > 0) lane.hold?.(hold);
          mux?.receive(bytes);
        },
        violated: hostile,
        drained: () => mux?.drained(),
        // A link is whole or not at all: phones would be sent to a lane that isn't there.
        closed: (code, reason) => close(code, `a stream lane closed: ${reason}`),
      },
      gone.signal,
    );
    if (over !== null) return lane.close(over.code, over.reason);
    mux = createMux({
      lane,
      clock,
      side: 'relay',
      maxStreams: options.maxStreams,
      ...(credit === undefined ? {} : { peerCredit: credit }),
      onStream: (stream, opening) =>
        options.guard.stream() ? options.onStream(stream, opening) : CUT.tooMany,
      onViolation: hostile,
    });
    muxes.set(lane, mux);
  }

  function take(frame: ProxyFrame): string | null {
    if (welcome === null) {
      if (frame.type !== 'welcome') return `a ${frame.type} before the welcome`;
      welcomed(frame).catch((error: unknown) => close(CLOSE.going, describeError(error)));
      return null;
    }
    switch (frame.type) {
      case 'welcome':
        return 'a second welcome';
      case 'applied':
        if (frame.incarnation !== outbox.incarnation) return null;
        if (frame.seq > outbox.sequence()) {
          checkApplied(frame);
          return null;
        }
        if (applied !== null && frame.seq < applied) return `applied ${frame.seq} after ${applied}`;
        applied = frame.seq;
        options.onChange();
        return null;
      case 'polls':
        options.onPolls(options.guard.polls(frame));
        return null;
      case 'metrics':
        options.onMetrics(frame.samples);
        return null;
      case 'ping':
        send({ type: 'pong', n: frame.n });
        return null;
      case 'pong':
        if (frame.n === pings) roundTrip = clock.monotonic() - pingedAt;
        return null;
      case 'drain':
        draining = true;
        succeeded = frame.successor === true;
        log.info('proxy is going away');
        options.onChange();
        return null;
      default:
        return never(frame);
    }
  }

  /**
   * Another relay may have told the proxy what is not known here yet; or the proxy lies. The outbox is asked one at a time:
   * what a lying proxy says meanwhile must not take the places of pushes that wait.
   */
  function checkApplied(position: { incarnation: string; seq: number }): void {
    if (doubted === null || position.seq > doubted.seq) doubted = position;
    if (checking) return;
    checking = true;
    const asked = doubted;
    doubted = null;
    isAhead(asked)
      .then(
        (ahead) => {
          if (ahead) return violation(`applied ${asked.seq}, which was never sent`);
          if (asked.incarnation !== outbox.incarnation) return;
          applied = Math.max(applied ?? 0, asked.seq);
          options.onChange();
        },
        (error: unknown) =>
          log.debug('what the proxy applied cannot be checked', { why: describeError(error) }),
      )
      .finally(() => {
        checking = false;
        if (doubted !== null && over === null) checkApplied(doubted);
      });
  }

  async function start(): Promise<void> {
    const lane = await options.dial(
      { kind: 'control' },
      {
        frame(text) {
          if (over !== null || typeof text !== 'string') return;
          heartbeat?.heard();
          const flood = options.guard.control(text.length);
          if (flood !== null) return violation(flood);
          const read = readProxyFrame(text);
          if ('skipped' in read) return log.debug('control frame skipped', { type: read.skipped });
          const wrong = 'wrong' in read ? read.wrong : take(read.frame);
          if (wrong !== null) violation(wrong);
        },
        drained: () => feed?.drained(),
        violated: hostile,
        closed(code, reason) {
          if (code === CLOSE.replaced && over === null) options.guard.fenced();
          end(code, reason);
        },
      },
      gone.signal,
    );
    control = lane;
    if (over !== null) return lane.close(over.code, over.reason);
    heartbeat = createHeartbeat({
      clock,
      beat() {
        pingedAt = clock.monotonic();
        send({ type: 'ping', n: ++pings });
      },
      onSilent: (ms) => close(CLOSE.silent, `nothing heard for ${Math.round(ms)} ms`),
    });
    send({
      type: 'hello',
      relay: options.relay,
      site: options.site,
      incarnation: outbox.incarnation,
      seq: outbox.sequence(),
      software: options.software,
      services: options.services,
      blind: options.blind,
      credit: WIDE_WINDOW_BYTES,
      ...(pollSecrets.length === 0
        ? {}
        : { pollSecrets: pollSecrets.map((secret) => secret.toString('base64')) }),
    });
  }

  start().catch((error: unknown) => end(CLOSE.going, describeError(error)));

  return {
    ended,
    up: () => over === null && synced && muxes.size > 0,
    draining: () => draining,
    succeeded: () => succeeded,
    applied: () => applied,
    roundTrip: () => roundTrip,
    software: () => welcome?.software ?? null,
    direct: () => welcome?.direct ?? false,
    pollSecret: () => (welcome === null ? null : welcome.pollSecret === true),
    sessionGap: () => welcome?.sessionGapMs ?? null,
    streams: () => [...muxes.values()].reduce((sum, mux) => sum + mux.streams(), 0),
    say(frame) {
      if (synced && over === null) send(frame);
    },
    close,
  };
}

function never(frame: never): string {
  return `an unhandled frame ${String(frame)}`;
}

import type { Milliseconds, Timer } from '../../shared/clock.ts';
import type { DeviceId } from '../../shared/device-id.ts';
import { describeError } from '../../shared/errors.ts';
import { CUT } from '../../shared/mux-frames.ts';
import type { MuxStream } from '../../shared/mux-stream.ts';
import { CLOSE } from '../../shared/protocol.ts';
import type { MetricSample, PollsFrame, RelayFrame } from '../../shared/protocol.ts';
import type { HeldAt, ProxyState } from '../desk.ts';
import { createHeldTimes } from './held-times.ts';
import type { HeldTimes } from './held-times.ts';
import { followName } from './follow-name.ts';
import type { Following, FollowOptions } from './follow-name.ts';
import { createLink } from './link.ts';
import type { DialLane, LinkOptions } from './link.ts';
import type { Sequence } from '../outbox/outbox.ts';
import { createProxyGuard, DEFAULT_PROXY_LIMITS } from './proxy-guard.ts';
import type { ProxyLimits } from './proxy-guard.ts';
import { keepConnected } from './reconnect.ts';
import type { Reconnect } from './reconnect.ts';
import type { Warn } from '../warnings/kinds.ts';
import type { PhoneOrigin } from '../services/service.ts';

/** A proxy to keep a link to. */
export interface LinkTarget {
  /** Its URL as configured, which names it everywhere. */
  url: string;
  dial: DialLane;
}

/** A name to keep a link to each of whose addresses. */
export interface NamedTarget {
  /** The URL as configured; with `#address` it names the proxy at that address everywhere. */
  url: string;
  dialAt: (address: string) => DialLane;
  name: Omit<FollowOptions, 'clock' | 'log' | 'onAddress' | 'onGone'>;
}

/** How long what runs on the link to an address that is gone has to end, before the link is closed. */
const LAST_MS: Milliseconds = 30_000;
/** How often it is looked whether anything still runs there. */
const LOOK_MS: Milliseconds = 1_000;

/** What all links of a relay have in common. */
type Common =
  | 'relay'
  | 'site'
  | 'software'
  | 'services'
  | 'blind'
  | 'pollSecrets'
  | 'outbox'
  | 'streamLanes'
  | 'maxStreams'
  | 'clock'
  | 'log';

export interface LinksOptions extends Pick<LinkOptions, Common> {
  targets: (LinkTarget | NamedTarget)[];
  /** What one proxy may bring. */
  proxyLimits?: ProxyLimits;
  /** Whether a device was heard of otherwise than by a proxy's word. */
  heardOf?: (device: DeviceId) => boolean;
  warn?: Warn;
  random: () => number;
  /** A phone's connection for a service; false when there is no such service. */
  accept: (service: string, stream: MuxStream, origin: PhoneOrigin) => boolean;
  /** Running quiets and the present health, for a proxy that was just brought up to date. */
  present: () => RelayFrame[];
  onPolls: (proxy: string, frame: PollsFrame) => void;
  onMetrics: (proxy: string, samples: MetricSample[]) => void;
  /** A proxy has proved that the outbox went back in time: what was accepted meanwhile is gone. */
  onWentBack: () => void;
}

/** The links to all proxies: what the relay says, it says to each. */
export interface Links {
  states(): ProxyState[];
  /** Whether a proxy has said, in this run, that phones of the site have to poll by the secret in their path. */
  pollSecret(): boolean;
  /** The longest session gap that a proxy has said in this run; 0 = none has. */
  sessionGap(): Milliseconds;
  quiet(device: DeviceId, generation: number, ms: Milliseconds): void;
  loud(device: DeviceId): void;
  gap(device: DeviceId): void;
  known(device: DeviceId): void;
  /** The health changed. */
  health(frame: Extract<RelayFrame, { type: 'health' }>): void;
  heldBy(seq: Sequence, within: Milliseconds): Promise<{ all: boolean; proxies: string[] }>;
  /** Since when each linked proxy holds everything up to `seq`. */
  heldAt(seq: Sequence): HeldAt[];
  onChange(listener: (state: ProxyState) => void): () => void;
  /** Tells every proxy that this relay is about to go away: polls are 200, but sessions that run may end. */
  finish(): void;
  /** Tells every proxy that this relay goes away. Connections that a proxy opened before it heard of it are still led on. */
  drain(): void;
  close(): Promise<void>;
}

const FINISHING: RelayFrame = { type: 'drain', streams: true };
const DRAIN: RelayFrame = { type: 'drain' };

interface Place {
  target: LinkTarget;
  reconnect: Reconnect;
  since: Milliseconds;
  why: string | null;
  shown: string;
  software: string | null;
  direct: boolean;
  /** Null before the first welcome. */
  pollSecret: boolean | null;
  sessionGap: Milliseconds;
  held: HeldTimes;
  /** Set while what runs on it is waited for, before it is let go. */
  last: Timer | null;
}

export function createLinks(options: LinksOptions): Links {
  const { outbox, clock } = options;
  const listeners = new Set<(state: ProxyState) => void>();
  /** Those who wait for a position to be reached. */
  const waiting = new Set<() => void>();
  /** What proxies are told of this relay's going away; null = it stays. */
  let leaving: RelayFrame | null = null;

  const stopRenewals = outbox.onRenewed(reconnectAll);
  let places: Place[] = [];
  const names: { url: string; since: Milliseconds; following: Following }[] = [];
  for (const target of options.targets) {
    if ('dial' in target) places.push(keep(target));
    else names.push(follow(target));
  }

  function follow({ url, dialAt, name }: NamedTarget): (typeof names)[number] {
    const at = (address: string): string => `${url}#${address}`;
    const of = (address: string): Place | undefined =>
      places.find(({ target }) => target.url === at(address));
    const following = followName({
      ...name,
      clock,
      log: options.log,
      onAddress(address) {
        // It was about to be let go, and a proxy would take a second link for the first one's successor.
        const former = of(address);
        if (former !== undefined) void remove(former);
        places.push(keep({ url: at(address), dial: dialAt(address) }));
      },
      onGone(address) {
        const place = of(address);
        if (place !== undefined) letGo(place, `${name.name} no longer has this address`);
      },
    });
    return { url, since: clock.wall(), following };
  }

  /** Closes the link once what runs on it has ended. */
  function letGo(place: Place, why: string): void {
    const until = clock.monotonic() + LAST_MS;
    place.why = why;
    place.reconnect.current()?.say(FINISHING);
    place.last = clock.every(LOOK_MS, () => {
      const over = clock.monotonic() >= until || place.reconnect.current()?.up() !== true;
      if (over || stateOf(place).streams === 0) void remove(place);
    });
  }

  async function remove(place: Place): Promise<void> {
    place.last?.cancel();
    places = places.filter((other) => other !== place);
    await place.reconnect.stop('its address is no longer one of the proxies');
    const shown: ProxyState = { ...stateOf(place), state: 'down', why: place.why };
    for (const listener of listeners) listener(shown);
    for (const check of [...waiting]) check();
  }

  /** Stands for the proxies of a name of which no address is known. */
  function unknown({ url, since, following }: (typeof names)[number]): ProxyState[] {
    const why = following.problem();
    if (why === null) return [];
    const nothing = { roundTripMs: null, lag: null, applied: null, version: null, direct: false };
    return [{ url, state: 'down', since, why, ...nothing, pollSecret: null, streams: 0 }];
  }

  function keep(target: LinkTarget): Place {
    const log = options.log.child({ proxy: target.url });
    const origin = { proxy: target.url };
    const guard = createProxyGuard({
      proxy: target.url,
      limits: options.proxyLimits ?? DEFAULT_PROXY_LIMITS,
      clock,
      known: options.heardOf ?? (() => true),
      warn: options.warn ?? (() => undefined),
    });
    const place: Place = {
      target,
      since: clock.wall(),
      why: 'not reached yet',
      shown: 'connecting',
      software: null,
      direct: false,
      pollSecret: null,
      sessionGap: 0,
      held: createHeldTimes(clock),
      last: null,
      reconnect: keepConnected({
        clock,
        random: options.random,
        connect: () =>
          createLink({
            relay: options.relay,
            site: options.site,
            software: options.software,
            services: options.services,
            blind: options.blind,
            pollSecrets: options.pollSecrets ?? [],
            outbox,
            streamLanes: options.streamLanes,
            maxStreams: options.maxStreams,
            clock,
            log,
            dial: target.dial,
            guard,
            // Who is brought up to date while we go away must not send phones here after all.
            afterResync: () => [...options.present(), ...(leaving === null ? [] : [leaving])],
            onStream(stream, { service, door, address, port, tls }) {
              const taken = options.accept(service, stream, { ...origin, door, address, port, tls });
              return taken ? null : CUT.unknownService;
            },
            onRestored: startAnew,
            onHolds: (seq) => place.held.linked(seq),
            onPolls: (frame) => options.onPolls(target.url, frame),
            onMetrics: (samples) => options.onMetrics(target.url, samples),
            onChange: () => changed(place),
          }),
        onEnded(end, nextIn) {
          log.warn('link down', { code: end.code, why: end.reason, nextTryMs: Math.round(nextIn) });
          place.why = end.reason;
          changed(place);
        },
      }),
    };
    return place;
  }

  let renewal: 'none' | 'under way' | 'done' = 'none';

  /**
   * A restored outbox becomes a new incarnation, and every proxy gets a whole snapshot of it. That is so once: the new
   * incarnation is of this very run, so who claims more of it than there is lies, and shall not disturb the others.
   */
  function startAnew(): string | null {
    if (renewal === 'done') return 'it claims to hold more than this outbox ever had, since it began anew';
    if (renewal === 'under way') return null;
    renewal = 'under way';
    options.onWentBack();
    outbox
      .renew()
      .then(
        (incarnation) => {
          renewal = 'done';
          for (const { held } of places) held.forget();
          options.log.warn('outbox has a new incarnation', { incarnation });
        },
        (error: unknown) => {
          renewal = 'none';
          options.log.error('outbox cannot start anew; trying again', { why: describeError(error) });
        },
      )
      .finally(reconnectAll);
    return null;
  }

  function reconnectAll(): void {
    for (const { reconnect } of places) reconnect.current()?.close(CLOSE.going, 'the outbox starts anew');
  }

  function changed(place: Place): void {
    for (const check of [...waiting]) check();
    // The first link is made while its place is still being built.
    if (!places.includes(place)) return;
    const link = place.reconnect.current();
    const applied = link?.up() === true ? link.applied() : null;
    if (applied !== null) place.held.reached(applied);
    if (place.reconnect.current()?.succeeded() === true) place.reconnect.succeed();
    const state = wordFor(place.reconnect);
    place.software = place.reconnect.current()?.software() ?? place.software;
    place.direct = place.reconnect.current()?.direct() ?? place.direct;
    place.pollSecret = place.reconnect.current()?.pollSecret() ?? place.pollSecret;
    place.sessionGap = place.reconnect.current()?.sessionGap() ?? place.sessionGap;
    if (state === place.shown) return;
    place.shown = state;
    place.since = clock.wall();
    if (state === 'up') options.log.info('link up', { proxy: place.target.url });
    const shown = stateOf(place);
    for (const listener of listeners) listener(shown);
  }

  function stateOf(place: Place): ProxyState {
    const link = place.reconnect.current();
    const state = wordFor(place.reconnect);
    const applied = link?.applied() ?? null;
    return {
      url: place.target.url,
      state,
      since: place.since,
      why: state === 'up' || state === 'draining' ? null : place.why,
      roundTripMs: link?.roundTrip() ?? null,
      lag: applied === null ? null : Math.max(0, outbox.sequence() - applied),
      applied,
      version: place.software,
      direct: place.direct,
      pollSecret: place.pollSecret,
      streams: [link, ...place.reconnect.leaving()].reduce((sum, each) => sum + (each?.streams() ?? 0), 0),
    };
  }

  function say(frame: RelayFrame): void {
    for (const { reconnect } of places) reconnect.current()?.say(frame);
  }

  function heldAt(seq: Sequence): HeldAt[] {
    const up = places.filter(({ reconnect }) => reconnect.current()?.up() === true);
    return up.map(({ target, held }) => {
      const { since = null, exact = false } = held.at(seq) ?? {};
      return { proxy: target.url, since, exact };
    });
  }

  function holders(seq: Sequence): { all: boolean; proxies: string[] } {
    const up = places.filter(({ reconnect }) => reconnect.current()?.up() === true);
    const proxies = up
      .filter(({ reconnect }) => (reconnect.current()?.applied() ?? -1) >= seq)
      .map(({ target }) => target.url);
    return { all: up.length > 0 && proxies.length === up.length, proxies };
  }

  return {
    states: () => [...places.map(stateOf), ...names.flatMap(unknown)],
    pollSecret: () => places.some(({ pollSecret }) => pollSecret === true),
    sessionGap: () => Math.max(0, ...places.map(({ sessionGap }) => sessionGap)),
    quiet: (device, generation, ms) => say({ type: 'quiet', device, generation, ms }),
    loud: (device) => say({ type: 'loud', device }),
    gap: (device) => say({ type: 'gap', device }),
    known: (device) => say({ type: 'known', devices: [device] }),
    health: say,
    heldAt,
    heldBy(seq, within) {
      return new Promise((resolve) => {
        let late: Timer | null = null;
        const check = (): void => {
          const now = holders(seq);
          if (!now.all && late !== null) return;
          settle(now);
        };
        const settle = (answer: { all: boolean; proxies: string[] }): void => {
          waiting.delete(check);
          late?.cancel();
          resolve(answer);
        };
        late = clock.after(within, () => settle(holders(seq)));
        waiting.add(check);
        check();
      });
    },
    onChange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    finish() {
      say((leaving = FINISHING));
    },
    drain() {
      say((leaving = DRAIN));
    },
    async close() {
      for (const { following } of names) following.stop();
      for (const { last } of places) last?.cancel();
      stopRenewals();
      await Promise.all(places.map(({ reconnect }) => reconnect.stop('the relay is going away')));
    },
  };
}

function wordFor(reconnect: Reconnect): ProxyState['state'] {
  const link = reconnect.current();
  if (link !== null && link.up()) return link.draining() ? 'draining' : 'up';
  // Its successor is being dialled, and sessions still run on the former link.
  if (reconnect.leaving().length > 0) return 'draining';
  return link === null ? 'down' : 'connecting';
}

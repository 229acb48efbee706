import type { Clock, Milliseconds } from '../shared/clock.ts';
import type { DeviceId } from '../shared/device-id.ts';
import { SallyportError } from '../shared/errors.ts';
import type { Log } from '../shared/log.ts';
import type { StreamOpening } from '../shared/mux-frames.ts';
import type { MuxStream } from '../shared/mux-stream.ts';
import { QUIET_BUDGET_MS, SILENCE_MS } from '../shared/protocol.ts';
import type { MetricSample, RelayFrame } from '../shared/protocol.ts';
import { createAdmission } from './admission.ts';
import type { SiteConfig } from './config.ts';
import { createMailbox } from './mailbox.ts';
import type { Marks, PolledDevice } from './marks.ts';

/** What a site needs of the link that serves it. */
export interface SiteLink {
  readonly relay: string;
  /** Names the outbox that the relay speaks for. */
  readonly incarnation: string;
  readonly since: Milliseconds;
  /** Since its relay was heard of last. */
  silentFor(): Milliseconds;
  /** Throws SallyportError STREAM_REFUSED or LINK_DOWN. */
  open(opening: StreamOpening): MuxStream;
  /** Whether a stream lane is open. */
  carries(): boolean;
  streams(): number;
  roundTrip(): Milliseconds | null;
  sendPolls(polls: PolledDevice[], unknown: UnknownPoll[]): void;
  sendMetrics(samples: MetricSample[]): void;
  sendApplied(position: { incarnation: string; seq: number }): void;
  drain(): void;
  close(code: number, reason: string): void;
}

/** A poll by an id that no relay of the site knows. */
export interface UnknownPoll {
  device: string;
  at: Milliseconds;
  address: string | null;
}

/** What operators see of a site. */
export interface SiteStatus {
  name: string;
  /** Whether polls can be answered 202. */
  ready: boolean;
  /** Whether a relay link serves the site, whatever the service behind it does. */
  linked: boolean;
  /** Why polls are answered 200 whatever is pending; empty when ready. */
  reasons: string[];
  relay: string | null;
  roundTripMs: number | null;
  held: number;
  pendingDevices: number;
  sessions: number;
  streams: number;
  position: { incarnation: string; seq: number } | null;
  services: { name: string; up: boolean }[];
}

/** One site of the proxy: its mailbox, the link that serves it now, and what its polls may be told. */
export interface Site {
  readonly name: string;
  readonly config: SiteConfig;
  link(): SiteLink | null;
  holds(): { incarnation: string; seq: number } | null;
  /** A relay has said hello, with the secrets that devices of this site poll by; a relay of an older build has none. */
  takeSecrets(relay: string, secrets: readonly string[]): void;
  /** A relay has said hello: this link serves the site from now on. A former one must be closed by the caller. */
  takeLink(link: SiteLink, blind: boolean): void;
  /** The link is gone; ignored unless it is the one that serves. */
  dropLink(link: SiteLink): void;
  /** A frame of the link after its hello. @returns what is wrong with it, or null */
  frame(link: SiteLink, frame: RelayFrame): string | null;
  /** Something was heard on the control lane: renews the lease that lets polls be answered 202. */
  heard(link: SiteLink): void;
  /** Stream lanes came or went. */
  lanesChanged(link: SiteLink): void;
  /** Leads a phone's connection to the relay. @throws SallyportError LINK_DOWN, STREAM_REFUSED */
  open(opening: StreamOpening): MuxStream;
  /**
   * For who was refused with LINK_DOWN: resolves to true once a link serves the site and holds what is pending, to false
   * when none does within `withinMs` of the loss of the last one. So nobody waits for a relay that is gone for good.
   */
  usable(withinMs: Milliseconds): Promise<boolean>;
  /** This proxy goes away: polls are 200 from now on, and the relay is told. */
  leave(): void;
  status(): SiteStatus;
  /** Sessions that run, as the relay told last, by whatever proxy; 0 without a relay. */
  sessions(): number;
  /** To be called each second. */
  tick(): void;
}

export function createSite(
  config: SiteConfig,
  options: {
    marks: Marks;
    clock: Clock;
    log: Log;
    /** Most held messages. */
    held: number;
    /** A device has a mark. */
    onKnown: (device: DeviceId) => void;
    /** A relay has told the secrets of a site whose devices poll by them. */
    onSecrets?: (secrets: readonly string[]) => void;
  },
): Site {
  const { marks, clock, log } = options;
  const { name } = config;
  const mailbox = createMailbox({
    clock,
    limit: options.held,
    marks: {
      set(device, mark) {
        marks.set(name, device, mark);
        options.onKnown(device);
      },
      remove: (device) => void marks.remove(name, device),
      has: (device) => marks.has(name, device),
      reserve: (devices) => marks.reserve(devices),
    },
  });
  const admission = createAdmission(clock, config.maxSessions);
  /** Devices that the link has made quiet and not loud again. */
  const quieted = new Set<DeviceId>();
  let link: SiteLink | null = null;
  /** The link's resync is whole, and it hasn't said that it goes away. */
  let current = false;
  let draining = false;
  /** Whether the relay takes connections of phones although it goes away. */
  let finishing = false;
  /** This proxy goes away. */
  let leaving = false;
  /** When the last link was lost, or when this site was made: who comes soon after may wait for the next one. */
  let lostAt = clock.monotonic();
  const waiting = new Set<() => void>();
  let health: Omit<Extract<RelayFrame, { type: 'health' }>, 'type'> = {
    ready: false,
    sessions: 0,
    services: [],
  };
  marks.site(name, { direct: config.sessions === 'direct' });
  mailbox.windowed(config.sessions === 'direct');

  const serves = (): boolean => link !== null && current && !draining && !leaving && link.carries();

  /** Renews the lease, too: to be called when the link was heard or has changed. */
  function publish(): void {
    const alive = serves();
    if (alive) for (const wake of [...waiting]) wake();
    marks.site(name, {
      aliveUntil: alive ? clock.monotonic() + SILENCE_MS : 0,
      upstreamOk: health.ready,
      courier: health.courier === true,
    });
    admit();
  }

  function admit(): void {
    if (config.sessions !== 'direct' && !(serves() && health.ready)) admission.shut();
    marks.site(name, { admit: admission.share(health.sessions, mailbox.counts().devices) });
  }

  function linkReasons(): string[] {
    if (link === null) return [`no relay link for site ${name}`];
    const reasons: string[] = [];
    if (!link.carries()) reasons.push(`relay ${link.relay} has no stream lane`);
    if (!current) reasons.push(`relay ${link.relay} is still sending what is pending`);
    if (draining) reasons.push(`relay ${link.relay} is going away`);
    return reasons;
  }

  /** Whether what is held here came from the outbox that this link speaks for. */
  const isOf = (from: SiteLink): boolean => mailbox.holds()?.incarnation === from.incarnation;

  function apply(from: SiteLink, wrong: string | null): string | null {
    const position = mailbox.holds();
    if (wrong === null && position !== null) from.sendApplied(position);
    return wrong;
  }

  return {
    name,
    config,
    link: () => link,
    holds: mailbox.holds,
    takeSecrets(relay, secrets) {
      if (config.pollSecret === 'none') return;
      if (secrets.length === 0) {
        log.error('the relay is too old for poll_secret: path; polls stay 200', { site: name, relay });
      } else options.onSecrets?.(secrets);
    },
    takeLink(next, blind) {
      link = next;
      mailbox.abandonSnapshot();
      mailbox.windowed(blind || config.sessions === 'direct');
      // What is still quiet the relay tells again; a loud that a former link did not get through must not be waited for.
      for (const device of quieted) marks.quiet(name, device, 0);
      quieted.clear();
      current = false;
      draining = false;
      finishing = false;
      health = { ready: false, sessions: 0, services: [] };
      admission.told();
      publish();
    },
    dropLink(gone) {
      if (link !== gone) return;
      link = null;
      current = false;
      lostAt = clock.monotonic();
      publish();
      log.warn('relay link down', { site: name, relay: gone.relay });
    },
    heard(from) {
      if (from === link && current) publish();
    },
    lanesChanged(from) {
      if (from === link) publish();
    },
    frame(from, frame) {
      // A replaced relay's knowledge is old: nothing that it still says counts.
      if (from !== link) return null;
      switch (frame.type) {
        case 'snapshot':
          if (frame.incarnation !== from.incarnation)
            return 'a snapshot of another outbox than the hello named';
          return apply(from, mailbox.snapshot(frame));
        case 'changes':
          if (!isOf(from)) return 'changes to what another outbox had sent';
          return apply(from, mailbox.changes(frame.seq, frame.changes));
        case 'known':
          mailbox.known(frame.devices as DeviceId[], frame.total);
          return null;
        case 'quiet': {
          const device = frame.device as DeviceId;
          const until = clock.monotonic() + Math.min(frame.ms, QUIET_BUDGET_MS);
          if (marks.quiet(name, device, until)) quieted.add(device);
          return null;
        }
        case 'loud':
          quieted.delete(frame.device as DeviceId);
          marks.quiet(name, frame.device as DeviceId, 0);
          return null;
        case 'gap':
          admission.arrived(frame.device as DeviceId);
          if (config.sessionGapMs > 0) {
            marks.gap(name, frame.device as DeviceId, clock.monotonic() + config.sessionGapMs);
          }
          return null;
        case 'health':
          if (!isOf(from)) return 'health before the resync is whole';
          if (!current) log.info('site current', { site: name, relay: from.relay, ...mailbox.counts() });
          current = true;
          health = frame;
          admission.told();
          publish();
          return null;
        case 'drain':
          draining = true;
          finishing = frame.streams === true;
          if (!finishing) lostAt = clock.monotonic();
          publish();
          return null;
        case 'hello':
          return 'a second hello';
        case 'ping':
        case 'pong':
          return null;
        default:
          return never(frame);
      }
    },
    open(opening) {
      if (link === null) throw new SallyportError('LINK_DOWN', `no relay link serves site ${name}`);
      if (draining && !finishing) throw new SallyportError('LINK_DOWN', `relay ${link.relay} is going away`);
      return link.open(opening);
    },
    usable(withinMs) {
      const left = lostAt + withinMs - clock.monotonic();
      if (left <= 0 || leaving) return Promise.resolve(false);
      return new Promise((resolve) => {
        const settle = (found: boolean) => (): void => {
          waiting.delete(wake);
          late.cancel();
          resolve(found);
        };
        const wake = settle(true);
        const late = clock.after(left, settle(false));
        waiting.add(wake);
      });
    },
    leave() {
      leaving = true;
      publish();
      link?.drain();
    },
    status() {
      const { messages, devices } = mailbox.counts();
      const missing = linkReasons();
      const linked = missing.length === 0;
      const unreachable = `relay ${link?.relay} cannot reach the provisioning service`;
      return {
        name,
        ready: linked && health.ready,
        linked,
        reasons: linked && !health.ready ? [unreachable] : missing,
        relay: link?.relay ?? null,
        roundTripMs: link?.roundTrip() ?? null,
        held: messages,
        pendingDevices: devices,
        sessions: health.sessions,
        streams: link?.streams() ?? 0,
        position: mailbox.holds(),
        services: health.services,
      };
    },
    sessions: () => (link === null ? 0 : health.sessions),
    tick() {
      mailbox.tick();
      admit();
    },
  };
}

function never(frame: never): string {
  return `an unhandled frame ${String(frame)}`;
}

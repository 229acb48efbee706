import type { Clock, Milliseconds } from '../shared/clock.ts';
import type { DeviceId } from '../shared/device-id.ts';
import { isSallyportError, SallyportError } from '../shared/errors.ts';
import type { Log } from '../shared/log.ts';
import type { StreamOpening } from '../shared/mux-frames.ts';
import type { MuxStream } from '../shared/mux-stream.ts';
import { CLOSE, QUIET_BUDGET_MS, SILENCE_MS } from '../shared/protocol.ts';
import type { RelayFrame } from '../shared/protocol.ts';
import { createAdmission } from './admission.ts';
import type { SiteConfig } from './config.ts';
import { createMailbox } from './mailbox.ts';
import type { Marks } from './marks.ts';
import { createLinkWait } from './link-wait.ts';
import { createMembers } from './site-links.ts';
import type { Member, SiteLink } from './site-links.ts';
import { createSiteSecrets } from './site-secrets.ts';
import { statusOf } from './site-status.ts';
import type { SiteStatus } from './site-status.ts';

/** One site of the proxy: its mailbox, the links that serve it now, and what its polls may be told. */
export interface Site {
  readonly name: string;
  readonly config: SiteConfig;
  /** The links that serve it, one for each of its relays that is linked. All speak for one outbox. */
  links(): SiteLink[];
  holds(): { incarnation: string; seq: number } | null;
  /** A relay has said hello, with the secrets that devices of this site poll by; a relay of an older build has none. */
  takeSecrets(relay: string, secrets: readonly string[]): void;
  /**
   * A relay has said hello: its link serves the site from now on. A former link of that relay counts no longer, and none of
   * another outbox; the caller closes them.
   */
  takeLink(link: SiteLink, blind: boolean): void;
  /**
   * A relay was revoked, so nothing that it ever said counts: not its secrets, and not what it may have held, ended or
   * passed off as known already. Links that serve are closed and tell everything anew.
   */
  distrust(relay: string): void;
  /** The link is gone; ignored unless it serves. */
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
  /** Sessions that run, as its relays told last, by whatever proxy; 0 without a relay. */
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
        const isNew = marks.set(name, device, mark);
        options.onKnown(device);
        return isNew;
      },
      add(device) {
        const isNew = marks.add(name, device);
        if (isNew) options.onKnown(device);
        return isNew;
      },
      remove: (device) => void marks.remove(name, device),
      has: (device) => marks.has(name, device),
      reserve: (devices) => marks.reserve(devices),
    },
  });
  const admission = createAdmission(clock, config.maxSessions);
  const members = createMembers();
  const secrets = createSiteSecrets((all) => options.onSecrets?.(all));
  /** This proxy goes away. */
  let leaving = false;
  const wait = createLinkWait(clock);
  marks.site(name, { direct: config.sessions === 'direct' });
  mailbox.windowed(config.sessions === 'direct');

  /** Where nobody sees whether phones come, they are called now and then only. */
  const windowed = (): void =>
    mailbox.windowed(config.sessions === 'direct' || members.all().some(({ blind }) => blind));

  const servingNow = (): Member[] => (leaving ? [] : members.serving());

  /** To be called when a link was heard, or one has changed: polls may be 202 until all have been silent for too long. */
  function publish(): void {
    const serving = servingNow();
    if (serving.length > 0) wait.served();
    const heard = serving.map(({ link }) => clock.monotonic() + SILENCE_MS - link.silentFor());
    marks.site(name, {
      aliveUntil: Math.max(0, ...heard),
      upstreamOk: serving.some(({ health }) => health.ready),
      courier: serving.some(({ health }) => health.courier === true),
    });
    admit();
  }

  const sessions = (): number => members.all().reduce((sum, { health }) => sum + health.sessions, 0);

  function admit(): void {
    const open = servingNow().some(({ health }) => health.ready);
    if (config.sessions !== 'direct' && !open) admission.shut();
    marks.site(name, { admit: admission.share(sessions(), mailbox.counts().devices) });
  }

  /** Lets a device be called again, unless another relay has a session with it. */
  function loud(member: Member, device: DeviceId): void {
    member.quieted.delete(device);
    marks.quiet(name, device, members.quietUntil(device));
  }

  /** Its sessions are cut: what they were for is still pending. */
  function leave(member: Member): void {
    members.remove(member);
    mailbox.forget(member.link);
    for (const device of [...member.quieted.keys()]) loud(member, device);
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
    links: () => members.all().map(({ link }) => link),
    holds: mailbox.holds,
    takeSecrets(relay, told) {
      if (config.pollSecret === 'none') return;
      if (told.length > 0) return secrets.take(relay, told);
      log.error('the relay is too old for poll_secret: path; polls stay 200', { site: name, relay });
    },
    takeLink(next, blind) {
      for (const member of members.all()) {
        const { relay, incarnation } = member.link;
        if (relay === next.relay || incarnation !== next.incarnation) leave(member);
      }
      members.add(next, blind);
      mailbox.begin(next);
      windowed();
      admission.told();
      publish();
    },
    distrust(relay) {
      secrets.forget(relay);
      mailbox.distrust();
      for (const { link } of members.all())
        link.close(CLOSE.going, `relay ${relay} of this site was revoked: everything is to be told anew`);
    },
    dropLink(gone) {
      const member = members.of(gone);
      if (member === null) return;
      leave(member);
      if (members.all().length === 0) wait.lost();
      else windowed();
      publish();
      log.warn('relay link down', { site: name, relay: gone.relay });
    },
    heard(from) {
      if (members.of(from)?.current === true) publish();
    },
    lanesChanged(from) {
      if (members.of(from) !== null) publish();
    },
    frame(from, frame) {
      // A replaced relay's knowledge is old: nothing that it still says counts.
      const member = members.of(from);
      if (member === null) return null;
      switch (frame.type) {
        case 'snapshot':
          if (frame.incarnation !== from.incarnation)
            return 'a snapshot of another outbox than the hello named';
          return apply(from, mailbox.snapshot(frame, from));
        case 'changes':
          if (!isOf(from)) return 'changes to what another outbox had sent';
          // The id alone: whose message it is, is written down inside.
          for (const { op, id, generation } of frame.changes) {
            const msg = op === 'hold' ? 'message held' : 'message ended';
            log.debug(msg, { site: name, message: id, generation });
          }
          return apply(from, mailbox.changes(frame.seq, frame.changes, from));
        case 'known':
          mailbox.known(frame.devices as DeviceId[], frame.total);
          return null;
        case 'quiet': {
          const device = frame.device as DeviceId;
          const until = clock.monotonic() + Math.min(frame.ms, QUIET_BUDGET_MS);
          member.quieted.set(device, until);
          if (!marks.quiet(name, device, members.quietUntil(device))) member.quieted.delete(device);
          return null;
        }
        case 'loud':
          loud(member, frame.device as DeviceId);
          return null;
        case 'gap':
          admission.arrived(frame.device as DeviceId);
          if (config.sessionGapMs > 0) {
            marks.gap(name, frame.device as DeviceId, clock.monotonic() + config.sessionGapMs);
          }
          return null;
        case 'health':
          if (!isOf(from)) return 'health before the resync is whole';
          if (!member.current)
            log.info('site current', { site: name, relay: from.relay, ...mailbox.counts() });
          member.current = true;
          member.health = frame;
          admission.told();
          publish();
          return null;
        case 'drain':
          member.draining = true;
          member.finishing = frame.streams === true;
          if (members.all().every(({ draining, finishing }) => draining && !finishing)) wait.lost();
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
      const all = members.forPhone(opening.address);
      for (const [i, { link }] of all.entries()) {
        try {
          return link.open(opening);
        } catch (error) {
          if (i === all.length - 1 || !isSallyportError(error, 'LINK_DOWN', 'STREAM_REFUSED')) throw error;
        }
      }
      const leaving = members.all().map(({ link }) => link.relay);
      throw new SallyportError(
        'LINK_DOWN',
        leaving.length === 0
          ? `no relay link serves site ${name}`
          : `relay ${leaving.join(', ')} is going away`,
      );
    },
    usable: (withinMs) => (leaving ? Promise.resolve(false) : wait.until(withinMs)),
    leave() {
      leaving = true;
      publish();
      for (const { link } of members.all()) link.drain();
    },
    status: () => statusOf({ name, sessions: sessions() }, members, mailbox),
    sessions,
    tick() {
      mailbox.tick();
      admit();
    },
  };
}

function never(frame: never): string {
  return `an unhandled frame ${String(frame)}`;
}

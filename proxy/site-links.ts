import { createHash } from 'node:crypto';
import type { Milliseconds } from '../shared/clock.ts';
import type { DeviceId } from '../shared/device-id.ts';
import type { StreamOpening } from '../shared/mux-frames.ts';
import type { MuxStream } from '../shared/mux-stream.ts';
import { HEARTBEAT_MS } from '../shared/protocol.ts';
import type { MetricSample, RelayFrame } from '../shared/protocol.ts';
import type { PolledDevice } from './marks.ts';

/** Relays that serve one site at a time; one more is refused. */
export const SITE_LINKS = 8;

/** What a site needs of a link that serves it. */
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

export type Health = Omit<Extract<RelayFrame, { type: 'health' }>, 'type'>;

/** A link that serves a site, and what its relay has said of itself. */
export interface Member {
  readonly link: SiteLink;
  /** Nobody behind it sees how sessions end. */
  readonly blind: boolean;
  /** Its resync is whole. */
  current: boolean;
  /** It has said that it goes away. */
  draining: boolean;
  /** Whether it takes connections of phones although it goes away. */
  finishing: boolean;
  health: Health;
  /** Devices that it has made quiet and not loud again, and until when. */
  readonly quieted: Map<DeviceId, Milliseconds>;
}

/** A relay that said nothing for as long may be gone, though its link is not given up yet. */
const FRESH_MS: Milliseconds = 1.5 * HEARTBEAT_MS;

/** The links of one site, one for each of its relays. */
export interface Members {
  all(): Member[];
  of(link: SiteLink): Member | null;
  /** Those by which phones can be led in now. */
  serving(): Member[];
  add(link: SiteLink, blind: boolean): Member;
  remove(member: Member): void;
  /**
   * Those that may take a phone's connection, the one to be asked first in front. A phone is led to the same relay each
   * time while that one is well, and to another one only then: its session is there.
   */
  forPhone(address: string): Member[];
  /** Until when sessions at any of them keep a device quiet; 0 = none does. */
  quietUntil(device: DeviceId): Milliseconds;
}

export function createMembers(): Members {
  const members = new Map<SiteLink, Member>();
  const all = (): Member[] => [...members.values()];
  const serves = ({ link, current, draining }: Member): boolean => current && !draining && link.carries();

  /** Lower is better. */
  function rank(member: Member): number {
    if (member.link.silentFor() > FRESH_MS || !member.link.carries()) return 2;
    return member.current && member.health.ready ? 0 : 1;
  }

  return {
    all,
    of: (link) => members.get(link) ?? null,
    serving: () => all().filter(serves),
    add(link, blind) {
      const member: Member = {
        link,
        blind,
        current: false,
        draining: false,
        finishing: false,
        health: { ready: false, sessions: 0, services: [] },
        quieted: new Map(),
      };
      members.set(link, member);
      return member;
    },
    remove: ({ link }) => void members.delete(link),
    forPhone(address) {
      const there = all().filter(({ draining, finishing }) => !draining || finishing);
      if (there.length < 2) return there;
      return there
        .map((member) => ({ member, rank: rank(member), share: share(member.link.relay, address) }))
        .sort((a, b) => a.rank - b.rank || b.share - a.share)
        .map(({ member }) => member);
    },
    quietUntil: (device) => Math.max(0, ...all().map(({ quieted }) => quieted.get(device) ?? 0)),
  };
}

/** Rendezvous hashing: where a relay comes or goes, only its own phones are led to another one. */
function share(relay: string, address: string): number {
  return createHash('sha256').update(`${relay}\n${address}`).digest().readUInt32BE(0);
}

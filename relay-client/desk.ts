import type { CertificateUse } from '../shared/certificates.ts';
import type { DeviceId } from '../shared/device-id.ts';
import type { DeviceRank, Sequence } from './outbox/outbox.ts';
import type { ServiceHealth } from './services/service.ts';
import type { PollRate, ProxyFigures } from './series/proxy-figures.ts';
import type { Pickups, SeriesPoint } from './series/series.ts';
import type { RecentWarning } from './warnings/recent.ts';
import type { DeviceWarning, WarningEvent } from './warnings/warnings.ts';
import type { WatchedSession } from './watcher/session-events.ts';

/** The state of the link to one proxy. */
export interface ProxyState {
  /** Its URL as configured; with `#address` where the URL's name stands for several proxies. */
  url: string;
  state: 'connecting' | 'up' | 'draining' | 'down';
  /** Wall time of the last change of state. */
  since: number;
  /** Why it is down, for an operator; null while up. */
  why: string | null;
  /** Round trip of the last heartbeat in ms; null while down. */
  roundTripMs: number | null;
  /** How many changes it has yet to apply; null while unknown. */
  lag: number | null;
  /** The newest sequence that it has applied; null while unknown. */
  applied: Sequence | null;
  /** The proxy's software version; null before the first hello. */
  version: string | null;
  /** Its site's phones reach the service by themselves (`sessions: direct`); false before the first hello. */
  direct: boolean;
  /** Its site's phones have to poll under a secret in their path; null before the first hello. */
  pollSecret: boolean | null;
  /** Streams open through it. */
  streams: number;
}

/** A poll, as a proxy reported it. */
export interface PollSeen {
  device: DeviceId;
  /** Wall time, from the proxy's telling of how long ago it was. */
  at: number;
  status: 200 | 202;
  proxy: string;
}

/** The last poll of a device, and what those before it tell. */
export interface PolledDevice extends PollSeen {
  /** Wall time of the newest poll that was answered 202; null = none was, as far as is remembered. */
  calledAt: number | null;
  /** How long the device usually waits from one poll to the next; null until it is known. */
  usual: number | null;
}

/** A device that polls and that the outbox has never heard of. */
export interface UnknownDevice {
  device: string;
  at: number;
  address: string | null;
  proxy: string;
}

/** Which devices that polled, in the order of their last polls. */
export interface PollQuery {
  /** 1–1000. */
  limit: number;
  newestFirst: boolean;
  /** `pending`: something is held; `idle`: nothing is. Which are dead only the outbox knows: see `among`. */
  state?: 'pending' | 'idle' | 'dead';
  /** Part of the device id, in canonical form or without separators. */
  q?: string;
  after?: DeviceRank;
  /** Only these. */
  among?: ReadonlySet<DeviceId>;
}

/**
 * What the desk (API, command line, dashboard, SDK) may ask of the running relay beside the outbox. All calls
 * answer from memory.
 */
export interface RelayView {
  readonly name: string;
  readonly site: string;
  readonly version: string;
  /** Wall time. */
  readonly startedAt: number;
  proxies(): ProxyState[];
  services(): { name: string; kind: 'wpi' | 'tcp'; health: ServiceHealth; connections: number }[];
  /** The certificates that phones are shown. */
  certificates(): CertificateUse[];
  /** What a proxy says of itself; null = nothing lately. */
  proxyFigures(url: string): ProxyFigures | null;
  /** Polls that all linked proxies tell of; null = none does. */
  pollRate(): PollRate | null;
  /** How long phones took to come, lately; null = none came. */
  pickups(): Pickups | null;
  /** The last hour in steps, oldest first, those after `after`. */
  series(after: number): readonly SeriesPoint[];
  /** The newest warnings of all devices and of none, newest first. */
  recentWarnings(): readonly RecentWarning[];
  /** What in the config does not fit what the proxies say, in sentences. */
  misfits(): string[];
  lastPoll(device: DeviceId): PolledDevice | null;
  /** Devices that polled; `next` is the rank of the last one where there are more. */
  devicesByPoll(query: PollQuery): { devices: DeviceId[]; next: DeviceRank | null };
  unknownDevices(): UnknownDevice[];
  /** What follows the poll door's prefix where the device polls; null = no proxy said, in this run, that its site wants a secret. */
  pollPath(device: DeviceId): string | null;
  /** What the device was warned of, newest first. */
  warnings(device: DeviceId): DeviceWarning[];
  /** The session running with a device; null = none known. */
  session(device: DeviceId): WatchedSession | null;
  sessions(): number;
  /** Until when (wall time) polls of the device are kept at 200 because of a session or the session gap; null = not. */
  quietUntil(device: DeviceId): number | null;
  /**
   * Resolves to the proxies' URLs that hold everything up to `seq`, once every connected one does or `withinMs` is over.
   */
  heldBy(seq: Sequence, withinMs: number): Promise<{ all: boolean; proxies: string[] }>;
  /** Since when each linked proxy holds everything up to `seq`. */
  heldAt(seq: Sequence): HeldAt[];
  /** Calls back whenever a link, a service or a session changes, or something deserves a look; the desk's events come from here and the outbox. */
  onChange(listener: (change: DeskChange) => void): () => void;
}

/** Where something that proxies are told stands, at one of them. */
export interface HeldAt {
  /** Its URL. */
  proxy: string;
  /** Wall time; null = it does not hold it yet, or has not said so. */
  since: number | null;
  /** False: since then or longer, as after a restart of this relay, which finds it there. */
  exact: boolean;
}

export type DeskChange =
  | { type: 'link'; proxy: ProxyState }
  | { type: 'service'; name: string; health: ServiceHealth }
  | { type: 'session'; device: DeviceId | null; phase: 'began' | 'ended'; outcome: string | null }
  | { type: 'warning'; warning: WarningEvent };

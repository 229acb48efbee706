import type { Milliseconds } from './clock.ts';

/**
 * The link protocol between a relay and a proxy: what may be said, by whom, and within which limits.
 * PROTOCOL.md tells it in prose; a test keeps the two equal.
 *
 * A link is one *control lane* (JSON text frames) and one or more *stream lanes* (binary frames, see mux-frames.ts),
 * each a WebSocket of its own over TLS 1.3, all dialled by the relay. Both ends know each other by pinned keys.
 */

/**
 * 1: the first.
 * A peer offers every version that it speaks as a WebSocket subprotocol, newest first; the proxy picks the
 * newest that it knows. Within a version, unknown *fields* are ignored and unknown frame *types* are skipped, so
 * either side may be the newer one.
 */
export const PROTOCOL_VERSION = 1;
export const SUBPROTOCOL = `sallyport.${PROTOCOL_VERSION}`;

/** Where a relay dials. `join` is a plain HTTP POST, the others are WebSockets. */
export const PATHS = { control: '/link/control', stream: '/link/stream', join: '/link/join' } as const;

/** Each side sends something on every lane this often. */
export const HEARTBEAT_MS: Milliseconds = 2_000;
/**
 * A lane on which nothing was heard for this long is cut. Where packets get through one way only, a last beat may
 * still arrive before TCP stops sending: beat, silence and what it takes to notice must stay below 10 s together.
 */
export const SILENCE_MS: Milliseconds = 7_000;
/** From the TLS handshake's end to the hello, and from the hello to the welcome. */
export const GREETING_MS: Milliseconds = 10_000;
/** The longest that one device is kept quiet for one generation, over all its sessions. */
export const QUIET_BUDGET_MS: Milliseconds = 120_000;

/** Largest control frame, in bytes; a larger one closes the lane. */
export const CONTROL_FRAME_BYTES = 1_048_576;
/** Bytes that may wait on a control lane for a peer that reads too little, besides what flow control holds back. */
export const CONTROL_BACKLOG_BYTES = 8 * 1_048_576;
/** Most entries in one snapshot, changes or polls frame. */
export const ENTRIES_PER_FRAME = 2_000;

/** Why a lane was closed: WebSocket close codes (RFC 6455 §7.4.2 leaves 4000–4999 to applications). */
export const CLOSE = {
  /** In order: the program ends or its configuration changed. */
  going: 4000,
  /** The peer broke the protocol; the reason says how. */
  violation: 4001,
  /** Nothing was heard for SILENCE_MS. */
  silent: 4002,
  /** A newer link of the same relay took this one's place. */
  replaced: 4003,
  /** The site is served by another relay with another outbox. */
  siteTaken: 4004,
  /** The relay's key was revoked. */
  revoked: 4005,
  /** No hello or welcome in time. */
  noGreeting: 4006,
} as const;

/**
 * What a proxy holds of one held message. `dueIn` is the time until it may be offered, negative once it has been due for
 * so long; `expiresIn` the time until it expires.
 */
export interface HeldEntry {
  id: string;
  device: string;
  kind: 'contact-me' | 'dls';
  generation: number;
  dueIn: Milliseconds;
  expiresIn: Milliseconds;
}

/**
 * One change to what a proxy holds. Within an incarnation, changes apply in the order of `seq`. An end is that of one
 * generation: a snapshot may already hold the message with a newer one (it was re-driven), which the end leaves alone.
 */
export type HeldChange =
  ({ op: 'hold' } & HeldEntry) | { op: 'end'; id: string; device: string; generation: number };

/** What a relay says on the control lane. */
export type RelayFrame =
  /** First frame. `site` must be the one that the proxy knows this relay for. */
  | {
      type: 'hello';
      relay: string;
      site: string;
      incarnation: string;
      seq: number;
      software: string;
      services: string[];
      /** No service of the relay sees how sessions end, so what is pending is offered in windows. */
      blind: boolean;
      /** Most credit that this side takes on one stream; missing = a window of the usual size. */
      credit?: number;
      /**
       * Secrets of the site, each 32 bytes in base64, from which those in poll paths are made: the present one, then the one
       * before, if it still counts. To be kept in memory only. Missing from relays of an older build.
       */
      pollSecrets?: string[];
    }
  /** Part of everything held. The first part replaces all that the proxy held of the site, the last one makes it whole. */
  | {
      type: 'snapshot';
      incarnation: string;
      seq: number;
      first: boolean;
      last: boolean;
      entries: HeldEntry[];
    }
  /** Changes after what the proxy said that it holds; afterwards it is at `seq`. */
  | { type: 'changes'; seq: number; changes: HeldChange[] }
  /**
   * Devices that the relay knows, pending or not: their polls are worth reporting. Sent after each resync. `total`: how many
   * it knows in all, so that the proxy makes room once; relays of an older build do not say it.
   */
  | { type: 'known'; devices: string[]; total?: number }
  /** The device is in a session: answer its polls 200 for `ms` at most. */
  | { type: 'quiet'; device: string; generation: number; ms: Milliseconds }
  /** The session is over. */
  | { type: 'loud'; device: string }
  /** A session that a 202 caused has begun: the site's session gap starts now. */
  | { type: 'gap'; device: string }
  /**
   * Whether a session could succeed (`ready`), how many run, and which services are up. The first one also says that
   * the resync before it is whole: until then every poll of the site is answered 200. `courier`: held entries of kind
   * `dls` can succeed without any service, since the relay answers the phone itself; older relays do not say it.
   */
  | {
      type: 'health';
      ready: boolean;
      sessions: number;
      services: { name: string; up: boolean }[];
      courier?: boolean;
    }
  | { type: 'ping'; n: number }
  | { type: 'pong'; n: number }
  /**
   * The relay goes away: answer polls 200. `streams`: true while sessions that run are to end, for which phones may still
   * open connections; otherwise, and by peers of an older build, open no new streams.
   */
  | { type: 'drain'; streams?: boolean };

/** What a proxy says on the control lane. */
export type ProxyFrame =
  /** Answer to hello. `link` names this link for its stream lanes; `holds` is what is left from before, if anything. */
  | {
      type: 'welcome';
      link: string;
      software: string;
      site: string;
      doors: { name: string; service: string; tls: 'relay' | 'proxy' }[];
      holds: { incarnation: string; seq: number } | null;
      /** As in `hello`. */
      credit?: number;
      /** The site's phones reach the service by themselves: this relay sees nothing of their sessions. Missing = false. */
      direct?: boolean;
      /** Whether phones of the site have to poll by the secret in their path; missing = no. */
      pollSecret?: boolean;
      /** The least time between two sessions of one phone that a 202 caused; missing = not said. */
      sessionGapMs?: Milliseconds;
    }
  /** Everything up to `seq` is applied: from now on polls are answered by it. */
  | { type: 'applied'; incarnation: string; seq: number }
  /** Polls since the last such frame: the newest of each device. */
  | {
      type: 'polls';
      polls: { device: string; agoMs: Milliseconds; status: 200 | 202 }[];
      unknown: { device: string; agoMs: Milliseconds; address: string | null }[];
    }
  /** The proxy's own figures, so that operators inside see them without reaching into the DMZ. */
  | { type: 'metrics'; samples: MetricSample[] }
  | { type: 'ping'; n: number }
  | { type: 'pong'; n: number }
  /**
   * The proxy goes away. `successor`: true when it takes no further link, so that dialling again can only reach one that takes
   * its place; this link stays for what runs on it. Missing from peers of an older build.
   */
  | { type: 'drain'; successor?: boolean };

export type PollsFrame = Extract<ProxyFrame, { type: 'polls' }>;

/** One figure, as Prometheus would read it. */
export interface MetricSample {
  name: string;
  kind: 'counter' | 'gauge';
  labels: Record<string, string>;
  value: number;
}

/** What a successful `join` is told. */
export interface JoinAnswer {
  relay: string;
  site: string;
  pin: string;
}

/** Types of control frames by sender, in the order of PROTOCOL.md. */
export const RELAY_FRAME_TYPES = [
  'hello',
  'snapshot',
  'changes',
  'known',
  'quiet',
  'loud',
  'gap',
  'health',
  'ping',
  'pong',
  'drain',
] as const satisfies RelayFrame['type'][];
export const PROXY_FRAME_TYPES = [
  'welcome',
  'applied',
  'polls',
  'metrics',
  'ping',
  'pong',
  'drain',
] as const satisfies ProxyFrame['type'][];

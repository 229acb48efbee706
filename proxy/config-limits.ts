import { DRAIN_MOST_S } from '../shared/program.ts';

/** Every limit of the proxy and its default. Reaching one refuses the newcomer and is counted. */
export const DEFAULT_LIMITS = {
  /** Connections that one poll worker holds; more are answered 503. */
  poll_connections: 20_000,
  /** Polls answered on one connection before it is closed. */
  poll_requests: 1_000,
  /** Seconds from the first byte of a poll to the end of its header. */
  poll_header_s: 10,
  /** Seconds that a poll connection may idle. */
  poll_idle_s: 75,
  /** Session connections at once, over all doors. */
  session_connections: 5_000,
  /** Streams at once in one stream lane. */
  lane_streams: 4_096,
  /** Seconds for a phone's TLS handshake at an inspected door. */
  handshake_s: 10,
  /** Phone connections of one address, from which on it gets more only while there is room; see createSessionSlots. */
  session_connections_per_address: 400,
  /** Connections at the relay door that have not shown a relay's key; the oldest of the fullest address gives way. */
  relay_connections: 64,
  /** Of them from one address: the oldest gives way. */
  relay_connections_per_address: 8,
  /** Of each second, milliseconds of the main thread that one relay's control frames may take; see createLoopShare. */
  relay_ms_per_s: 250,
  /** Held messages of one site. */
  held: 2_000_000,
  /** Seconds from the loss of a link in which a phone's connection waits for the next one; 0 = it is refused at once. */
  link_wait_s: 5,
  /** Seconds that running sessions get to end at SIGTERM; at most {@link DRAIN_MOST_S}. */
  drain_s: DRAIN_MOST_S,
};
export type ProxyLimits = typeof DEFAULT_LIMITS;

/** The greatest value of a limit, where it is not the usual one. */
export const MOST: Partial<Record<keyof ProxyLimits, number>> = {
  drain_s: DRAIN_MOST_S,
  relay_ms_per_s: 1_000,
};
/** Where there may be none. */
export const LEAST: Partial<Record<keyof ProxyLimits, number>> = { link_wait_s: 0 };

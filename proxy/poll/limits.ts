import type { Milliseconds } from '../../shared/clock.ts';

/** Every limit of the poll door. All count for one poll worker; refusals and closings are counted by reason. */
export interface PollLimits {
  /** Connections at once. A newcomer beyond it takes the place of the one that has idled longest, else it gets 503. */
  connections: number;
  /** Polls answered on one connection; the last one's answer closes it. */
  requestsPerConnection: number;
  /** Bytes of a request line without its end; a longer one gets 503. */
  requestLineBytes: number;
  /** Bytes of a whole header with its request line and all line ends; a longer one gets 503. */
  headerBytes: number;
  /** From accepting a connection to its first whole header (after the TLS handshake), and likewise from the first
   * byte of each later one. A slower phone is cut without an answer. */
  headerMs: Milliseconds;
  /** For a TLS handshake, and for a PROXY header. */
  handshakeMs: Milliseconds;
  /** How long a connection may idle between two polls. */
  idleMs: Milliseconds;
  /** How long a refused connection is still read from, so that its answer is not lost to a reset. */
  lingerMs: Milliseconds;
  /** How many are read from like that at once; others are closed without. */
  lingering: number;
  /** Answer bytes that a phone may leave unread, beyond what the system buffers. */
  backlogBytes: number;
  /** Connections that the system queues before they are accepted. */
  listenBacklog: number;
  /** Unknown devices that a worker reports each second; others are only counted. */
  unknownReports: number;
}

export const DEFAULT_POLL_LIMITS: Readonly<PollLimits> = Object.freeze({
  connections: 20_000,
  requestsPerConnection: 1_000,
  requestLineBytes: 2_048,
  headerBytes: 8_192,
  headerMs: 10_000,
  handshakeMs: 10_000,
  idleMs: 75_000,
  lingerMs: 2_000,
  lingering: 1_000,
  backlogBytes: 65_536,
  listenBacklog: 1_024,
  unknownReports: 50,
});

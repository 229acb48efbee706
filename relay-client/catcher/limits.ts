import type { Milliseconds } from '../../shared/clock.ts';

/** What the catcher grants to services. */
export interface CatcherLimits {
  /** Bytes of a request's body; more is a 413. Default 4 KiB. */
  bodyBytes: number;
  /** Bytes of a request's line and headers. Default 8 KiB. */
  headerBytes: number;
  /** Connections at once; further ones are refused. Default 200. */
  connections: number;
  /** Requests that wait for the outbox at once; more is a 503. Default 1 000. */
  waiting: number;
  /** From a request's first byte to its last, in ms. Default 10 000. */
  requestMs: Milliseconds;
}

export const DEFAULT_CATCHER_LIMITS: CatcherLimits = {
  bodyBytes: 4_096,
  headerBytes: 8_192,
  connections: 200,
  waiting: 1_000,
  requestMs: 10_000,
};

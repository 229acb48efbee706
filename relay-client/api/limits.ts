import type { Milliseconds } from '../../shared/clock.ts';

/** Every bound of the API, with what happens when it is reached. */
export interface ApiLimits {
  /** Open connections; more are closed unanswered. */
  connections: number;
  /** Bytes of a request's line and headers; beyond it 431. */
  headerBytes: number;
  /** Time for a request's headers to come; beyond it 408. */
  headersMs: Milliseconds;
  /** Time for a whole request to come, bulk pushes included; beyond it 408. */
  requestMs: Milliseconds;
  /** A connection on which nothing moves for this long is closed. */
  idleMs: Milliseconds;
  /** Bytes of a JSON body; beyond it 413. */
  bodyBytes: number;
  /** Lines of a bulk push; a last result line says where it stopped. */
  bulkLines: number;
  /** Bytes of a line of a bulk push; a longer one is refused in its result line. */
  bulkLineBytes: number;
  /** Lines committed together. */
  bulkBatch: number;
  /** Bulk pushes at once; beyond it 429. */
  bulks: number;
  /** Bytes of result lines waiting for a caller who doesn't read; beyond it nothing more is read of him. */
  bulkBacklogBytes: number;
  /** How long `?wait=proxy` waits at most; then it answers with `waited: false`. */
  waitMs: Milliseconds;
  /** How long readiness waits for the outbox; then it isn't ready. */
  readyMs: Milliseconds;
  /** Followers of events at once; beyond it 429. */
  eventClients: number;
  /** Bytes waiting for one follower; beyond it he is cut, and may resume. */
  eventBacklogBytes: number;
  /** A follower who takes nothing for this long is cut, and may resume. */
  eventStallMs: Milliseconds;
  /** History entries read at once for a follower. */
  eventBatch: number;
  /** How often an idle event stream carries a comment. */
  heartbeatMs: Milliseconds;
  /** How long closing waits for running requests; then they are cut. */
  drainMs: Milliseconds;
}

export const DEFAULT_API_LIMITS: ApiLimits = {
  connections: 1000,
  headerBytes: 16 * 1024,
  headersMs: 10_000,
  requestMs: 600_000,
  idleMs: 60_000,
  bodyBytes: 2 ** 20,
  bulkLines: 100_000,
  bulkLineBytes: 64 * 1024,
  bulkBatch: 500,
  bulks: 4,
  bulkBacklogBytes: 16 * 2 ** 20,
  waitMs: 10_000,
  readyMs: 2_000,
  eventClients: 64,
  eventBacklogBytes: 2 ** 20,
  eventStallMs: 30_000,
  eventBatch: 200,
  heartbeatMs: 15_000,
  drainMs: 5_000,
};

/** What a push means where its caller leaves it open, and how far he may go. */
export interface PushDefaults {
  /** Time to live; default 7 days. */
  ttl: Milliseconds;
  /** The longest time to live; default 366 days. */
  longestTtl: Milliseconds;
}

const DAY_MS = 86_400_000;

export const DEFAULT_PUSH: PushDefaults = { ttl: 7 * DAY_MS, longestTtl: 366 * DAY_MS };

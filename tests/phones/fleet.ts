/** Many phones in one process, sharing connections' limits, TLS settings and base items, with statistics. */
import { realClock } from './clock.ts';
import { createDialer, type DialerOptions } from './dialer.ts';
import type { PhoneEvent } from './events.ts';
import { baseItems } from './items.ts';
import { createLatency, type LatencySummary } from './latency.ts';
import type { PhoneOptions } from './options.ts';
import { createPhone, type Phone } from './phone.ts';

export type FleetOptions = Omit<PhoneOptions, 'deviceId' | 'dialer' | 'baseItems' | 'firstPollDelayMs'> & {
  /** Default 1. */
  count?: number;
  /** The first phone's id, the others count up from it. Default `00:1A:E8:00:00:01`. */
  firstMac?: string;
  /** Connections open at once in the whole fleet; the others wait, polls behind sessions. Default 512; 0 no limit. */
  concurrency?: number;
  /** Phones start, and first polls fall, evenly over this time. Default: one poll interval for polls, 0 for starts. */
  spreadMs?: number;
  /** Open a start-up session at `start`. Default false. */
  startUp?: boolean;
  /** Each phone's own options, over the common ones. */
  each?: (number: number, deviceId: string) => Partial<Omit<PhoneOptions, 'deviceId' | 'dialer'>>;
};

export type FleetStats = {
  phones: number;
  /** Milliseconds since `start`. */
  elapsedMs: number;
  polls: number;
  /** Polls by status, or by fault reason where there was none. */
  pollsBy: Record<string, number>;
  pollLatency: LatencySummary;
  sessions: number;
  sessionsBy: Record<string, number>;
  /** Sessions by ReasonForContact. */
  reasons: Record<string, number>;
  sessionDuration: LatencySummary;
  requests: number;
  contacts: number;
  restarts: number;
  /** Faults of any kind: polls without a status, failed sessions. */
  failures: number;
  connectionsOpen: number;
  connectionsPeak: number;
  connectionsWaiting: number;
};

export type Fleet = {
  readonly phones: readonly Phone[];
  phone(deviceId: string): Phone | undefined;
  /** Starts every phone; resolves once all have started (and ended their start-up session, if any). */
  start(): Promise<void>;
  /** Polls with every phone once, at most `concurrency` at a time; resolves with the statuses counted. */
  pollAll(): Promise<Record<string, number>>;
  stats(): FleetStats;
  close(): Promise<void>;
};

/** The id `offset` phones after `first`, in the same spelling. @throws TypeError when `first` is not a MAC */
export function macAfter(first: string, offset: number): string {
  const digits = first.replace(/[:.-]/g, '');
  if (!/^[0-9a-fA-F]{12}$/.test(digits)) throw new TypeError(`${JSON.stringify(first)} is not a MAC address`);
  const value = (BigInt(`0x${digits}`) + BigInt(offset)) & 0xffffffffffffn;
  let next = value.toString(16).padStart(12, '0');
  if (!/[a-f]/.test(digits)) next = next.toUpperCase();
  let at = 0;
  return first.replace(/[0-9a-fA-F]/g, () => next[at++] ?? '0');
}

/** Largest fleet; MACs beyond the first one's last three bytes would leave its vendor's range. */
export const MAX_PHONES = 1_000_000;

export function createFleet(options: FleetOptions): Fleet {
  const {
    count = 1,
    firstMac = '00:1A:E8:00:00:01',
    concurrency = 512,
    startUp = false,
    each,
    ...common
  } = options;
  if (!Number.isInteger(count) || count < 1 || count > MAX_PHONES) {
    throw new TypeError(`a fleet of ${count} phones: expected 1 to ${MAX_PHONES}`);
  }
  const clock = options.clock ?? realClock;
  const dialing: DialerOptions = { maxOpen: concurrency };
  if (options.tls) dialing.tls = options.tls;
  if (options.answerTimeoutMs !== undefined) dialing.answerTimeoutMs = options.answerTimeoutMs;
  const dialer = createDialer(dialing);
  const shared = baseItems();
  const interval = options.pollIntervalMs ?? 60_000;
  const pollLatency = createLatency();
  const sessionDuration = createLatency();
  const reasons: Record<string, number> = {};
  const pollsBy: Record<string, number> = {};
  const sessionsBy: Record<string, number> = {};
  const totals = { polls: 0, sessions: 0, requests: 0, contacts: 0, restarts: 0, failures: 0 };
  let startedAt = clock.now();
  let closed = false;

  function tally(event: PhoneEvent): void {
    if (event.type === 'poll') {
      totals.polls += 1;
      add(pollsBy, String(event.status ?? event.reason));
      if (event.status === undefined) totals.failures += 1;
      else pollLatency.record(event.latencyMs);
    } else if (event.type === 'session') {
      totals.sessions += 1;
      totals.requests += event.requests;
      add(sessionsBy, event.failure ?? (event.busy ? 'busy' : 'completed'));
      add(reasons, event.reason);
      if (event.outcome === 'failed') totals.failures += 1;
      else sessionDuration.record(event.durationMs);
    } else if (event.type === 'contact-me') totals.contacts += 1;
    else if (event.type === 'restart') totals.restarts += 1;
    options.onEvent?.(event);
  }

  const phones = Array.from({ length: count }, (_, number): Phone => {
    const deviceId = macAfter(firstMac, number);
    return createPhone({
      contactListen: false,
      ...common,
      ...each?.(number, deviceId),
      firstPollDelayMs: ((number + 1) / count) * (options.spreadMs ?? interval),
      deviceId,
      dialer,
      baseItems: shared,
      onEvent: tally,
    });
  });
  const byId = new Map(phones.map((phone) => [phone.deviceId.toLowerCase(), phone]));
  const waits = new Set<() => void>();

  /** A pause that `close` ends. */
  function pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        clock.clearTimeout(handle);
        waits.delete(wake);
        resolve();
      };
      const handle = clock.setTimeout(wake, ms);
      waits.add(wake);
    });
  }

  async function startOne(phone: Phone, number: number): Promise<void> {
    const delay = startUp ? (number / count) * (options.spreadMs ?? 0) : 0;
    if (delay > 0) await pause(delay);
    if (!closed) await phone.start({ startUp });
  }

  return {
    phones,
    phone: (deviceId) => byId.get(deviceId.toLowerCase()),
    async start() {
      startedAt = clock.now();
      await Promise.all(phones.map(startOne));
    },
    async pollAll() {
      const statuses: Record<string, number> = {};
      await Promise.all(
        phones.map(async (phone) => {
          const { status, reason } = await phone.pollNow();
          add(statuses, String(status ?? reason));
        }),
      );
      return statuses;
    },
    stats: () => ({
      phones: count,
      elapsedMs: Math.round(clock.now() - startedAt),
      ...totals,
      pollsBy: { ...pollsBy },
      pollLatency: pollLatency.summary(),
      sessionsBy: { ...sessionsBy },
      reasons: { ...reasons },
      sessionDuration: sessionDuration.summary(),
      connectionsOpen: dialer.openCount,
      connectionsPeak: dialer.openPeak,
      connectionsWaiting: dialer.waiting,
    }),
    async close() {
      if (closed) return;
      closed = true;
      for (const wake of [...waits]) wake();
      const closing = phones.map((phone) => phone.close());
      dialer.close();
      await Promise.all(closing);
    },
  };
}

function add(counts: Record<string, number>, key: string): void {
  counts[key] = (counts[key] ?? 0) + 1;
}

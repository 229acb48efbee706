/** Output lines of `sallyport-phones`. Item values stay out: they carry passwords. */
import type { PhoneEvent } from './events.ts';
import type { FleetStats } from './fleet.ts';

export type Report = {
  /** The fleet exists; with --json only. */
  ready(facts: Record<string, unknown>): void;
  event(event: PhoneEvent): void;
  stats(stats: FleetStats, last: boolean): void;
};

const ms = (value: number): number => Math.round(value * 10) / 10;
const counted = (counts: Record<string, number>): string =>
  Object.entries(counts)
    .map(([key, count]) => `${key}: ${count}`)
    .join(', ') || 'none';

/** The facts of an event that are worth a line, or undefined for those that are not. */
function factsOf(event: PhoneEvent): Record<string, unknown> | undefined {
  const base = { msg: event.type, device: event.deviceId };
  switch (event.type) {
    case 'poll':
      return {
        ...base,
        status: event.status ?? null,
        ...(event.reason ? { reason: event.reason } : {}),
        ms: ms(event.latencyMs),
      };
    case 'session': {
      const { reason, outcome, failure, message, actions, busy, sendSolicited, requests, connections } =
        event;
      const trouble = failure === undefined ? {} : { failure, message };
      return {
        ...base,
        reason,
        outcome,
        ...trouble,
        actions,
        busy,
        sendSolicited,
        requests,
        connections,
        ms: ms(event.durationMs),
      };
    }
    case 'contact-me':
      return { ...base, method: event.method, ...(event.ignored ? { ignored: event.ignored } : {}) };
    case 'learned':
      return { ...base, pollUrl: event.pollUrl ?? null, intervalMs: event.pollIntervalMs };
    case 'items-written':
      return { ...base, items: event.items.map((item) => item.name) };
    case 'restart':
      return { ...base, cause: event.cause };
    case 'download':
      return {
        ...base,
        url: event.url,
        status: event.status ?? null,
        bytes: event.bytes,
        sha256: event.sha256,
      };
    case 'in-call':
      return { ...base, inCall: event.inCall };
    case 'session-start':
      return undefined;
  }
}

/** @param now - the wall clock; it says when an event was told, so that events of several programs can be put in order */
export function createReport(
  write: (line: string) => void,
  json: boolean,
  events: boolean,
  now: () => Date = () => new Date(),
): Report {
  return {
    ready(facts) {
      if (json) write(JSON.stringify({ msg: 'ready', ...facts }));
    },
    event(event) {
      const facts = events ? factsOf(event) : undefined;
      if (facts) write(json ? JSON.stringify({ time: now().toISOString(), ...facts }) : readable(facts));
    },
    stats(stats, last) {
      if (json) return write(JSON.stringify({ msg: last ? 'done' : 'progress', ...stats }));
      const { pollLatency: poll, sessionDuration: session } = stats;
      write(
        `${last ? 'total' : 'after'} ${(stats.elapsedMs / 1000).toFixed(1)} s: ${stats.polls} polls (${counted(stats.pollsBy)}), ` +
          `p50 ${poll.p50} ms, p99 ${poll.p99} ms; ${stats.sessions} sessions (${counted(stats.sessionsBy)}), ` +
          `p50 ${session.p50} ms; ${stats.connectionsOpen} connections open, ${stats.connectionsWaiting} waiting`,
      );
    },
  };
}

function readable({ msg, device, ...facts }: Record<string, unknown>): string {
  const rest = Object.entries(facts).map(([key, value]) => {
    const text = Array.isArray(value) ? value.join(' ') : String(value);
    return `${key} ${text === '' ? '-' : text}`;
  });
  return `${String(device)}  ${String(msg)}: ${rest.join(', ')}`;
}

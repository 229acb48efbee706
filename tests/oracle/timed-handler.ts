import { randomFillSync } from 'node:crypto';
import { createMarks } from '../../proxy/marks.ts';
import type { Marks } from '../../proxy/marks.ts';
import { openMarks } from '../../proxy/marks-reader.ts';
import { Connection, type ConnectionEvents } from '../../proxy/poll/connection.ts';
import { Connections } from '../../proxy/poll/connections.ts';
import { counterBytes, openCounters } from '../../proxy/poll/counters.ts';
import { DEFAULT_POLL_LIMITS } from '../../proxy/poll/limits.ts';
import { createPollHandler } from '../../proxy/poll/poll-handler.ts';
import { createPollSecrets } from '../../proxy/poll/poll-secrets.ts';
import { createRoutes } from '../../proxy/poll/routes.ts';
import { createUnknownReports } from '../../proxy/poll/unknown-reports.ts';
import { systemClock } from '../../shared/clock.ts';
import type { Milliseconds } from '../../shared/clock.ts';

/** The site that is polled, below `/dcmp/`. */
export const SITE = 'default';
/** Another site of the same proxy, polled below `/other/` without a secret. */
export const OTHER_SITE = 'other';

/** A connection without a socket, so that the handler alone is timed. */
class TimedConnection extends Connection {
  answered: Buffer | null = null;
  take: (bytes: Buffer) => void = () => undefined;

  start(events: ConnectionEvents): void {
    this.take = (bytes) => events.take(this, bytes);
  }
  send(answers: Buffer): void {
    this.answered = answers;
  }
  finish = unexpected;
  end = unexpected;
  destroy = unexpected;
  noDelay = (): void => undefined;
  backlog = (): number => 0;
  peer = (): string => '192.0.2.7';
}

function unexpected(): never {
  throw new Error('The handler ends the connection that it is timed on');
}

/** A poll worker's inside with its marks, and one connection to it. */
export interface TimedHandler {
  /** Gives the handler bytes, as the connection's socket does. */
  take: (bytes: Buffer) => void;
  connection: TimedConnection;
  marks: Marks;
  now: () => Milliseconds;
  /** Reports unknown devices, as a worker does each second. */
  report: () => void;
  close: () => void;
}

/**
 * @param run - `siteSecret`: of 32 bytes, from which devices' secrets are made; null = they poll without. `devices`: the
 *   most that are ever known
 */
export function openTimedHandler(run: {
  siteSecret: Buffer | null;
  link: 'up' | 'down';
  devices: number;
}): TimedHandler {
  const marks = createMarks({
    sites: [SITE, OTHER_SITE],
    clock: systemClock,
    random: (bytes) => void randomFillSync(bytes),
    limit: run.devices,
  });
  // Nobody is admitted: what is pending and free otherwise is answered with 200 too.
  const aliveUntil = run.link === 'up' ? Infinity : 0;
  for (const site of [SITE, OTHER_SITE]) marks.site(site, { aliveUntil, upstreamOk: true, admit: 0 });
  const limits = { ...DEFAULT_POLL_LIMITS, requestsPerConnection: Infinity };
  const counters = openCounters(new SharedArrayBuffer(counterBytes(1)));
  const offset = systemClock.monotonic() - performance.now();
  const now = (): number => performance.now() + offset;
  const connections = new Connections(limits, counters, now);
  const unknown = createUnknownReports(marks.sites, limits.unknownReports);
  const reader = openMarks(marks.attach().seed);
  const routes = createRoutes([
    { number: 0, prefixes: ['/dcmp/'], secret: run.siteSecret !== null },
    { number: 1, prefixes: ['/other/'], secret: false },
  ]);
  const secrets = createPollSecrets();
  if (run.siteSecret !== null) secrets.set(0, [run.siteSecret.toString('base64')]);
  const handler = createPollHandler({
    connections,
    marks: reader,
    routes,
    secrets,
    limits,
    counters,
    unknown,
    now,
  });
  const connection = new TimedConnection(true);
  handler.serve(connection, null);
  return {
    take: connection.take,
    connection,
    marks,
    now,
    report: () => void unknown.take(),
    close: () => marks.close(),
  };
}

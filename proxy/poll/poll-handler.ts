import type { Milliseconds } from '../../shared/clock.ts';
import { NO_SITE, SITE_BYTES } from '../marks-layout.ts';
import { OFFER, type MarksReader } from '../marks-reader.ts';
import { answer, type Persistence, type PollStatus } from './answer.ts';
import type { Connection, ConnectionEvents } from './connection.ts';
import type { Connections } from './connections.ts';
import type { Counters } from './counters.ts';
import { NO_SITE_YET } from './lists-by-site.ts';
import { MALFORMED, MORE, scanHeader } from './header-scan.ts';
import type { PollLimits } from './limits.ts';
import type { PollSecrets } from './poll-secrets.ts';
import { RequestReader } from './request-reader.ts';
import type { Routes } from './routes.ts';
import type { UnknownReports } from './unknown-reports.ts';

export interface PollHandlerParts {
  connections: Connections;
  marks: MarksReader;
  routes: Routes;
  secrets: PollSecrets;
  limits: PollLimits;
  counters: Counters;
  unknown: UnknownReports;
  /** Now, in the time of the marks. */
  now: () => Milliseconds;
}

/** Speaks with phones on the connections given to it. */
export interface PollHandler {
  /**
   * Answers what comes on a connection, from now on until it closes.
   *
   * @param head - bytes that have been read from it already; null = none
   */
  serve(connection: Connection, head: Buffer | null): void;
  /** Says 503 on a connection and closes it. */
  turnAway(connection: Connection): void;
  /** From now on each answer is a connection's last; those that wait for nothing are closed at once. */
  drain(): void;
}

export function createPollHandler(parts: PollHandlerParts): PollHandler {
  const { connections, marks, secrets, limits, counters, unknown, now } = parts;
  const reader = new RequestReader(parts.routes);
  let draining = false;

  const events: ConnectionEvents = {
    take(connection, bytes) {
      if (!connection.ended) take(connection, bytes);
    },
    gone(connection) {
      connection.list?.remove(connection);
      connections.left(connection);
      if (connection.counted) connections.closed();
    },
  };

  /** Answers every whole request of what has come, in order and in one write. */
  function take(connection: Connection, chunk: Buffer): void {
    const time = now();
    const before = connection.carry;
    const bytes = before === null ? chunk : Buffer.concat([before, chunk]);
    const awaited = before !== null || connection.polls === 0;
    connection.carry = null;
    let answers: Buffer | null = null;
    let more: Buffer[] | null = null;
    let start = 0;
    while (start < bytes.length && !connection.ended) {
      const length = scanHeader(bytes, start, connection, limits);
      if (length === MORE) {
        connection.carry = before === null ? Buffer.from(bytes.subarray(start)) : bytes.subarray(start);
        break;
      }
      const next =
        length < 0
          ? refuse(connection, length === MALFORMED ? 400 : 503)
          : reply(connection, bytes, start, length, time);
      if (answers === null) answers = next;
      else (more ??= [answers]).push(next);
      start += Math.max(length, 0);
      connection.seen = connection.line = connection.blank = 0;
    }
    if (more !== null) answers = Buffer.concat(more);

    if (connection.ended && answers !== null) {
      const unread = connection.refused || start < bytes.length;
      if (unread || connection.lingers) connections.linger(connection, answers, time);
      else connection.finish(answers);
      return;
    }
    if (connection.carry === null) connections.idle.add(connection, time);
    // A header's time begins with its first byte: sending more of it does not give it more time.
    else if (!awaited || answers !== null) connections.waiting.add(connection, time);
    if (answers === null) return;
    connection.send(answers);
    if (connection.backlog() > limits.backlogBytes) connections.cut(connection, 'backlog');
  }

  function refuse(connection: Connection, status: PollStatus): Buffer {
    connection.ended = connection.refused = true;
    return count(status, 'close');
  }

  function reply(
    connection: Connection,
    bytes: Buffer,
    start: number,
    length: number,
    time: Milliseconds,
  ): Buffer {
    const kind = reader.read(bytes, start + connection.blank, start + length);
    if (kind !== 'poll') return refuse(connection, kind);
    if (connection.site === NO_SITE_YET && !connections.enter(connection, reader.site))
      return refuse(connection, 503);
    // Without the right secret it is looked up all the same, as a device of a site that there is not: nothing is told,
    // noted or timed by what the marks hold of it, and an unknown device takes as long with the right secret.
    const wrong = 1 - isOpen(bytes);
    reader.key[SITE_BYTES - 1] = wrong * NO_SITE;
    const result = marks.poll(reader.key, reader.keyEnd, reader.site, time);
    const known = marks.known;
    // Asking a socket for its peer is a system call: once for a connection, and whoever polls.
    if (connection.polls === 0) connection.address = connection.peer();
    // Called for every poll, so that the time of an answer does not tell which devices are known.
    unknown.note(reader, connection.address, time, known);
    counters.add('unknown_polls', 1 - known);
    // Added for every poll, so that nothing branches on the secret.
    counters.add('wrong_secret_polls', wrong);
    const status = result === OFFER ? 202 : 200;
    counters.poll(reader.site, status);
    connection.polls++;
    // With a second answer on its way, Nagle's algorithm could hold it back until the first is acknowledged.
    if (connection.polls === 2) connection.noDelay();
    if (!reader.keepAlive || connection.polls >= limits.requestsPerConnection || draining) {
      connection.ended = true;
      return count(status, 'close');
    }
    return count(status, reader.minor === 0 ? 'stay10' : 'stay');
  }

  /** 1 where the device polls as its site wants it, else 0. */
  function isOpen(bytes: Buffer): number {
    if (reader.secret === null) return 1;
    const { start, end } = reader.secret;
    return secrets.opens(reader.site, reader.key.subarray(SITE_BYTES, reader.keyEnd), bytes, start, end);
  }

  function count(status: PollStatus, persistence: Persistence): Buffer {
    counters.add(status, 1);
    return answer(status, persistence);
  }

  return {
    serve(connection, head) {
      connections.waiting.add(connection, now());
      connection.start(events);
      if (head !== null && head.length > 0) take(connection, head);
    },
    turnAway(connection) {
      connection.start(events);
      connections.linger(connection, refuse(connection, 503), now());
    },
    drain() {
      draining = true;
      connections.closeIdle();
    },
  };
}

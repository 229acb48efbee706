import type { Socket } from 'node:net';
import type { Milliseconds } from '../../shared/clock.ts';
import type { MarksReader } from '../marks-reader.ts';
import { answer, type Persistence, type PollStatus } from './answer.ts';
import type { Connection, Connections } from './connections.ts';
import type { Counters } from './counters.ts';
import { MALFORMED, MORE, scanHeader } from './header-scan.ts';
import type { PollLimits } from './limits.ts';
import { RequestReader } from './request-reader.ts';
import type { Routes } from './routes.ts';
import type { UnknownReports } from './unknown-reports.ts';

export interface PollHandlerParts {
  connections: Connections;
  marks: MarksReader;
  routes: Routes;
  limits: PollLimits;
  counters: Counters;
  unknown: UnknownReports;
  /** Now, in the time of the marks. */
  now: () => Milliseconds;
}

/** Speaks with phones on the connections given to it. */
export interface PollHandler {
  /**
   * Answers what comes on a connection's socket, from now on until it closes.
   *
   * @param head - bytes that have been read from it already; null = none
   */
  serve(connection: Connection, head: Buffer | null): void;
  /** Says 503 on a connection's socket and closes it. */
  turnAway(connection: Connection): void;
  /** From now on each answer is a connection's last; those that wait for nothing are closed at once. */
  drain(): void;
}

type Served = Socket & { [connectionOf]?: Connection };
const connectionOf = Symbol('connection');

export function createPollHandler(parts: PollHandlerParts): PollHandler {
  const { connections, marks, limits, counters, unknown, now } = parts;
  const reader = new RequestReader(parts.routes);
  let draining = false;

  // One set of listeners for all sockets: they find their connection on the socket.
  function onData(this: Socket, chunk: Buffer): void {
    const connection = (this as Served)[connectionOf];
    if (connection !== undefined && !connection.ended) take(connection, chunk);
  }
  function onError(this: Socket): void {
    this.destroy();
  }
  function onClose(this: Socket): void {
    const connection = (this as Served)[connectionOf];
    connection?.list?.remove(connection);
    if (connection?.counted === true) connections.closed();
  }
  function listen(connection: Connection): void {
    const socket = connection.socket;
    (socket as Served)[connectionOf] = connection;
    socket.on('data', onData);
    socket.on('error', onError);
    socket.on('close', onClose);
  }

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
        connection.carry = start === 0 ? bytes : bytes.subarray(start);
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
      const allRead = !connection.refused && start === bytes.length;
      return finish(connection, answers, allRead, time);
    }
    if (connection.carry === null) connections.idle.add(connection, time);
    // A header's time begins with its first byte: sending more of it does not give it more time.
    else if (!awaited || answers !== null) connections.waiting.add(connection, time);
    if (answers !== null) send(connection.socket, answers);
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
    const result = marks.poll(reader.key, reader.keyEnd, reader.site, time);
    if (result === 'unknown') noteUnknown(connection, time);
    const status = result === 'offer' ? 202 : 200;
    connection.polls++;
    // With a second answer on its way, Nagle's algorithm could hold it back until the first is acknowledged.
    if (connection.polls === 2) connection.socket.setNoDelay(true);
    if (!reader.keepAlive || connection.polls >= limits.requestsPerConnection || draining) {
      connection.ended = true;
      return count(status, 'close');
    }
    return count(status, reader.minor === 0 ? 'stay10' : 'stay');
  }

  function noteUnknown(connection: Connection, time: Milliseconds): void {
    counters.add('unknown_polls', 1);
    // Asking a socket for its peer is a system call, which a flood of made-up ids shall not cost us each time.
    if (unknown.full) return;
    const address = connection.address ?? connection.socket.remoteAddress ?? null;
    unknown.note(reader.site, reader.deviceId(), address, time);
  }

  function count(status: PollStatus, persistence: Persistence): Buffer {
    counters.add(status, 1);
    return answer(status, persistence);
  }

  function send(socket: Socket, answers: Buffer): void {
    if (!socket.write(answers) && socket.writableLength > limits.backlogBytes)
      connections.cut(socket, 'backlog');
  }

  /**
   * Sends the last answer and closes. Closing with input unread would reset the connection and could take the answer
   * with it (RFC 9112 §9.6): so where more may come than was read, the socket is read from a little longer.
   */
  function finish(connection: Connection, answers: Buffer, allRead: boolean, time: Milliseconds): void {
    const socket = connection.socket;
    if (!allRead) {
      socket.end(answers);
      connections.linger(connection, time);
    } else if (connection.secure) {
      socket.end(answers);
      socket.destroySoon();
    } else {
      socket.write(answers);
      // Mostly the system has taken the answer by now; closing then needs no shutdown of its own.
      if (socket.writableLength === 0) socket.destroy();
      else socket.destroySoon();
    }
  }

  return {
    serve(connection, head) {
      connections.waiting.add(connection, now());
      listen(connection);
      if (head !== null && head.length > 0) take(connection, head);
    },
    turnAway(connection) {
      listen(connection);
      finish(connection, refuse(connection, 503), false, now());
    },
    drain() {
      draining = true;
      connections.closeIdle();
    },
  };
}

import type { Socket } from 'node:net';
import type { Milliseconds } from '../../shared/clock.ts';
import type { MarksReader } from '../marks-reader.ts';
import { answer, type PollStatus } from './answer.ts';
import { Connection, ConnectionList } from './connection-list.ts';
import type { Counters, CutReason } from './counters.ts';
import { MALFORMED, MORE, scanHeader } from './header-scan.ts';
import type { PollLimits } from './limits.ts';
import { RequestReader } from './request-reader.ts';
import type { Routes } from './routes.ts';

/** A poll of a device that has no mark. */
export type OnUnknown = (site: number, device: string, address: string | undefined) => void;

export interface PollHandlerParts {
  marks: MarksReader;
  routes: Routes;
  limits: PollLimits;
  counters: Counters;
  /** Now, in the time of the marks. */
  now: () => Milliseconds;
  onUnknown: OnUnknown;
}

/** Speaks with phones on the connections given to it. */
export interface PollHandler {
  /**
   * Whether one more connection may come. At the limit the one that has idled longest gives way; where none is idle
   * the answer is false.
   */
  makeRoom(): boolean;
  /** Counts a connection as open, from before its TLS handshake until it has closed. */
  opened(): void;
  closed(): void;
  /**
   * Answers what comes on a socket, from now on until it closes.
   *
   * @param head - bytes that have been read from it already; null = none
   */
  serve(socket: Socket, address: string | null, head: Buffer | null): void;
  /** Says 503 on a socket and closes it. */
  turnAway(socket: Socket): void;
  cut(socket: Socket, reason: CutReason): void;
  /** Cuts the connections that have waited too long. To be called about once a second. */
  sweep(): void;
  /** From now on each answer is a connection's last; those that wait for nothing are closed at once. */
  drain(): void;
}

type Served = Socket & { [connectionOf]?: Connection };
const connectionOf = Symbol('connection');

/** How long a newcomer's header may take before it has to give way at the limit of connections. */
const GRACE_MS: Milliseconds = 1_000;

export function createPollHandler(parts: PollHandlerParts): PollHandler {
  const { marks, limits, counters, now, onUnknown } = parts;
  const reader = new RequestReader(parts.routes);
  const waiting = new ConnectionList();
  const idle = new ConnectionList();
  const lingering = new ConnectionList();
  let open = 0;
  let draining = false;

  // One set of listeners for all sockets: they find their connection on the socket.
  function onData(this: Socket, chunk: Buffer): void {
    const connection = (this as Served)[connectionOf];
    if (connection !== undefined) take(connection, chunk);
  }
  function onEnd(this: Socket): void {
    this.end();
  }
  function onError(this: Socket): void {
    this.destroy();
  }
  function onClose(this: Socket): void {
    const connection = (this as Served)[connectionOf];
    connection?.list?.remove(connection);
  }

  function take(connection: Connection, chunk: Buffer): void {
    if (connection.ended) return;
    const time = now();
    const bytes = connection.carry === null ? chunk : Buffer.concat([connection.carry, chunk]);
    const wasWaiting = connection.carry !== null || connection.requests === 0;
    connection.carry = null;
    let start = 0;
    let answers: Buffer | null = null;
    while (start < bytes.length) {
      const length = scanHeader(bytes, start, connection, limits);
      if (length === MORE) {
        connection.carry = start === 0 ? bytes : bytes.subarray(start);
        break;
      }
      const next = length < 0 ? refuse(connection, length) : reply(connection, bytes, start, length, time);
      answers = answers === null ? next : Buffer.concat([answers, next]);
      if (connection.ended) {
        finish(connection, answers, length > 0 && start + length === bytes.length, time);
        return;
      }
      start += length;
      connection.seen = connection.line = connection.blank = 0;
    }
    if (answers !== null) send(connection, answers);
    // A header's time begins with its first byte, and a slow one does not get more by sending more.
    if (connection.carry === null) idle.add(connection, time);
    else if (!wasWaiting || answers !== null) waiting.add(connection, time);
  }

  function refuse(connection: Connection, result: number): Buffer {
    connection.ended = true;
    return count(result === MALFORMED ? 400 : 503, 'close');
  }

  function reply(
    connection: Connection,
    bytes: Buffer,
    start: number,
    length: number,
    time: Milliseconds,
  ): Buffer {
    const kind = reader.read(bytes, start + connection.blank, start + length);
    if (kind !== 'poll') {
      connection.ended = true;
      return count(kind, 'close');
    }
    const result = marks.poll(reader.key, reader.keyEnd, reader.site, time);
    if (result === 'unknown') {
      counters.add('unknown_polls', 1);
      onUnknown(reader.site, reader.deviceId(), connection.address ?? connection.socket.remoteAddress);
    }
    const status = result === 'offer' ? 202 : 200;
    const last = ++connection.requests >= limits.requestsPerConnection || draining;
    if (last || !reader.keepAlive) {
      connection.ended = true;
      return count(status, 'close');
    }
    return count(status, reader.minor === 0 ? 'stay10' : 'stay');
  }

  function count(status: PollStatus, persistence: 'stay' | 'stay10' | 'close'): Buffer {
    counters.add(status, 1);
    return answer(status, persistence);
  }

  function send(connection: Connection, answers: Buffer): void {
    const socket = connection.socket;
    if (!socket.write(answers) && socket.writableLength > limits.backlogBytes) cut(socket, 'backlog');
  }

  /**
   * Sends the last answer and closes. Closing with input unread would reset the connection and could take the answer
   * with it (RFC 9112 §9.6): so unless all has been read, the socket is read from a little longer.
   */
  function finish(connection: Connection, answers: Buffer, allRead: boolean, time: Milliseconds): void {
    const socket = connection.socket;
    if (allRead) {
      socket.write(answers);
      // Mostly the system has taken the answer by now, and closing sends it and the end in one go.
      if (socket.writableLength === 0) socket.destroy();
      else socket.destroySoon();
      return;
    }
    socket.end(answers);
    lingering.add(connection, time);
  }

  function cut(socket: Socket, reason: CutReason): void {
    counters.add(reason, 1);
    socket.destroy();
  }

  function cutOlder(list: ConnectionList, limit: Milliseconds, reason: CutReason | null): void {
    const time = now();
    for (let one = list.first; one !== null && time - one.since >= limit; one = list.first) {
      list.remove(one);
      if (reason === null) one.socket.destroy();
      else cut(one.socket, reason);
    }
  }

  return {
    makeRoom() {
      if (open < limits.connections) return true;
      const slow = waiting.first;
      const leaving = idle.first ?? (slow !== null && now() - slow.since > GRACE_MS ? slow : null);
      if (leaving === null) return false;
      leaving.list?.remove(leaving);
      cut(leaving.socket, 'evicted');
      return true;
    },
    opened() {
      open++;
      counters.add('accepted', 1);
      counters.add('open', 1);
    },
    closed() {
      open--;
      counters.add('open', -1);
    },
    serve(socket, address, head) {
      const connection = new Connection(socket);
      connection.address = address;
      (socket as Served)[connectionOf] = connection;
      waiting.add(connection, now());
      socket.on('data', onData);
      socket.on('end', onEnd);
      socket.on('error', onError);
      socket.on('close', onClose);
      if (head !== null && head.length > 0) take(connection, head);
    },
    turnAway(socket) {
      const connection = new Connection(socket);
      connection.ended = true;
      (socket as Served)[connectionOf] = connection;
      socket.on('data', onData);
      socket.on('error', onError);
      socket.on('close', onClose);
      finish(connection, count(503, 'close'), false, now());
    },
    cut,
    sweep() {
      cutOlder(waiting, limits.headerMs, 'header_timeout');
      cutOlder(idle, limits.idleMs, 'idle_timeout');
      cutOlder(lingering, limits.lingerMs, null);
    },
    drain() {
      draining = true;
      cutOlder(idle, -1, null);
    },
  };
}

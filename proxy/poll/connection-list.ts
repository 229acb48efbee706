import type { Socket } from 'node:net';
import type { Milliseconds } from '../../shared/clock.ts';
import type { ScanState } from './header-scan.ts';

/** One connection of a phone, as its worker keeps it; it is its own place in one list. */
export class Connection implements ScanState {
  readonly socket: Socket;
  /** Bytes of a request that is not whole yet; null = none. */
  carry: Buffer | null = null;
  seen = 0;
  line = 0;
  blank = 0;
  /** Requests answered. */
  requests = 0;
  /** Whether its last answer has been given; what still comes is thrown away. */
  ended = false;
  /** The real peer that a balancer named; null = the socket's own. */
  address: string | null = null;

  list: ConnectionList | null = null;
  previous: Connection | null = null;
  next: Connection | null = null;
  since: Milliseconds = 0;

  constructor(socket: Socket) {
    this.socket = socket;
  }
}

/**
 * Connections in one state, in the order in which they entered it. All wait for the same time, so that a sweep
 * looks at the first ones only and no connection needs a timer of its own.
 */
export class ConnectionList {
  first: Connection | null = null;
  #last: Connection | null = null;

  /** Puts a connection last, taking it out of the list where it was. */
  add(connection: Connection, now: Milliseconds): void {
    connection.list?.remove(connection);
    connection.list = this;
    connection.since = now;
    connection.previous = this.#last;
    if (this.#last === null) this.first = connection;
    else this.#last.next = connection;
    this.#last = connection;
  }

  remove(connection: Connection): void {
    if (connection.previous === null) this.first = connection.next;
    else connection.previous.next = connection.next;
    if (connection.next === null) this.#last = connection.previous;
    else connection.next.previous = connection.previous;
    connection.list = connection.previous = connection.next = null;
  }
}

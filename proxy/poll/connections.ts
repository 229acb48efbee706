import type { Socket } from 'node:net';
import type { Milliseconds } from '../../shared/clock.ts';
import type { Counters, CutReason } from './counters.ts';
import type { ScanState } from './header-scan.ts';
import type { PollLimits } from './limits.ts';

/** One connection of a phone, as its worker keeps it. It is its own place in one list. */
export class Connection implements ScanState {
  readonly socket: Socket;
  /** Whether its closing ends its place among the open ones; with TLS the connection below does that. */
  readonly counted: boolean;
  /** Whether TLS ends here, so that closing has to be said within TLS. */
  readonly secure: boolean;
  /** The real peer that a balancer named; null = the socket's own. */
  readonly address: string | null;
  /** Bytes of a request that is not whole yet; null = none. */
  carry: Buffer | null = null;
  seen = 0;
  line = 0;
  blank = 0;
  /** Polls answered. */
  polls = 0;
  /** Whether its last answer has been given; what still comes is thrown away. */
  ended = false;
  /** Whether that answer was a refusal, so that more of what was refused may come. */
  refused = false;

  list: ConnectionList | null = null;
  previous: Connection | null = null;
  next: Connection | null = null;
  since: Milliseconds = 0;

  constructor(socket: Socket, counted: boolean, secure: boolean, address: string | null) {
    this.socket = socket;
    this.counted = counted;
    this.secure = secure;
    this.address = address;
  }
}

/**
 * Connections in one state, in the order in which they entered it. All may stay for the same time, so that a sweep
 * looks at the first ones only and no connection needs a timer of its own.
 */
export class ConnectionList {
  first: Connection | null = null;
  size = 0;
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
    this.size++;
  }

  /** Takes out a connection that is in this list. */
  remove(connection: Connection): void {
    if (connection.previous === null) this.first = connection.next;
    else connection.previous.next = connection.next;
    if (connection.next === null) this.#last = connection.previous;
    else connection.next.previous = connection.previous;
    connection.list = connection.previous = connection.next = null;
    this.size--;
  }
}

/** Whom a newcomer may replace besides the idle: who has been slow for this long. A phone sends its poll at once. */
const SLOW_MS: Milliseconds = 1_000;

/** All connections of a worker: how many there are, what each is waiting for, and when that has been too long. */
export class Connections {
  /** Those of which a whole header is awaited. */
  readonly waiting = new ConnectionList();
  /** Those between two polls. */
  readonly idle = new ConnectionList();
  /** Those that have had their last answer and are read from until they close. */
  readonly lingering = new ConnectionList();
  readonly #limits: PollLimits;
  readonly #counters: Counters;
  readonly #now: () => Milliseconds;
  #open = 0;

  constructor(limits: PollLimits, counters: Counters, now: () => Milliseconds) {
    this.#limits = limits;
    this.#counters = counters;
    this.#now = now;
  }

  /**
   * Counts a connection that was accepted, until {@link closed} is called for it. At the limit the one that has idled
   * longest gives way, or one that has been slow.
   *
   * @returns false where there is no room, and this connection should go
   */
  opened(): boolean {
    const room = this.#open < this.#limits.connections || this.#makeRoom();
    this.#open++;
    this.#counters.add('accepted', 1);
    this.#counters.add('open', 1);
    return room;
  }

  closed(): void {
    this.#open--;
    this.#counters.add('open', -1);
  }

  cut(socket: Socket, reason: CutReason): void {
    this.#counters.add(reason, 1);
    socket.destroy();
  }

  /** Reads on from a connection that has had its last answer, unless too many are read from like that. */
  linger(connection: Connection, now: Milliseconds): void {
    if (this.lingering.size >= this.#limits.lingering) connection.socket.destroySoon();
    else this.lingering.add(connection, now);
  }

  /** Cuts what has taken too long. */
  sweep(): void {
    for (const late of this.#older(this.waiting, this.#limits.headerMs))
      this.cut(late.socket, 'header_timeout');
    for (const late of this.#older(this.idle, this.#limits.idleMs)) this.cut(late.socket, 'idle_timeout');
    for (const late of this.#older(this.lingering, this.#limits.lingerMs)) late.socket.destroy();
  }

  /** Closes those that wait for nothing. */
  closeIdle(): void {
    for (const idle of this.#older(this.idle, -1)) idle.socket.destroySoon();
  }

  #makeRoom(): boolean {
    const slow = this.waiting.first;
    const leaving = this.idle.first ?? (slow !== null && this.#now() - slow.since > SLOW_MS ? slow : null);
    if (leaving === null) return false;
    leaving.list?.remove(leaving);
    this.cut(leaving.socket, 'evicted');
    return true;
  }

  *#older(list: ConnectionList, limit: Milliseconds): Generator<Connection, void, void> {
    const now = this.#now();
    for (let one = list.first; one !== null && now - one.since > limit; one = list.first) {
      list.remove(one);
      yield one;
    }
  }
}

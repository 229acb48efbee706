import type { Milliseconds } from '../../shared/clock.ts';
import type { Connection } from './connection.ts';
import type { Counters, CutReason } from './counters.ts';
import type { PollLimits } from './limits.ts';
import { WaitingList } from './waiting-list.ts';

/** Whom a newcomer may replace besides the idle: who has been slow for this long. A phone sends its poll at once. */
const SLOW_MS: Milliseconds = 1_000;

/** All connections of a worker: how many there are, what each is waiting for, and when that has been too long. */
export class Connections {
  /** Those of which a whole header is awaited. */
  readonly waiting = new WaitingList<Connection>();
  /** Those between two polls. */
  readonly idle = new WaitingList<Connection>();
  /** Those that have had their last answer and are read from until they close. */
  readonly #lingering = new WaitingList<Connection>();
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

  /** Closes a connection at once, for a reason that is counted. */
  cut(connection: { destroy(): void }, reason: CutReason): void {
    this.#counters.add(reason, 1);
    connection.destroy();
  }

  /**
   * Sends the last answers of a connection of which more may come than was read. Closing with input unread would
   * reset it and could take the answers with it (RFC 9112 §9.6), so it is read from a little longer.
   */
  linger(connection: Connection, answers: Buffer, now: Milliseconds): void {
    if (this.#lingering.size >= this.#limits.lingering) {
      connection.finish(answers);
      return;
    }
    this.#lingering.add(connection, now);
    connection.end(answers);
  }

  /** Cuts what has taken too long. */
  sweep(): void {
    const now = this.#now();
    for (const late of this.waiting.older(this.#limits.headerMs, now)) this.cut(late, 'header_timeout');
    for (const late of this.idle.older(this.#limits.idleMs, now)) this.cut(late, 'idle_timeout');
    for (const late of this.#lingering.older(this.#limits.lingerMs, now)) late.destroy();
  }

  /** Closes those that wait for nothing. */
  closeIdle(): void {
    for (const idle of this.idle.older(-1, this.#now())) idle.destroy();
  }

  #makeRoom(): boolean {
    const slow = this.waiting.first;
    const leaving = this.idle.first ?? (slow !== null && this.#now() - slow.since > SLOW_MS ? slow : null);
    if (leaving === null) return false;
    leaving.list?.remove(leaving);
    this.cut(leaving, 'evicted');
    return true;
  }
}

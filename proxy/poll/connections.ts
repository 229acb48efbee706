import type { Milliseconds } from '../../shared/clock.ts';
import type { Connection } from './connection.ts';
import type { Counters, CutReason } from './counters.ts';
import type { PollLimits } from './limits.ts';
import { ListsBySite, NO_SITE_YET } from './lists-by-site.ts';
import { WaitingList } from './waiting-list.ts';

/** Whom a newcomer may replace besides the idle: who has been slow for this long. A phone sends its poll at once. */
const SLOW_MS: Milliseconds = 1_000;

/** What has, or had, a place at a site. */
export type AtSite = Pick<Connection, 'site' | 'entered'>;

/** All connections of a worker: how many there are, what each is waiting for, and when that has been too long. */
export class Connections {
  /** Those of which a whole header is awaited. */
  readonly waiting = new ListsBySite<Connection>();
  /** Those between two polls. */
  readonly idle = new ListsBySite<Connection>();
  /** Those that have had their last answer and are read from until they close. */
  readonly #lingering = new WaitingList<Connection>();
  readonly #limits: PollLimits;
  readonly #counters: Counters;
  readonly #now: () => Milliseconds;
  readonly #quotas: readonly number[];
  readonly #openAt: number[] = [];
  #open = 0;

  /** @param quotas - connections that each site may have, by its number; none = any number */
  constructor(
    limits: PollLimits,
    counters: Counters,
    now: () => Milliseconds,
    quotas: readonly number[] = [],
  ) {
    this.#limits = limits;
    this.#quotas = quotas;
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
    const room = this.#open < this.#limits.connections || this.#makeRoom(NO_SITE_YET);
    this.#open++;
    this.#counters.add('accepted', 1);
    this.#counters.add('open', 1);
    return room;
  }

  closed(): void {
    this.#open--;
    this.#counters.add('open', -1);
  }

  /**
   * Counts a connection to a site, until {@link left} is called with it. At the site's quota one of the site's own gives way,
   * as at the limit of all.
   *
   * @returns false where there is no room, and this connection should go; then it is not counted there
   */
  enter(connection: AtSite, site: number): boolean {
    const open = this.#openAt[site] ?? 0;
    if (open >= (this.#quotas[site] ?? Infinity) && !this.#makeRoom(site)) {
      this.#counters.site(site, 'refused', 1);
      return false;
    }
    // To make room may have given a place back.
    this.#openAt[site] = (this.#openAt[site] ?? 0) + 1;
    this.#counters.site(site, 'open', 1);
    connection.site = site;
    connection.entered = true;
    return true;
  }

  left(connection: AtSite): void {
    if (!connection.entered) return;
    connection.entered = false;
    this.#openAt[connection.site] = (this.#openAt[connection.site] ?? 1) - 1;
    this.#counters.site(connection.site, 'open', -1);
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

  /** @param site - whose connections may have to give way; {@link NO_SITE_YET} = any */
  #makeRoom(site: number): boolean {
    const all = site === NO_SITE_YET;
    const slow = all ? this.waiting.first : this.waiting.firstOf(site);
    const idle = all ? this.idle.first : this.idle.firstOf(site);
    const leaving = idle ?? (slow !== null && this.#now() - slow.since > SLOW_MS ? slow : null);
    if (leaving === null) return false;
    leaving.list?.remove(leaving);
    this.cut(leaving, 'evicted');
    return true;
  }
}

import type { Milliseconds } from '../../shared/clock.ts';
import { WaitingList } from './waiting-list.ts';
import type { Waiting } from './waiting-list.ts';

/** The site of a connection of which none is known yet. */
export const NO_SITE_YET = -1;

/** Waiting lists, one for each site and one for those of no site yet, which can be looked at as one. */
export class ListsBySite<T extends Waiting & { site: number }> {
  /** By the site's number, behind that of no site yet. */
  readonly #lists = [new WaitingList<T>()];

  /** Puts `one` last in the list of its site, taking it out of the list where it was. */
  add(one: T, now: Milliseconds): void {
    this.#at(one.site).add(one, now);
  }

  /** Who has waited longest of all. */
  get first(): T | null {
    let first: T | null = null;
    for (const list of this.#lists) {
      if (list.first !== null && (first === null || list.first.since < first.since)) first = list.first;
    }
    return first;
  }

  /** Who of a site has waited longest. */
  firstOf(site: number): T | null {
    return this.#at(site).first;
  }

  /** Takes out, one after the other, those that have waited for longer than `limit`; -1 = all. */
  *older(limit: Milliseconds, now: Milliseconds): Generator<T, void, void> {
    for (const list of this.#lists) yield* list.older(limit, now);
  }

  #at(site: number): WaitingList<T> {
    const place = site - NO_SITE_YET;
    while (this.#lists.length <= place) this.#lists.push(new WaitingList());
    return this.#lists[place] as WaitingList<T>;
  }
}

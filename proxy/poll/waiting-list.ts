import type { Milliseconds } from '../../shared/clock.ts';

/** Something that may be in one {@link WaitingList} at a time. It is its own place in the list. */
export class Waiting {
  list: WaitingList<Waiting> | null = null;
  previous: Waiting | null = null;
  next: Waiting | null = null;
  since: Milliseconds = 0;
}

/**
 * Connections that wait for one thing, in the order in which they began to. All may wait for the same time, so that
 * a sweep looks at the first ones only and no connection needs a timer of its own.
 */
export class WaitingList<T extends Waiting> {
  size = 0;
  #first: Waiting | null = null;
  #last: Waiting | null = null;

  /** Who has waited longest. */
  get first(): T | null {
    return this.#first as T | null;
  }

  /** Puts `one` last, taking it out of the list where it was. */
  add(one: T, now: Milliseconds): void {
    one.list?.remove(one);
    one.list = this;
    one.since = now;
    one.previous = this.#last;
    if (this.#last === null) this.#first = one;
    else this.#last.next = one;
    this.#last = one;
    this.size++;
  }

  /** Takes out `one`, which is in this list. */
  remove(one: T): void {
    if (one.previous === null) this.#first = one.next;
    else one.previous.next = one.next;
    if (one.next === null) this.#last = one.previous;
    else one.next.previous = one.previous;
    one.list = one.previous = one.next = null;
    this.size--;
  }

  /** Takes out, one after the other, those that have waited for longer than `limit`; -1 = all. */
  *older(limit: Milliseconds, now: Milliseconds): Generator<T, void, void> {
    for (let one = this.first; one !== null && now - one.since > limit; one = this.first) {
      this.remove(one);
      yield one;
    }
  }
}

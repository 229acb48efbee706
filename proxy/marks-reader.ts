import { receiveMessageOnPort, type MessagePort } from 'node:worker_threads';
import type { Milliseconds } from '../shared/clock.ts';
import { createKeyedHash } from '../shared/keyed-hash.ts';
import {
  ACTIONS,
  ADMIT,
  ALIVE_UNTIL,
  COURIER,
  DIRECT,
  ENTRY_WORDS,
  EXPIRY,
  FLAGS,
  GAP_UNTIL,
  KNOWN,
  MOVED,
  NOT_BEFORE,
  PENDING,
  QUIET_UNTIL,
  SEQUENCE,
  SITE_FLAGS,
  SITE_WORDS,
  UPSTREAM_OK,
  admissionTicket,
  decide,
  findSlot,
  openTable,
  storedLow,
  tickOf,
  type MarkView,
  type MarksTable,
  type SiteView,
} from './marks-layout.ts';

/** What a thread needs to read the marks; `port` has to be in the transfer list of the message that brings it. */
export interface MarksSeed {
  sites: SharedArrayBuffer;
  table: SharedArrayBuffer;
  key: Uint8Array;
  base: Milliseconds;
  port: MessagePort;
}

/** What a poll is told. `unknown` and `nothing` are one to the phone: 200. */
export type PollResult = 'offer' | 'nothing' | 'unknown';

/** The marks as a poll worker reads them. */
export interface MarksReader {
  /**
   * Answers one poll and notes that it came.
   *
   * @param key - the site's number in 4 bytes (little-endian), then the canonical device id
   * @param end - where the device id ends in `key`
   * @param now - `clock.monotonic()`, at most a moment old
   */
  poll(key: Uint8Array, end: number, site: number, now: Milliseconds): PollResult;
  /** Takes a newer table if there is one, so that an idle thread does not hold on to old memory. */
  refresh(): void;
}

/** How often a reader tries again when the main thread is writing the very entry that it reads. */
const READ_ATTEMPTS = 1_000;

/** Opens the marks in the thread that received `seed`. */
export function openMarks(seed: MarksSeed): MarksReader {
  return new SharedMarksReader(seed);
}

class SharedMarksReader implements MarksReader {
  readonly #hash;
  readonly #sites: Uint32Array;
  readonly #base: Milliseconds;
  readonly #port: MessagePort;
  #table: MarksTable;
  // One of each, filled anew for each poll, so that a poll allocates nothing.
  readonly #mark: MarkView = {
    pending: false,
    actions: false,
    notBefore: 0,
    expiry: 0,
    quietUntil: 0,
    gapUntil: 0,
  };
  readonly #site: SiteView = { aliveUntil: 0, upstreamOk: false, courier: false, direct: false, admit: 0 };

  constructor(seed: MarksSeed) {
    this.#hash = createKeyedHash(seed.key);
    this.#sites = new Uint32Array(seed.sites);
    this.#base = seed.base;
    this.#port = seed.port;
    this.#table = openTable(seed.table);
  }

  poll(key: Uint8Array, end: number, site: number, now: Milliseconds): PollResult {
    this.refresh();
    this.#hash.update(key, 0, end);
    const table = this.#table;
    const low = storedLow(this.#hash.low);
    const slot = findSlot(table, low, this.#hash.high);
    if (slot < 0) return 'unknown';
    const flags = this.#read(table.words, table.entries + slot * ENTRY_WORDS);
    if ((flags & KNOWN) === 0) return 'unknown';

    const tick = tickOf(now, this.#base);
    this.#readSite(site);
    const offer = decide(this.#mark, this.#site, tick, admissionTicket(low, now)) === 'offer';
    Atomics.store(table.words, table.lastPoll + slot, tick);
    if (offer) Atomics.store(table.words, table.last202 + slot, tick);
    return offer ? 'offer' : 'nothing';
  }

  refresh(): void {
    while (Atomics.load(this.#table.words, MOVED) !== 0) {
      const received = receiveMessageOnPort(this.#port) as { message: SharedArrayBuffer } | undefined;
      if (received === undefined) return;
      this.#table = openTable(received.message);
    }
  }

  /** Copies the entry at `at` to the mark as one whole, and returns its flags. */
  #read(words: Uint32Array, at: number): number {
    const mark = this.#mark;
    for (let attempt = 0; attempt < READ_ATTEMPTS; attempt++) {
      const sequence = Atomics.load(words, at + SEQUENCE);
      if ((sequence & 1) !== 0) continue;
      const flags = Atomics.load(words, at + FLAGS);
      mark.pending = (flags & PENDING) !== 0;
      mark.actions = (flags & ACTIONS) !== 0;
      mark.notBefore = Atomics.load(words, at + NOT_BEFORE);
      mark.expiry = Atomics.load(words, at + EXPIRY);
      mark.quietUntil = Atomics.load(words, at + QUIET_UNTIL);
      mark.gapUntil = Atomics.load(words, at + GAP_UNTIL);
      if (Atomics.load(words, at + SEQUENCE) === sequence) return flags;
    }
    // The writer was stopped in the middle of an entry. 200 is never wrong for longer than one poll interval.
    mark.pending = false;
    return KNOWN;
  }

  #readSite(site: number): void {
    const at = site * SITE_WORDS;
    const flags = Atomics.load(this.#sites, at + SITE_FLAGS);
    this.#site.aliveUntil = Atomics.load(this.#sites, at + ALIVE_UNTIL);
    this.#site.upstreamOk = (flags & UPSTREAM_OK) !== 0;
    this.#site.courier = (flags & COURIER) !== 0;
    this.#site.direct = (flags & DIRECT) !== 0;
    this.#site.admit = Atomics.load(this.#sites, at + ADMIT);
  }
}

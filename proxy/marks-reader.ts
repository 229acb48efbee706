import { receiveMessageOnPort, type MessagePort } from 'node:worker_threads';
import type { Milliseconds } from '../shared/clock.ts';
import { createKeyedHash } from '../shared/keyed-hash.ts';
import { admissionTicket, offers } from './marks-decision.ts';
import {
  ENTRY_WORDS,
  FLAGS,
  GAP_UNTIL,
  KNOWN,
  LAST_202,
  LAST_POLL,
  MOVED,
  NOT_BEFORE,
  SITE_WORDS,
  WRITING,
  openTable,
  probe,
  storedLow,
  tickOf,
  type MarksTable,
} from './marks-layout.ts';

/** What a thread needs to read the marks; `port` has to be in the transfer list of the message that brings it. */
export interface MarksSeed {
  sites: SharedArrayBuffer;
  table: SharedArrayBuffer;
  key: Uint8Array;
  base: Milliseconds;
  port: MessagePort;
}

/** What a poll is told, by {@link MarksReader.poll}'s number. `unknown` and `nothing` are one to the phone: 200. */
export const POLL_RESULTS = ['unknown', 'nothing', 'offer'] as const;
export type PollResult = (typeof POLL_RESULTS)[number];
/** The number of `offer`. */
export const OFFER = 2;

/** The marks as a poll worker reads them. */
export interface MarksReader {
  /** Whether the last poll's device was known: 1 or 0, a number that can be counted with and not branched on. */
  readonly known: number;
  /**
   * Answers one poll and notes that it came. It takes the same time for every device that is not told `offer`.
   *
   * @param key - the site's number in 4 bytes (little-endian), then the canonical device id
   * @param end - where the device id ends in `key`
   * @param now - `clock.monotonic()`, at most a moment old
   * @returns an index of {@link POLL_RESULTS}: a word would be looked up in memory, and one that is seldom told takes longer
   */
  poll(key: Uint8Array, end: number, site: number, now: Milliseconds): 0 | 1 | 2;
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
  known = 0;
  readonly #hash;
  readonly #sites: Int32Array;
  readonly #base: Milliseconds;
  readonly #port: MessagePort;
  #table: MarksTable;
  // Filled anew for each poll, so that a poll allocates nothing; signed, so that large words do not either.
  readonly #entry = new Int32Array(ENTRY_WORDS);
  readonly #site = new Int32Array(SITE_WORDS);

  constructor(seed: MarksSeed) {
    this.#hash = createKeyedHash(seed.key);
    this.#sites = new Int32Array(seed.sites);
    this.#base = seed.base;
    this.#port = seed.port;
    this.#table = openTable(seed.table);
  }

  poll(key: Uint8Array, end: number, site: number, now: Milliseconds): 0 | 1 | 2 {
    this.refresh();
    this.#hash.update(key, 0, end);
    const table = this.#table;
    const low = storedLow(this.#hash.low);
    // From here on an unknown device costs what a known one does, step by step: it is decided on whatever lies first in
    // its bucket, and the outcome is thrown away.
    const found = probe(table, low, this.#hash.high);
    const missing = found >> 31;
    const at = found ^ missing;
    this.#read(table.signed, at);
    this.#readSite(site);
    const known = (this.#entry[FLAGS] ?? 0) & KNOWN & ~missing;
    const tick = tickOf(now, this.#base);
    const offer = offers(this.#entry, this.#site, tick, admissionTicket(low, now)) & known;
    this.#notePoll(table.signed, at + LAST_POLL, tick, known);
    if (offer !== 0) Atomics.store(table.words, at + LAST_202, tick);
    this.known = known;
    // How much is true of it: that it is known, and that it is offered something.
    return (known + offer) as 0 | 1 | 2;
  }

  refresh(): void {
    while (Atomics.load(this.#table.words, MOVED) !== 0) {
      const received = receiveMessageOnPort(this.#port) as { message: SharedArrayBuffer } | undefined;
      if (received === undefined) return;
      this.#table = openTable(received.message);
    }
  }

  /** Writes the tick for a known device; for another it writes what is there already. */
  #notePoll(words: Int32Array, at: number, tick: number, known: number): void {
    const last = Atomics.load(words, at);
    // Where another worker came in between, its tick stays, and is of the same moment.
    Atomics.compareExchange(words, at, last, last ^ ((last ^ tick) & (0 - known)));
  }

  /** Copies the entry at `at` as one whole. */
  #read(words: Int32Array, at: number): void {
    const entry = this.#entry;
    for (let attempt = 0; attempt < READ_ATTEMPTS; attempt++) {
      const flags = Atomics.load(words, at + FLAGS);
      if ((flags & WRITING) !== 0) continue;
      entry[FLAGS] = flags;
      for (let word = NOT_BEFORE; word <= GAP_UNTIL; word++) entry[word] = Atomics.load(words, at + word);
      if (Atomics.load(words, at + FLAGS) === flags) return;
    }
    // The writer was stopped in the middle of an entry. 200 is never wrong for longer than one poll interval.
    entry[FLAGS] = KNOWN;
  }

  #readSite(site: number): void {
    const at = site * SITE_WORDS;
    for (let word = 0; word < SITE_WORDS; word++) this.#site[word] = Atomics.load(this.#sites, at + word);
  }
}

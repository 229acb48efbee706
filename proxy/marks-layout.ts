import type { Milliseconds } from '../shared/clock.ts';

/**
 * How the marks lie in shared memory, and what they mean. There are two blocks of unsigned 32-bit words:
 *
 * - *sites*: {@link SITE_WORDS} words for each site; made once, written by the main thread.
 * - *table*: {@link HEADER_WORDS} words, then the buckets, then the generations of all slots.
 *
 * A bucket has {@link BUCKET_SLOTS} slots: first their low hash words, which fill one line of the processor's cache, then
 * {@link ENTRY_WORDS} words of each slot's entry, half a line. A device lies in one of two buckets, told by the two words of
 * its hash, so that a poll reads three lines of memory however many devices are known: what a poll costs with a million
 * of them is the waiting for memory.
 *
 * The main thread writes everything but the telemetry ({@link LAST_POLL}, {@link LAST_202}), which poll workers write. A slot
 * once given to a device is never given to another in the same table: the hash words are written once, a reader that finds
 * its hash has its device. Removing leaves the slot; only the next table leaves it out. A table that grows is replaced:
 * the new one is first sent to each reader, then the old one's {@link MOVED} word is set, at which a reader takes
 * it, so that no poll is ever answered from a table that is no longer written.
 */

/**
 * Words before the first bucket of a table. A large buffer begins 16 bytes behind a page's beginning (glibc's own header),
 * and with these 48 more each bucket begins a cache line. Elsewhere it is as right, and reads some more memory.
 */
export const HEADER_WORDS = 12;
/** Header: 1 once a newer table has been sent. */
export const MOVED = 0;

/** Slots of one bucket, a power of two. */
export const BUCKET_SLOTS = 16;
const BUCKET_SHIFT = Math.log2(BUCKET_SLOTS);

/** Words of one entry. */
export const ENTRY_WORDS = 8;
/** Entry: the high word of the device's hash. */
export const HIGH = 0;
/**
 * Entry: the {@link FLAG_BITS}; then {@link WRITING}, set while the main thread is writing the entry's other words; then a
 * count that grows with each writing (a sequence lock).
 */
export const FLAGS = 1;
/** Entry: the tick before which there is nothing to do. */
export const NOT_BEFORE = 2;
/** Entry: the first tick at which it is too late. */
export const EXPIRY = 3;
/** Entry: the first tick after the session that is running. */
export const QUIET_UNTIL = 4;
/** Entry: the first tick after the session gap. */
export const GAP_UNTIL = 5;
/** Entry: the tick of the last poll; 0 = never. Written by poll workers. */
export const LAST_POLL = 6;
/** Entry: the tick of the last poll that was answered with 202; 0 = never. Written by poll workers. */
export const LAST_202 = 7;

/** Flag: the device has an entry; without it, the slot is left over from one removed. */
export const KNOWN = 1;
/** Flag: something is pending. */
export const PENDING = 2;
/** Flag: among what is pending are actions, which the relay can deliver itself. */
export const ACTIONS = 4;
/** All of these flags. */
export const FLAG_BITS = KNOWN | PENDING | ACTIONS;
/** With the flags: the entry is being written. */
export const WRITING = 8;

/** Words of one site. */
export const SITE_WORDS = 4;
/** Site: the first tick at which its link no longer counts as alive. */
export const ALIVE_UNTIL = 0;
/** Site: {@link UPSTREAM_OK}, {@link DIRECT} and {@link COURIER}. */
export const SITE_FLAGS = 1;
/** Site: how many of {@link ADMIT_ALL} tickets are admitted. */
export const ADMIT = 2;

/** Site flag: the provisioning service can be reached from the relay. */
export const UPSTREAM_OK = 1;
/** Site flag: phones reach the service by themselves, so neither link nor upstream matters. */
export const DIRECT = 2;
/** Site flag: the relay delivers actions itself, so that for those upstream does not matter. */
export const COURIER = 4;

/** The admission of everybody. */
export const ADMIT_ALL = 65_536;

/** Words of one bucket. */
const BUCKET_WORDS = BUCKET_SLOTS * (1 + ENTRY_WORDS);
/** All words of one slot: the low hash word, the entry, the generation. */
const SLOT_WORDS = 1 + ENTRY_WORDS + 1;

/**
 * The unit of every time in shared memory. 32 bits of it last for more than four years of running; then times
 * stand still at {@link LAST_TICK}, at which everything counts as expired.
 */
export const TICK_MS: Milliseconds = 32;
/** The largest tick: as an end it means never, as a beginning it never comes. */
export const LAST_TICK = 0xffff_ffff;

/** The tick that `now` lies in, for a table whose tick 0 was at `base`. */
export function tickOf(now: Milliseconds, base: Milliseconds): number {
  return Math.min(Math.max(Math.floor((now - base) / TICK_MS), 0), LAST_TICK);
}

/** The first tick that begins at `time` or later: rounding a beginning never brings it forward. */
export function tickFrom(time: Milliseconds, base: Milliseconds): number {
  return Math.min(Math.max(Math.ceil((time - base) / TICK_MS), 0), LAST_TICK);
}

/** One table in shared memory. */
export interface MarksTable {
  words: Uint32Array<SharedArrayBuffer>;
  /** The same words, signed: `Atomics.load` allocates for a large unsigned one, and that takes time that tells. */
  signed: Int32Array<SharedArrayBuffer>;
  /** Slots, a whole number of buckets. */
  capacity: number;
  buckets: number;
  /** Index of the first generation; that of slot `i` is `generations + i`. It is the device's, its lowest 32 bits. */
  generations: number;
}

/** The size of a table's buffer. @param capacity - slots, a whole number of buckets */
export function tableBytes(capacity: number): number {
  return (HEADER_WORDS + capacity * SLOT_WORDS) * Uint32Array.BYTES_PER_ELEMENT;
}

/** Finds the parts of the table in `buffer`. */
export function openTable(buffer: SharedArrayBuffer): MarksTable {
  const words = new Uint32Array(buffer);
  const capacity = (words.length - HEADER_WORDS) / SLOT_WORDS;
  const buckets = capacity / BUCKET_SLOTS;
  const generations = HEADER_WORDS + buckets * BUCKET_WORDS;
  return { words, signed: new Int32Array(buffer), capacity, buckets, generations };
}

/** Index of a slot's low hash word. */
export function lowOf(slot: number): number {
  return lowsOf(slot >>> BUCKET_SHIFT) + (slot & (BUCKET_SLOTS - 1));
}

/** Index of a slot's entry. */
export function entryOf(slot: number): number {
  return lowsOf(slot >>> BUCKET_SHIFT) + BUCKET_SLOTS + (slot & (BUCKET_SLOTS - 1)) * ENTRY_WORDS;
}

/** Index of a bucket's first low hash word. */
function lowsOf(bucket: number): number {
  return HEADER_WORDS + bucket * BUCKET_WORDS;
}

/** The slot that holds the hash; -1 = none does. @param lowWord - not 0, which marks a free slot */
export function findSlot(table: MarksTable, lowWord: number, highWord: number): number {
  const { signed, buckets } = table;
  const first = bucketOf(lowWord, buckets);
  const slot = slotIn(signed, first, lowWord | 0, highWord | 0);
  return slot >= 0 ? slot : slotIn(signed, bucketOf(highWord, buckets), lowWord | 0, highWord | 0);
}

function slotIn(signed: Int32Array, bucket: number, low: number, high: number): number {
  const lows = lowsOf(bucket);
  for (let place = 0; place < BUCKET_SLOTS; place++) {
    if (signed[lows + place] !== low) continue;
    if (signed[lows + BUCKET_SLOTS + place * ENTRY_WORDS + HIGH] === high) {
      return bucket * BUCKET_SLOTS + place;
    }
  }
  return -1;
}

/**
 * The slot that a hash which is not there goes to: a free one in the emptier of its buckets. With that choice, the fullest
 * bucket of a table is hardly fuller than the others. Otherwise the hash decides, so that the places of the known are spread
 * like those that {@link probe} looks at for the unknown: each is at another distance from the line of the low words, and the
 * processor fetches what is near before it is asked for.
 *
 * @returns -1 where both are full: a larger table is needed
 */
export function freeSlot(table: MarksTable, lowWord: number, highWord: number): number {
  const { signed, buckets } = table;
  const first = bucketOf(lowWord, buckets);
  const second = bucketOf(highWord, buckets);
  const more = usedOf(signed, first) - usedOf(signed, second);
  const bucket = more > 0 || (more === 0 && prefersSecond(highWord) !== 0) ? second : first;
  const lows = lowsOf(bucket);
  for (let step = 0; step < BUCKET_SLOTS; step++) {
    const place = (preferredPlace(highWord) + step) & (BUCKET_SLOTS - 1);
    if (signed[lows + place] === 0) return bucket * BUCKET_SLOTS + place;
  }
  return -1;
}

/** How many slots of a bucket are taken. */
function usedOf(signed: Int32Array, bucket: number): number {
  const lows = lowsOf(bucket);
  let used = 0;
  for (let place = 0; place < BUCKET_SLOTS; place++) if (signed[lows + place] !== 0) used++;
  return used;
}

/** The place in its bucket where a hash would lie if all were free. */
function preferredPlace(highWord: number): number {
  return highWord & (BUCKET_SLOTS - 1);
}

/** Which of two equally full buckets a hash would lie in: 1 = the second, else 0. */
function prefersSecond(highWord: number): number {
  return (highWord >>> BUCKET_SHIFT) & 1;
}

/**
 * Finds the entry that {@link findSlot} finds the slot of, by the same work whether it is there or not: both buckets are
 * read to their ends, and nothing branches on what is in them.
 *
 * @returns the index of the entry, or the bitwise complement (a negative number) of that of another, by chance
 */
export function probe(table: MarksTable, lowWord: number, highWord: number): number {
  const { signed, buckets } = table;
  const first = lowsOf(bucketOf(lowWord, buckets));
  const second = lowsOf(bucketOf(highWord, buckets));
  // For one that is not there, the entry where it would be likely to lie: were it always the first of a bucket, unknown
  // devices would share few lines of memory, which would be in the cache more often than those of the known.
  const likely = first + ((second - first) & (0 - prefersSecond(highWord)));
  let entry = ~(likely + BUCKET_SLOTS + preferredPlace(highWord) * ENTRY_WORDS);
  // Plain reads, which are many times faster than atomic ones, do here: each is of one whole word, and that of the
  // high word depends on the low one read before, which was written after it.
  for (let place = 0; place < BUCKET_SLOTS; place++) {
    const behind = BUCKET_SLOTS + place * ENTRY_WORDS;
    const notFirst = mask((signed[first + place] ?? 0) ^ lowWord);
    entry = (entry & notFirst) | ((first + behind) & ~notFirst);
    const notSecond = mask((signed[second + place] ?? 0) ^ lowWord);
    entry = (entry & notSecond) | ((second + behind) & ~notSecond);
  }
  const missing = entry >> 31;
  const another = mask((signed[(entry ^ missing) + HIGH] ?? 0) ^ highWord);
  // Two devices share a low word: so rare that its time is nobody's measure.
  if ((another & ~missing) !== 0) {
    const slot = findSlot(table, lowWord, highWord);
    return slot < 0 ? ~entry : entryOf(slot);
  }
  return entry;
}

/** The bucket of one of a hash's two words. */
function bucketOf(hash: number, buckets: number): number {
  return Math.floor((hash * buckets) / 0x1_0000_0000);
}

/** -1 (all bits) for anything but 0, without a branch. */
export function mask(difference: number): number {
  return (difference | (0 - difference)) >> 31;
}

/** The low hash word as it is stored: 0 is taken for a free slot, so 1 stands in for it. */
export function storedLow(low: number): number {
  return low === 0 ? 1 : low;
}

/** Bytes of a hash key before the device id. */
export const SITE_BYTES = 4;
/** As the last of these bytes it makes them the number of no site, so that no device is found. */
export const NO_SITE = 0x80;

/** Writes the number of a site, below 65536, as the first bytes of a hash key. */
export function writeSite(key: Uint8Array, site: number): void {
  key[0] = site & 0xff;
  key[1] = (site >> 8) & 0xff;
  key[2] = 0;
  key[3] = 0;
}

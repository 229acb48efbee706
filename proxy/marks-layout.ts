import type { Milliseconds } from '../shared/clock.ts';

/**
 * How the marks lie in shared memory, and what they mean. There are two blocks of unsigned 32-bit words:
 *
 * - *sites*: {@link SITE_WORDS} words for each site; made once, written by the main thread.
 * - *table*: {@link HEADER_WORDS} words, then for each of `capacity` slots the two hash words (all slots' low
 *   words first, then all high words, so that a search walks little memory), then {@link ENTRY_WORDS} words of
 *   entry, then the telemetry: all last-poll words, all last-202 words.
 *
 * The main thread writes everything but the telemetry, which poll workers write. A slot once given to a device
 * is never given to another in the same table: the hash words are written once, a reader that finds its hash
 * has its device. Removing leaves the slot; only the next table leaves it out. A table that grows is replaced:
 * the new one is first sent to each reader, then the old one's {@link MOVED} word is set, at which a reader takes
 * it, so that no poll is ever answered from a table that is no longer written.
 */

/** Words before the first slot of a table. */
export const HEADER_WORDS = 16;
/** Header: 1 once a newer table has been sent. */
export const MOVED = 0;
/** Header: how far from its home, in slots, the device lies that lies farthest from it. */
export const FARTHEST = 1;

/** Words of one entry. */
export const ENTRY_WORDS = 7;
/** Entry: odd while the main thread is writing the entry's other words (a sequence lock). */
export const SEQUENCE = 0;
/** Entry: {@link KNOWN}, {@link PENDING} and {@link ACTIONS}. */
export const FLAGS = 1;
/** Entry: the device's generation, its lowest 32 bits. */
export const GENERATION = 2;
/** Entry: the tick before which there is nothing to do. */
export const NOT_BEFORE = 3;
/** Entry: the first tick at which it is too late. */
export const EXPIRY = 4;
/** Entry: the first tick after the session that is running. */
export const QUIET_UNTIL = 5;
/** Entry: the first tick after the session gap. */
export const GAP_UNTIL = 6;

/** Flag: the device has an entry; without it, the slot is left over from one removed. */
export const KNOWN = 1;
/** Flag: something is pending. */
export const PENDING = 2;
/** Flag: among what is pending are actions, which the relay can deliver itself. */
export const ACTIONS = 4;

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
/** How long a device keeps the same admission ticket. Polls that come each 30, 60, … s do not keep step with it. */
export const ADMISSION_WINDOW_MS: Milliseconds = 11_000;

/** All words of one slot: two of hash, the entry, two of telemetry. */
export const SLOT_WORDS = 2 + ENTRY_WORDS + 2;

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

/** A mark as `decide` sees it. The times are in any one unit, the same for all. */
export interface MarkView {
  pending: boolean;
  /** Default false. */
  actions?: boolean;
  notBefore: number;
  expiry: number;
  quietUntil: number;
  gapUntil: number;
}

/** A site as `decide` sees it. */
export interface SiteView {
  aliveUntil: number;
  upstreamOk: boolean;
  /** Default false. */
  courier?: boolean;
  direct: boolean;
  /** 0 (nobody) to {@link ADMIT_ALL}. */
  admit: number;
}

/** Why a poll is answered with 202 (`offer`) or with 200 (the first reason that holds, in this order). */
export type Verdict =
  | 'offer'
  | 'idle'
  | 'too_early'
  | 'expired'
  | 'in_session'
  | 'session_gap'
  | 'link_down'
  | 'upstream_down'
  | 'not_admitted';

/**
 * Whether a poll is to be answered with 202: only when a session could succeed now.
 *
 * @param ticket - of {@link admissionTicket}
 */
export function decide(mark: MarkView, site: SiteView, now: number, ticket: number): Verdict {
  if (!mark.pending) return 'idle';
  if (now < mark.notBefore) return 'too_early';
  if (now >= mark.expiry) return 'expired';
  if (now < mark.quietUntil) return 'in_session';
  if (now < mark.gapUntil) return 'session_gap';
  if (!site.direct) {
    if (now >= site.aliveUntil) return 'link_down';
    if (!site.upstreamOk && (mark.actions !== true || site.courier !== true)) return 'upstream_down';
  }
  return ticket < site.admit ? 'offer' : 'not_admitted';
}

/**
 * Whether {@link decide} would say `offer`: 1 or 0. Every condition is looked at, whichever fails, and nothing
 * branches, so that how long it takes tells nobody what holds a device back, or that there is nothing to hold back.
 *
 * @param entry - the {@link ENTRY_WORDS} words of a device
 * @param site - the {@link SITE_WORDS} words of its site
 */
export function offers(entry: Int32Array, site: Int32Array, now: number, ticket: number): number {
  const flags = entry[FLAGS] ?? 0;
  const siteFlags = site[SITE_FLAGS] ?? 0;
  const upstream = bit(siteFlags, UPSTREAM_OK) | (bit(flags, ACTIONS) & bit(siteFlags, COURIER));
  return (
    bit(flags, PENDING) &
    (1 - before(now, entry[NOT_BEFORE] ?? 0)) &
    before(now, entry[EXPIRY] ?? 0) &
    (1 - before(now, entry[QUIET_UNTIL] ?? 0)) &
    (1 - before(now, entry[GAP_UNTIL] ?? 0)) &
    (bit(siteFlags, DIRECT) | (before(now, site[ALIVE_UNTIL] ?? 0) & upstream)) &
    before(ticket, site[ADMIT] ?? 0)
  );
}

/** 1 where `a` is less than `b`, as unsigned words, else 0, without a branch. */
function before(a: number, b: number): number {
  return ((~a & b) | ((~a | b) & (a - b))) >>> 31;
}

/** 1 where `flags` have the flag, else 0, without a branch. */
function bit(flags: number, flag: number): number {
  return mask(flags & flag) & 1;
}

/**
 * A number from 0 to 65535 that belongs to a device for one window of time and is as good as random otherwise:
 * of many devices a share of `admit / ADMIT_ALL` is admitted, and each device gets its turn.
 *
 * @param hash - the low word of the device's keyed hash, so that nobody outside can tell its turns
 */
export function admissionTicket(hash: number, now: Milliseconds): number {
  let mixed = hash ^ Math.imul(Math.floor(now / ADMISSION_WINDOW_MS), 0x9e3779b1);
  // The finishing steps of MurmurHash3 (32 bits): each bit of the input moves each bit of the output.
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85ebca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
  return (mixed ^ (mixed >>> 16)) & 0xffff;
}

/** One table in shared memory, with the places of its parts. */
export interface MarksTable {
  words: Uint32Array<SharedArrayBuffer>;
  /** The same words, signed: `Atomics.load` allocates for a large unsigned one, and that takes time that tells. */
  signed: Int32Array<SharedArrayBuffer>;
  capacity: number;
  /** Index of the first low hash word; that of slot `i` is `low + i`, and so on. */
  low: number;
  high: number;
  /** Index of the first entry; that of slot `i` is `entries + i * ENTRY_WORDS`. */
  entries: number;
  lastPoll: number;
  last202: number;
}

/** The size of a table's buffer. */
export function tableBytes(capacity: number): number {
  return (HEADER_WORDS + capacity * SLOT_WORDS) * Uint32Array.BYTES_PER_ELEMENT;
}

/** Finds the parts of the table in `buffer`. */
export function openTable(buffer: SharedArrayBuffer): MarksTable {
  const words = new Uint32Array(buffer);
  const capacity = (words.length - HEADER_WORDS) / SLOT_WORDS;
  const low = HEADER_WORDS;
  const high = low + capacity;
  const entries = high + capacity;
  const lastPoll = entries + capacity * ENTRY_WORDS;
  return {
    words,
    signed: new Int32Array(buffer),
    capacity,
    low,
    high,
    entries,
    lastPoll,
    last202: lastPoll + capacity,
  };
}

/**
 * The slot that holds the hash, or the bitwise complement (a negative number) of the free slot where it would
 * go. A table is never full, so the search ends.
 *
 * @param lowWord - not 0, which marks a free slot
 */
export function findSlot(table: MarksTable, lowWord: number, highWord: number): number {
  const { words, capacity, low, high } = table;
  let slot = homeOf(table, lowWord);
  for (;;) {
    const found = Atomics.load(words, low + slot);
    if (found === 0) return ~slot;
    if (found === lowWord && Atomics.load(words, high + slot) === highWord) return slot;
    if (++slot === capacity) slot = 0;
  }
}

/**
 * Finds what {@link findSlot} finds, by the same work whether it is there or not: it walks as far as the farthest
 * device lies, and does not stop where it has found its own.
 *
 * @returns the slot that holds the hash, or the bitwise complement of the slot where its search begins
 */
export function probe(table: MarksTable, lowWord: number, highWord: number): number {
  const { signed, capacity, low, high } = table;
  const home = homeOf(table, lowWord);
  const farthest = Atomics.load(signed, FARTHEST);
  let place = -1;
  let at = home;
  // Plain reads, which are many times faster than atomic ones, do here: each is of one whole word, and that of the
  // high word depends on the low one read before, which was written after it.
  for (let step = 0; step <= farthest; step++) {
    const differs = mask((signed[low + at] ?? 0) ^ lowWord);
    place = (place & differs) | (step & ~differs);
    if (++at === capacity) at = 0;
  }
  const missing = place >> 31;
  let slot = home + (place & ~missing);
  if (slot >= capacity) slot -= capacity;
  const another = mask((signed[high + slot] ?? 0) ^ highWord);
  // Two devices share a low word: so rare that its time is nobody's measure.
  if ((another & ~missing) !== 0) return findSlot(table, lowWord, highWord);
  return slot ^ missing;
}

/** Where the search for a hash begins. */
export function homeOf(table: MarksTable, lowWord: number): number {
  return Math.floor((lowWord * table.capacity) / 0x1_0000_0000);
}

/** -1 (all bits) for anything but 0, without a branch. */
function mask(difference: number): number {
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

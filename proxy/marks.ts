import { MessageChannel, type MessagePort } from 'node:worker_threads';
import type { Clock, Milliseconds } from '../shared/clock.ts';
import type { DeviceId } from '../shared/device-id.ts';
import { SallyportError } from '../shared/errors.ts';
import { HASH_KEY_BYTES, createKeyedHash, type KeyedHash } from '../shared/keyed-hash.ts';
import {
  ADMIT,
  ADMIT_ALL,
  ALIVE_UNTIL,
  DIRECT,
  ENTRY_WORDS,
  EXPIRY,
  FLAGS,
  GAP_UNTIL,
  GENERATION,
  KNOWN,
  LAST_TICK,
  MOVED,
  NOT_BEFORE,
  PENDING,
  QUIET_UNTIL,
  SEQUENCE,
  SITE_FLAGS,
  SITE_WORDS,
  TICK_MS,
  UPSTREAM_OK,
  admissionTicket,
  decide,
  findSlot,
  openTable,
  storedLow,
  tableBytes,
  tickFrom,
  tickOf,
  type MarksTable,
  type Verdict,
} from './marks-layout.ts';
import type { MarksSeed } from './marks-reader.ts';

/** What is known of one device. Times are of `clock.monotonic()`. */
export interface Mark {
  pending: boolean;
  /** The generation of what is pending; 0 to 2^32 - 1, more is kept modulo that. */
  generation: number;
  /** The first moment at which there is something to do; 0 or any past moment = at once. */
  notBefore: Milliseconds;
  /** The first moment at which it is too late; Infinity = never. */
  expiry: Milliseconds;
}

/** What holds for all devices of a site. */
export interface SiteMark {
  /** Until when the site's link counts as alive: main renews this lease, and silence ends it. */
  aliveUntil: Milliseconds;
  /** Whether the relay reaches the provisioning service. */
  upstreamOk: boolean;
  /** Which share of the devices may be told 202, from 0 (none) to {@link ADMIT_ALL} (all). */
  admit: number;
  /** Phones reach the service by themselves: then neither link nor upstream matters. */
  direct: boolean;
}

/** The poll of a device, as a scan finds it. Times are of `clock.monotonic()`, exact to {@link TICK_MS}. */
export interface PolledDevice {
  site: string;
  device: DeviceId;
  /** When it polled last. */
  at: Milliseconds;
  /** What that poll was answered. */
  status: 200 | 202;
  /** When a poll of it was last answered with 202; null = never. */
  last202: Milliseconds | null;
}

export interface MarksStats {
  /** Devices that have a mark. */
  known: number;
  /** Slots of the table, and how many of them are in use by a device or left over from one removed. */
  slots: number;
  usedSlots: number;
  /** Shared memory in use. */
  bytes: number;
  /** How often the table has been replaced. */
  rebuilds: number;
}

export interface MarksOptions {
  /** Names of all sites; their order gives the numbers that readers use. */
  sites: readonly string[];
  clock: Clock;
  /** Fills an array with random bytes, as `crypto.randomFillSync` does. */
  random: (bytes: Uint8Array) => void;
  /** How many devices to make room for at first; default 1000. The table grows by itself. */
  capacity?: number;
  /** The most devices that are ever held; default {@link DEVICE_LIMIT}. */
  limit?: number;
}

/** The default for the most devices a proxy holds marks of. */
export const DEVICE_LIMIT = 1_000_000;

/** A table is replaced when this share of its slots is used, by one that is filled to `LOAD_AFTER`. */
const LOAD_LIMIT = 0.84;
const LOAD_AFTER = 0.7;
const SLOTS_MIN = 512;
/** How many slots one step of a scan looks at: some tenths of a millisecond. */
const SCAN_SLOTS = 8_192;

/**
 * The marks, as the main thread writes them and every poll worker reads them: one for each device that the
 * proxy knows, in shared memory. Calls take effect for every poll that begins after they return.
 */
export interface Marks {
  /** The sites in the order of their numbers. */
  readonly sites: readonly string[];
  /**
   * Makes a device known and says what is pending. Quiet and gap stay as they are.
   *
   * @throws SallyportError `TOO_LARGE` at the limit of devices; `NOT_FOUND` for a site not named at creation
   */
  set(site: string, device: DeviceId, mark: Mark): void;
  /** Holds 202 back until the running session is over; 0 = it is. @returns false for an unknown device */
  quiet(site: string, device: DeviceId, until: Milliseconds): boolean;
  /** Holds 202 back until the session gap is over; 0 = no gap. @returns false for an unknown device */
  gap(site: string, device: DeviceId, until: Milliseconds): boolean;
  /** Forgets a device; its polls are those of an unknown one. @returns false for an unknown device */
  remove(site: string, device: DeviceId): boolean;
  /** Says what holds for all of a site; what is left out stays as it is. At first nothing is alive or ok. */
  site(site: string, change: Partial<SiteMark>): void;
  /** What a poll would be told now, and why; null for an unknown device. */
  why(site: string, device: DeviceId): Verdict | null;
  /** What is held of a device; null for an unknown one. Times have been rounded to the tick. */
  get(site: string, device: DeviceId): (Mark & { quietUntil: Milliseconds; gapUntil: Milliseconds }) | null;
  /**
   * Which known devices have polled since the last scan that ran to its end. Each step looks at some thousand
   * slots and yields what it found, so that the caller can let others run in between. One scan at a time; a
   * device may come twice when the table grows meanwhile.
   */
  scan(): Generator<PolledDevice[], void, void>;
  /** What one more thread needs to read the marks. `transfer` goes into the transfer list with it. */
  attach(): MarksAttachment;
  stats(): MarksStats;
  /** Ends the connection to all readers; they go on answering from what they have. */
  close(): void;
}

export interface MarksAttachment {
  seed: MarksSeed;
  transfer: MessagePort[];
  /** To be called when that thread has ended. */
  detach(): void;
}

/** Makes the marks of `options.sites`, with no device known. */
export function createMarks(options: MarksOptions): Marks {
  return new SharedMarks(options);
}

class SharedMarks implements Marks {
  readonly sites: readonly string[];
  readonly #siteNumbers: Map<string, number>;
  readonly #siteWords: Uint32Array<SharedArrayBuffer>;
  readonly #clock: Clock;
  readonly #base: Milliseconds;
  readonly #key = new Uint8Array(HASH_KEY_BYTES);
  readonly #hash: KeyedHash;
  readonly #limit: number;
  readonly #ports = new Set<MessagePort>();
  readonly #scratch: Uint8Array = new Uint8Array(4 + 64);
  #table: MarksTable;
  /** By slot: whose it is. */
  #devices: (DeviceId | undefined)[];
  #siteOf: Uint16Array;
  #used = 0;
  #known = 0;
  #rebuilds = 0;
  #scannedTo = 0;

  constructor(options: MarksOptions) {
    this.sites = [...options.sites];
    this.#siteNumbers = new Map(this.sites.map((name, i) => [name, i]));
    const siteBytes = this.sites.length * SITE_WORDS * Uint32Array.BYTES_PER_ELEMENT;
    this.#siteWords = new Uint32Array(new SharedArrayBuffer(siteBytes));
    this.#clock = options.clock;
    // Tick 0 is before any poll, so that 0 in the telemetry can mean never.
    this.#base = options.clock.monotonic() - TICK_MS;
    options.random(this.#key);
    this.#hash = createKeyedHash(this.#key);
    this.#limit = options.limit ?? DEVICE_LIMIT;
    const slots = slotsFor(options.capacity ?? 1_000);
    this.#table = openTable(new SharedArrayBuffer(tableBytes(slots)));
    this.#devices = new Array<DeviceId | undefined>(slots);
    this.#siteOf = new Uint16Array(slots);
    this.sites.forEach((_, i) => Atomics.store(this.#siteWords, i * SITE_WORDS + ADMIT, ADMIT_ALL));
  }

  set(site: string, device: DeviceId, mark: Mark): void {
    const slot = this.#slotFor(this.#siteNumber(site), device);
    const now = this.#clock.monotonic();
    this.#write(slot, (words, at) => {
      Atomics.store(words, at + FLAGS, KNOWN | (mark.pending ? PENDING : 0));
      Atomics.store(words, at + GENERATION, mark.generation);
      Atomics.store(words, at + NOT_BEFORE, this.#beginning(mark.notBefore, now));
      Atomics.store(words, at + EXPIRY, tickOf(mark.expiry, this.#base));
    });
  }

  quiet(site: string, device: DeviceId, until: Milliseconds): boolean {
    return this.#writeTime(site, device, QUIET_UNTIL, until);
  }

  gap(site: string, device: DeviceId, until: Milliseconds): boolean {
    return this.#writeTime(site, device, GAP_UNTIL, until);
  }

  remove(site: string, device: DeviceId): boolean {
    const slot = this.#knownSlot(site, device);
    if (slot < 0) return false;
    this.#known--;
    this.#write(slot, (words, at) => {
      for (let word = FLAGS; word < ENTRY_WORDS; word++) Atomics.store(words, at + word, 0);
    });
    return true;
  }

  site(site: string, change: Partial<SiteMark>): void {
    const words = this.#siteWords;
    const at = this.#siteNumber(site) * SITE_WORDS;
    if (change.aliveUntil !== undefined) {
      Atomics.store(words, at + ALIVE_UNTIL, tickOf(change.aliveUntil, this.#base));
    }
    if (change.admit !== undefined) {
      Atomics.store(words, at + ADMIT, Math.min(Math.max(Math.round(change.admit), 0), ADMIT_ALL));
    }
    const old = Atomics.load(words, at + SITE_FLAGS);
    const upstreamOk = change.upstreamOk ?? (old & UPSTREAM_OK) !== 0;
    const direct = change.direct ?? (old & DIRECT) !== 0;
    Atomics.store(words, at + SITE_FLAGS, (upstreamOk ? UPSTREAM_OK : 0) | (direct ? DIRECT : 0));
  }

  why(site: string, device: DeviceId): Verdict | null {
    const slot = this.#knownSlot(site, device);
    if (slot < 0) return null;
    const { words, low, entries } = this.#table;
    const at = entries + slot * ENTRY_WORDS;
    const siteAt = this.#siteNumber(site) * SITE_WORDS;
    const siteFlags = this.#siteWords[siteAt + SITE_FLAGS] ?? 0;
    const now = this.#clock.monotonic();
    return decide(
      {
        pending: ((words[at + FLAGS] ?? 0) & PENDING) !== 0,
        notBefore: words[at + NOT_BEFORE] ?? 0,
        expiry: words[at + EXPIRY] ?? 0,
        quietUntil: words[at + QUIET_UNTIL] ?? 0,
        gapUntil: words[at + GAP_UNTIL] ?? 0,
      },
      {
        aliveUntil: this.#siteWords[siteAt + ALIVE_UNTIL] ?? 0,
        upstreamOk: (siteFlags & UPSTREAM_OK) !== 0,
        direct: (siteFlags & DIRECT) !== 0,
        admit: this.#siteWords[siteAt + ADMIT] ?? 0,
      },
      tickOf(now, this.#base),
      admissionTicket(words[low + slot] ?? 0, now),
    );
  }

  get(site: string, device: DeviceId): (Mark & { quietUntil: Milliseconds; gapUntil: Milliseconds }) | null {
    const slot = this.#knownSlot(site, device);
    if (slot < 0) return null;
    const words = this.#table.words;
    const at = this.#table.entries + slot * ENTRY_WORDS;
    return {
      pending: ((words[at + FLAGS] ?? 0) & PENDING) !== 0,
      generation: words[at + GENERATION] ?? 0,
      notBefore: this.#time(words[at + NOT_BEFORE] ?? 0),
      expiry: this.#time(words[at + EXPIRY] ?? 0),
      quietUntil: this.#time(words[at + QUIET_UNTIL] ?? 0),
      gapUntil: this.#time(words[at + GAP_UNTIL] ?? 0),
    };
  }

  *scan(): Generator<PolledDevice[], void, void> {
    const from = this.#scannedTo;
    // The tick that is still running is left to the next scan, which then sees the whole of it.
    const to = tickOf(this.#clock.monotonic(), this.#base);
    let table = this.#table;
    for (let start = 0; start < table.capacity; start += SCAN_SLOTS) {
      const found: PolledDevice[] = [];
      for (let slot = start; slot < Math.min(start + SCAN_SLOTS, table.capacity); slot++) {
        const polled = Atomics.load(table.words, table.lastPoll + slot);
        if (polled < from || polled >= to || polled === 0) continue;
        const report = this.#polled(slot, polled);
        if (report !== null) found.push(report);
      }
      yield found;
      if (this.#table !== table) {
        table = this.#table;
        start = -SCAN_SLOTS;
      }
    }
    this.#scannedTo = to;
  }

  attach(): MarksAttachment {
    const { port1, port2 } = new MessageChannel();
    this.#ports.add(port1);
    return {
      seed: {
        sites: this.#siteWords.buffer,
        table: this.#table.words.buffer,
        key: this.#key,
        base: this.#base,
        port: port2,
      },
      transfer: [port2],
      detach: () => {
        this.#ports.delete(port1);
        port1.close();
      },
    };
  }

  stats(): MarksStats {
    return {
      known: this.#known,
      slots: this.#table.capacity,
      usedSlots: this.#used,
      bytes: this.#table.words.byteLength + this.#siteWords.byteLength,
      rebuilds: this.#rebuilds,
    };
  }

  close(): void {
    for (const port of this.#ports) port.close();
    this.#ports.clear();
  }

  #polled(slot: number, polled: number): PolledDevice | null {
    const { words, entries, last202 } = this.#table;
    const device = this.#devices[slot];
    const known = ((words[entries + slot * ENTRY_WORDS + FLAGS] ?? 0) & KNOWN) !== 0;
    if (device === undefined || !known) return null;
    const offered = Atomics.load(words, last202 + slot);
    return {
      site: this.sites[this.#siteOf[slot] ?? 0] ?? '',
      device,
      at: this.#time(polled),
      status: offered >= polled ? 202 : 200,
      last202: offered === 0 ? null : this.#time(offered),
    };
  }

  #time(tick: number): Milliseconds {
    return tick === LAST_TICK ? Infinity : this.#base + tick * TICK_MS;
  }

  /** A beginning that has come already is stored as such, so that rounding cannot put it off. */
  #beginning(time: Milliseconds, now: Milliseconds): number {
    return time <= now ? 0 : tickFrom(time, this.#base);
  }

  #siteNumber(site: string): number {
    const number = this.#siteNumbers.get(site);
    if (number === undefined) {
      throw new SallyportError(
        'NOT_FOUND',
        `There is no site ${JSON.stringify(site)}; the sites are ${this.sites.join(', ')}`,
      );
    }
    return number;
  }

  /** The slot of a known device, or a negative number. */
  #knownSlot(site: string, device: DeviceId): number {
    this.#hashOf(this.#siteNumber(site), device);
    const slot = findSlot(this.#table, storedLow(this.#hash.low), this.#hash.high);
    if (slot < 0) return slot;
    const flags = this.#table.words[this.#table.entries + slot * ENTRY_WORDS + FLAGS] ?? 0;
    return (flags & KNOWN) === 0 ? -1 : slot;
  }

  /** The slot of a device, taking a free one and a larger table where needed. */
  #slotFor(site: number, device: DeviceId): number {
    this.#hashOf(site, device);
    const low = storedLow(this.#hash.low);
    const high = this.#hash.high;
    let slot = findSlot(this.#table, low, high);
    const flags = slot < 0 ? 0 : (this.#table.words[this.#table.entries + slot * ENTRY_WORDS + FLAGS] ?? 0);
    if ((flags & KNOWN) !== 0) return slot;
    if (this.#known >= this.#limit) {
      throw new SallyportError(
        'TOO_LARGE',
        `Device ${device} is not taken: the proxy holds ${this.#limit} devices already; raise its limit of devices`,
      );
    }
    if (slot < 0 && this.#used + 1 > this.#table.capacity * LOAD_LIMIT) {
      this.#rebuild();
      slot = findSlot(this.#table, low, high);
    }
    if (slot < 0) {
      slot = ~slot;
      this.#used++;
      this.#devices[slot] = device;
      this.#siteOf[slot] = site;
      // A reader looks at the low word first, so the high one is there when it finds it.
      Atomics.store(this.#table.words, this.#table.high + slot, high);
      Atomics.store(this.#table.words, this.#table.low + slot, low);
    }
    this.#known++;
    return slot;
  }

  #hashOf(site: number, device: DeviceId): void {
    const key = this.#scratch;
    writeSite(key, site);
    for (let i = 0; i < device.length; i++) key[4 + i] = device.charCodeAt(i);
    this.#hash.update(key, 0, 4 + device.length);
  }

  #writeTime(site: string, device: DeviceId, word: number, until: Milliseconds): boolean {
    const slot = this.#knownSlot(site, device);
    if (slot < 0) return false;
    const tick = this.#beginning(until, this.#clock.monotonic());
    this.#write(slot, (words, at) => Atomics.store(words, at + word, tick));
    return true;
  }

  /** Changes words of one entry so that a reader sees all of the change or none. */
  #write(slot: number, change: (words: Uint32Array, at: number) => void): void {
    const words = this.#table.words;
    const at = this.#table.entries + slot * ENTRY_WORDS;
    Atomics.add(words, at + SEQUENCE, 1);
    change(words, at);
    Atomics.add(words, at + SEQUENCE, 1);
  }

  /** Replaces the table by one that has room, leaving out the slots of removed devices. */
  #rebuild(): void {
    const old = this.#table;
    const oldDevices = this.#devices;
    const oldSites = this.#siteOf;
    const slots = slotsFor(this.#known + 1);
    const table = openTable(new SharedArrayBuffer(tableBytes(slots)));
    this.#devices = new Array<DeviceId | undefined>(slots);
    this.#siteOf = new Uint16Array(slots);
    this.#used = 0;
    const slotOf = new Int32Array(old.capacity).fill(-1);
    for (let from = 0; from < old.capacity; from++) {
      const entry = old.entries + from * ENTRY_WORDS;
      if (((old.words[entry + FLAGS] ?? 0) & KNOWN) === 0) continue;
      const low = old.words[old.low + from] ?? 0;
      const high = old.words[old.high + from] ?? 0;
      const to = ~findSlot(table, low, high);
      table.words[table.low + to] = low;
      table.words[table.high + to] = high;
      table.words.set(old.words.subarray(entry, entry + ENTRY_WORDS), table.entries + to * ENTRY_WORDS);
      this.#devices[to] = oldDevices[from];
      this.#siteOf[to] = oldSites[from] ?? 0;
      this.#used++;
      slotOf[from] = to;
    }
    this.#table = table;
    this.#rebuilds++;
    for (const port of this.#ports) port.postMessage(table.words.buffer);
    Atomics.store(old.words, MOVED, 1);
    // Telemetry comes last: what workers wrote into the old table until a moment ago is brought along.
    for (let from = 0; from < old.capacity; from++) {
      const to = slotOf[from] ?? -1;
      if (to < 0) continue;
      raise(table.words, table.lastPoll + to, Atomics.load(old.words, old.lastPoll + from));
      raise(table.words, table.last202 + to, Atomics.load(old.words, old.last202 + from));
    }
  }
}

/** Writes the number of a site as the first 4 bytes of a hash key. */
export function writeSite(key: Uint8Array, site: number): void {
  key[0] = site & 0xff;
  key[1] = (site >> 8) & 0xff;
  key[2] = 0;
  key[3] = 0;
}

function slotsFor(devices: number): number {
  return Math.max(SLOTS_MIN, Math.ceil(devices / LOAD_AFTER));
}

/** Sets a word to `value` unless a worker has meanwhile written a later one. */
function raise(words: Uint32Array, at: number, value: number): void {
  let current = Atomics.load(words, at);
  while (current < value) {
    const seen = Atomics.compareExchange(words, at, current, value);
    if (seen === current) return;
    current = seen;
  }
}

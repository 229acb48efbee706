import type { MessagePort } from 'node:worker_threads';
import { DEVICE_ID_LIMIT, type DeviceId } from '../shared/device-id.ts';
import { SallyportError } from '../shared/errors.ts';
import { createKeyedHash, type KeyedHash } from '../shared/keyed-hash.ts';
import {
  BUCKET_SLOTS,
  FLAGS,
  FLAG_BITS,
  GAP_UNTIL,
  HIGH,
  KNOWN,
  LAST_202,
  LAST_POLL,
  MOVED,
  NOT_BEFORE,
  SITE_BYTES,
  WRITING,
  entryOf,
  findSlot,
  freeSlot,
  lowOf,
  openTable,
  storedLow,
  tableBytes,
  writeSite,
  type MarksTable,
} from './marks-layout.ts';

/**
 * A table is replaced when this share of its slots is used, by one that is filled to `LOAD_AFTER`. Tried a hundred times, both
 * buckets of a device were never full before a share of 0.84; where they are, the table is replaced the sooner.
 */
const LOAD_LIMIT = 0.8;
const LOAD_AFTER = 0.7;
const SLOTS_MIN = 512;
/** One writing more, in the count that lies beside the flags. */
const ONE_WRITING = 2 * WRITING;

/** The table as its one writer sees it: whose each slot is, and how it grows under the readers' eyes. */
export class MarksWriter {
  /** The present table; another one after {@link claim} has made room. */
  table: MarksTable;
  /** Devices that have an entry. */
  known = 0;
  /** Slots that are taken, those of removed devices included. */
  used = 0;
  /** How often the table has been replaced. */
  rebuilds = 0;
  readonly #hash: KeyedHash;
  readonly #limit: number;
  readonly #ports: ReadonlySet<MessagePort>;
  readonly #scratch: Uint8Array = new Uint8Array(SITE_BYTES + DEVICE_ID_LIMIT);
  /** By slot: whose it is. */
  #devices: (DeviceId | undefined)[];
  #sites: Uint16Array;

  /** @param ports - where the readers take newer tables from */
  constructor(options: {
    key: Uint8Array;
    capacity: number;
    limit: number;
    ports: ReadonlySet<MessagePort>;
  }) {
    const slots = slotsFor(options.capacity);
    this.table = openTable(new SharedArrayBuffer(tableBytes(slots)));
    this.#hash = createKeyedHash(options.key);
    this.#limit = options.limit;
    this.#ports = options.ports;
    this.#devices = new Array<DeviceId | undefined>(slots);
    this.#sites = new Uint16Array(slots);
  }

  /** The slot of a known device, or a negative number. */
  find(site: number, device: DeviceId): number {
    this.#hashOf(site, device);
    const slot = findSlot(this.table, storedLow(this.#hash.low), this.#hash.high);
    return slot >= 0 && this.isKnown(slot) ? slot : -1;
  }

  /**
   * The slot of a device, which is known from now on; a free one is taken, and a larger table, where needed.
   *
   * @throws SallyportError `TOO_LARGE` at the limit of devices
   */
  claim(site: number, device: DeviceId): number {
    this.#hashOf(site, device);
    const low = storedLow(this.#hash.low);
    const high = this.#hash.high;
    let slot = findSlot(this.table, low, high);
    if (slot >= 0 && this.isKnown(slot)) return slot;
    if (this.known >= this.#limit) {
      throw new SallyportError(
        'TOO_LARGE',
        `Device ${device} is not taken: the proxy holds ${this.#limit} devices already; raise its limit of devices`,
      );
    }
    if (slot < 0) {
      if (this.used + 1 > this.table.capacity * LOAD_LIMIT) this.#rebuild(this.known + 1);
      slot = freeSlot(this.table, low, high);
      while (slot < 0) {
        this.#rebuild(this.known + 1, this.table.capacity);
        slot = freeSlot(this.table, low, high);
      }
      this.used++;
      this.#devices[slot] = device;
      this.#sites[slot] = site;
      // A reader looks at the low word first, so the high one is there when it finds it.
      Atomics.store(this.table.words, entryOf(slot) + HIGH, high);
      Atomics.store(this.table.words, lowOf(slot), low);
    }
    this.known++;
    return slot;
  }

  /** Replaces the table, if it would have to be anyway, by one with room for so many more devices. */
  reserve(devices: number): void {
    const wanted = Math.min(this.known + devices, this.#limit);
    const more = wanted - this.known;
    if (more > 0 && this.used + more > this.table.capacity * LOAD_LIMIT) this.#rebuild(wanted);
  }

  /** Forgets the device of a slot. The slot stays its own, should it come back. */
  release(slot: number): void {
    this.known--;
    this.table.words[this.table.generations + slot] = 0;
    this.write(slot, 0, (words, at) => {
      for (let word = NOT_BEFORE; word <= GAP_UNTIL; word++) Atomics.store(words, at + word, 0);
    });
  }

  isKnown(slot: number): boolean {
    return (this.flags(slot) & KNOWN) !== 0;
  }

  /** Whose a known slot is. */
  owner(slot: number): { site: number; device: DeviceId } | null {
    const device = this.#devices[slot];
    return device === undefined || !this.isKnown(slot) ? null : { site: this.#sites[slot] ?? 0, device };
  }

  /** A word of a slot's entry. */
  word(slot: number, word: number): number {
    return this.table.words[entryOf(slot) + word] ?? 0;
  }

  flags(slot: number): number {
    return this.word(slot, FLAGS) & FLAG_BITS;
  }

  /** Gives an entry these flags and changes words of it, so that a reader sees all of it or none. */
  write(slot: number, flags: number, change: (words: Uint32Array, at: number) => void): void {
    const words = this.table.words;
    const at = entryOf(slot);
    const before = words[at + FLAGS] ?? 0;
    Atomics.store(words, at + FLAGS, before | WRITING);
    change(words, at);
    Atomics.store(words, at + FLAGS, (before & ~FLAG_BITS) + ONE_WRITING + flags);
  }

  #hashOf(site: number, device: DeviceId): void {
    const key = this.#scratch;
    writeSite(key, site);
    for (let i = 0; i < device.length; i++) key[SITE_BYTES + i] = device.charCodeAt(i);
    this.#hash.update(key, 0, SITE_BYTES + device.length);
  }

  /**
   * Replaces the table by one that has room for so many devices, leaving out the slots of removed ones.
   *
   * @param above - it gets more slots than this
   */
  #rebuild(devices: number, above = 0): void {
    const old = this.table;
    const oldDevices = this.#devices;
    const oldSites = this.#sites;
    const slotOf = new Int32Array(old.capacity).fill(-1);
    let slots = slotsFor(devices);
    while (slots <= above) slots = slotsAfter(slots);
    let table = this.#copy(old, slots, slotOf);
    while (table === null) {
      slots = slotsAfter(slots);
      table = this.#copy(old, slots, slotOf);
    }
    this.#devices = new Array<DeviceId | undefined>(slots);
    this.#sites = new Uint16Array(slots);
    this.used = 0;
    for (let from = 0; from < old.capacity; from++) {
      const to = slotOf[from] ?? -1;
      if (to < 0) continue;
      this.#devices[to] = oldDevices[from];
      this.#sites[to] = oldSites[from] ?? 0;
      this.used++;
    }
    this.table = table;
    this.rebuilds++;
    for (const port of this.#ports) port.postMessage(table.words.buffer);
    Atomics.store(old.words, MOVED, 1);
    // Telemetry comes last: what workers wrote into the old table until a moment ago is brought along.
    for (let from = 0; from < old.capacity; from++) {
      const to = slotOf[from] ?? -1;
      if (to < 0) continue;
      for (const word of [LAST_POLL, LAST_202]) {
        raise(table.words, entryOf(to) + word, Atomics.load(old.words, entryOf(from) + word));
      }
    }
  }

  /** A table with the known devices of another one; null where a device finds no room. @param slotOf - told where each went */
  #copy(old: MarksTable, slots: number, slotOf: Int32Array): MarksTable | null {
    const table = openTable(new SharedArrayBuffer(tableBytes(slots)));
    for (let from = 0; from < old.capacity; from++) {
      const entry = entryOf(from);
      if (((old.words[entry + FLAGS] ?? 0) & KNOWN) === 0) continue;
      const low = old.words[lowOf(from)] ?? 0;
      const to = freeSlot(table, low, old.words[entry + HIGH] ?? 0);
      if (to < 0) return null;
      table.words[lowOf(to)] = low;
      table.words.set(old.words.subarray(entry, entry + LAST_POLL), entryOf(to));
      table.words[table.generations + to] = old.words[old.generations + from] ?? 0;
      slotOf[from] = to;
    }
    return table;
  }
}

function slotsFor(devices: number): number {
  return wholeBuckets(Math.max(SLOTS_MIN, Math.ceil(devices / LOAD_AFTER)));
}

/** The next larger size to try. */
function slotsAfter(slots: number): number {
  return wholeBuckets(slots + Math.ceil(slots / 16));
}

function wholeBuckets(slots: number): number {
  return Math.ceil(slots / BUCKET_SLOTS) * BUCKET_SLOTS;
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

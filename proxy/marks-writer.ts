import type { MessagePort } from 'node:worker_threads';
import { DEVICE_ID_LIMIT, type DeviceId } from '../shared/device-id.ts';
import { SallyportError } from '../shared/errors.ts';
import { createKeyedHash, type KeyedHash } from '../shared/keyed-hash.ts';
import {
  ENTRY_WORDS,
  FARTHEST,
  FLAGS,
  KNOWN,
  MOVED,
  SEQUENCE,
  SITE_BYTES,
  findSlot,
  homeOf,
  openTable,
  storedLow,
  tableBytes,
  writeSite,
  type MarksTable,
} from './marks-layout.ts';

/**
 * A table is replaced when this share of its slots is used, by one that is filled to `LOAD_AFTER`. Each poll walks as
 * far as the device lies that lies farthest: some 100 to 300 slots at this share and a million devices.
 */
const LOAD_LIMIT = 0.8;
const LOAD_AFTER = 0.7;
const SLOTS_MIN = 512;

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
    if (slot < 0 && this.used + 1 > this.table.capacity * LOAD_LIMIT) {
      this.#rebuild(this.known + 1);
      slot = findSlot(this.table, low, high);
    }
    if (slot < 0) {
      slot = ~slot;
      this.used++;
      this.#devices[slot] = device;
      this.#sites[slot] = site;
      noteDistance(this.table, low, slot);
      // A reader looks at the low word first, so the high one is there when it finds it.
      Atomics.store(this.table.words, this.table.high + slot, high);
      Atomics.store(this.table.words, this.table.low + slot, low);
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
    this.write(slot, (words, at) => {
      for (let word = FLAGS; word < ENTRY_WORDS; word++) Atomics.store(words, at + word, 0);
    });
  }

  isKnown(slot: number): boolean {
    return (this.word(slot, FLAGS) & KNOWN) !== 0;
  }

  /** Whose a known slot is. */
  owner(slot: number): { site: number; device: DeviceId } | null {
    const device = this.#devices[slot];
    return device === undefined || !this.isKnown(slot) ? null : { site: this.#sites[slot] ?? 0, device };
  }

  /** A word of a slot's entry. */
  word(slot: number, word: number): number {
    return this.table.words[this.table.entries + slot * ENTRY_WORDS + word] ?? 0;
  }

  /** Changes words of one entry so that a reader sees all of the change or none. */
  write(slot: number, change: (words: Uint32Array, at: number) => void): void {
    const words = this.table.words;
    const at = this.table.entries + slot * ENTRY_WORDS;
    Atomics.add(words, at + SEQUENCE, 1);
    change(words, at);
    Atomics.add(words, at + SEQUENCE, 1);
  }

  #hashOf(site: number, device: DeviceId): void {
    const key = this.#scratch;
    writeSite(key, site);
    for (let i = 0; i < device.length; i++) key[SITE_BYTES + i] = device.charCodeAt(i);
    this.#hash.update(key, 0, SITE_BYTES + device.length);
  }

  /** Replaces the table by one that has room for so many devices, leaving out the slots of removed ones. */
  #rebuild(devices: number): void {
    const old = this.table;
    const oldDevices = this.#devices;
    const oldSites = this.#sites;
    const slots = slotsFor(devices);
    const table = openTable(new SharedArrayBuffer(tableBytes(slots)));
    this.#devices = new Array<DeviceId | undefined>(slots);
    this.#sites = new Uint16Array(slots);
    this.used = 0;
    const slotOf = new Int32Array(old.capacity).fill(-1);
    for (let from = 0; from < old.capacity; from++) {
      const entry = old.entries + from * ENTRY_WORDS;
      if (((old.words[entry + FLAGS] ?? 0) & KNOWN) === 0) continue;
      const low = old.words[old.low + from] ?? 0;
      const high = old.words[old.high + from] ?? 0;
      const to = ~findSlot(table, low, high);
      noteDistance(table, low, to);
      table.words[table.low + to] = low;
      table.words[table.high + to] = high;
      table.words.set(old.words.subarray(entry, entry + ENTRY_WORDS), table.entries + to * ENTRY_WORDS);
      this.#devices[to] = oldDevices[from];
      this.#sites[to] = oldSites[from] ?? 0;
      this.used++;
      slotOf[from] = to;
    }
    this.table = table;
    this.rebuilds++;
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

function slotsFor(devices: number): number {
  return Math.max(SLOTS_MIN, Math.ceil(devices / LOAD_AFTER));
}

/** Has readers walk as far as a device that goes to `slot`. */
function noteDistance(table: MarksTable, low: number, slot: number): void {
  const distance = (slot - homeOf(table, low) + table.capacity) % table.capacity;
  if (distance > Atomics.load(table.words, FARTHEST)) Atomics.store(table.words, FARTHEST, distance);
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

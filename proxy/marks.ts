import { MessageChannel, type MessagePort } from 'node:worker_threads';
import type { Clock, Milliseconds } from '../shared/clock.ts';
import type { DeviceId } from '../shared/device-id.ts';
import { SallyportError } from '../shared/errors.ts';
import { HASH_KEY_BYTES } from '../shared/keyed-hash.ts';
import { admissionTicket, decide, type Verdict } from './marks-decision.ts';
import {
  ACTIONS,
  ADMIT,
  ADMIT_ALL,
  ALIVE_UNTIL,
  COURIER,
  DIRECT,
  EXPIRY,
  GAP_UNTIL,
  KNOWN,
  LAST_202,
  LAST_POLL,
  LAST_TICK,
  NOT_BEFORE,
  PENDING,
  QUIET_UNTIL,
  SITE_FLAGS,
  SITE_WORDS,
  TICK_MS,
  UPSTREAM_OK,
  entryOf,
  lowOf,
  tickFrom,
  tickOf,
} from './marks-layout.ts';
import type { MarksSeed } from './marks-reader.ts';
import { MarksWriter } from './marks-writer.ts';

/** What is known of one device. Times are of `clock.monotonic()`. */
export interface Mark {
  pending: boolean;
  /** Whether actions are among it, which the relay can deliver while the provisioning service is down. Default false. */
  actions?: boolean;
  /** The generation of what is pending; 0 to 2^32 - 1, more is kept modulo that. */
  generation: number;
  /** The first moment at which there is something to do; 0 or any past moment = at once. */
  notBefore: Milliseconds;
  /** The first moment at which it is too late; Infinity = never. */
  expiry: Milliseconds;
}

/** A mark with what holds it back. */
export interface HeldMark extends Mark {
  /** The end of the running session; past or 0 = none. */
  quietUntil: Milliseconds;
  /** The end of the session gap; past or 0 = none. */
  gapUntil: Milliseconds;
}

/** What holds for all devices of a site. */
export interface SiteMark {
  /** Until when the site's link counts as alive: main renews this lease, and silence ends it. */
  aliveUntil: Milliseconds;
  /** Whether the relay reaches the provisioning service. */
  upstreamOk: boolean;
  /** Whether the relay delivers actions itself; then they can succeed without that service. */
  courier: boolean;
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
   * @returns whether it was unknown
   * @throws SallyportError `TOO_LARGE` at the limit of devices; `NOT_FOUND` for a site not named at creation
   */
  set(site: string, device: DeviceId, mark: Mark): boolean;
  /** Makes a device known of which nothing is pending; one that is known stays as it is. @returns and throws as {@link set} */
  add(site: string, device: DeviceId): boolean;
  /** Holds 202 back until the running session is over; 0 = it is. @returns false for an unknown device */
  quiet(site: string, device: DeviceId, until: Milliseconds): boolean;
  /** Holds 202 back until the session gap is over; 0 = no gap. @returns false for an unknown device */
  gap(site: string, device: DeviceId, until: Milliseconds): boolean;
  /** Forgets a device; its polls are those of an unknown one. @returns false for an unknown device */
  remove(site: string, device: DeviceId): boolean;
  /** Whether a device is known. */
  has(site: string, device: DeviceId): boolean;
  /** Makes room for so many more devices at once; without it the table grows step by step, and is replaced in each. */
  reserve(devices: number): void;
  /** Says what holds for all of a site; what is left out stays as it is. At first nothing is alive or ok. */
  site(site: string, change: Partial<SiteMark>): void;
  /** What a poll would be told now, and why; null for an unknown device. */
  why(site: string, device: DeviceId): Verdict | null;
  /** What is held of a device; null for an unknown one. Times have been rounded to the tick. */
  get(site: string, device: DeviceId): HeldMark | null;
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
  readonly #numbers: Map<string, number>;
  readonly #siteWords: Uint32Array<SharedArrayBuffer>;
  readonly #clock: Clock;
  readonly #base: Milliseconds;
  readonly #key = new Uint8Array(HASH_KEY_BYTES);
  readonly #ports = new Set<MessagePort>();
  readonly #writer: MarksWriter;
  #scannedTo = 0;

  constructor(options: MarksOptions) {
    this.sites = [...options.sites];
    this.#numbers = new Map(this.sites.map((name, i) => [name, i]));
    const siteBytes = this.sites.length * SITE_WORDS * Uint32Array.BYTES_PER_ELEMENT;
    this.#siteWords = new Uint32Array(new SharedArrayBuffer(siteBytes));
    this.sites.forEach((_, i) => Atomics.store(this.#siteWords, i * SITE_WORDS + ADMIT, ADMIT_ALL));
    this.#clock = options.clock;
    // Tick 0 is before any poll, so that 0 in the telemetry can mean never.
    this.#base = options.clock.monotonic() - TICK_MS;
    options.random(this.#key);
    const { capacity = 1_000, limit = DEVICE_LIMIT } = options;
    this.#writer = new MarksWriter({ key: this.#key, capacity, limit, ports: this.#ports });
  }

  set(site: string, device: DeviceId, mark: Mark): boolean {
    const { known } = this.#writer;
    const slot = this.#writer.claim(this.#number(site), device);
    const notBefore = this.#beginning(mark.notBefore);
    const flags = KNOWN | (mark.pending ? PENDING : 0) | (mark.actions === true ? ACTIONS : 0);
    const { words, generations } = this.#writer.table;
    words[generations + slot] = mark.generation;
    this.#writer.write(slot, flags, (words, at) => {
      Atomics.store(words, at + NOT_BEFORE, notBefore);
      Atomics.store(words, at + EXPIRY, tickOf(mark.expiry, this.#base));
    });
    return this.#writer.known > known;
  }

  add(site: string, device: DeviceId): boolean {
    const { known } = this.#writer;
    const slot = this.#writer.claim(this.#number(site), device);
    if (this.#writer.known === known) return false;
    this.#writer.write(slot, KNOWN, () => undefined);
    return true;
  }

  quiet(site: string, device: DeviceId, until: Milliseconds): boolean {
    return this.#writeTime(site, device, QUIET_UNTIL, until);
  }

  gap(site: string, device: DeviceId, until: Milliseconds): boolean {
    return this.#writeTime(site, device, GAP_UNTIL, until);
  }

  remove(site: string, device: DeviceId): boolean {
    const slot = this.#writer.find(this.#number(site), device);
    if (slot >= 0) this.#writer.release(slot);
    return slot >= 0;
  }

  has(site: string, device: DeviceId): boolean {
    return this.#writer.find(this.#number(site), device) >= 0;
  }

  reserve(devices: number): void {
    this.#writer.reserve(devices);
  }

  site(site: string, change: Partial<SiteMark>): void {
    const words = this.#siteWords;
    const at = this.#number(site) * SITE_WORDS;
    if (change.aliveUntil !== undefined) {
      Atomics.store(words, at + ALIVE_UNTIL, tickOf(change.aliveUntil, this.#base));
    }
    if (change.admit !== undefined) {
      Atomics.store(words, at + ADMIT, Math.min(Math.max(Math.round(change.admit), 0), ADMIT_ALL));
    }
    const old = Atomics.load(words, at + SITE_FLAGS);
    const upstreamOk = change.upstreamOk ?? (old & UPSTREAM_OK) !== 0;
    const direct = change.direct ?? (old & DIRECT) !== 0;
    const courier = change.courier ?? (old & COURIER) !== 0;
    Atomics.store(
      words,
      at + SITE_FLAGS,
      (upstreamOk ? UPSTREAM_OK : 0) | (direct ? DIRECT : 0) | (courier ? COURIER : 0),
    );
  }

  why(site: string, device: DeviceId): Verdict | null {
    const writer = this.#writer;
    const number = this.#number(site);
    const slot = writer.find(number, device);
    if (slot < 0) return null;
    const words = this.#siteWords;
    const at = number * SITE_WORDS;
    const flags = words[at + SITE_FLAGS] ?? 0;
    const now = this.#clock.monotonic();
    return decide(
      {
        pending: (writer.flags(slot) & PENDING) !== 0,
        actions: (writer.flags(slot) & ACTIONS) !== 0,
        notBefore: writer.word(slot, NOT_BEFORE),
        expiry: writer.word(slot, EXPIRY),
        quietUntil: writer.word(slot, QUIET_UNTIL),
        gapUntil: writer.word(slot, GAP_UNTIL),
      },
      {
        aliveUntil: words[at + ALIVE_UNTIL] ?? 0,
        upstreamOk: (flags & UPSTREAM_OK) !== 0,
        courier: (flags & COURIER) !== 0,
        direct: (flags & DIRECT) !== 0,
        admit: words[at + ADMIT] ?? 0,
      },
      tickOf(now, this.#base),
      admissionTicket(writer.table.words[lowOf(slot)] ?? 0, now),
    );
  }

  get(site: string, device: DeviceId): HeldMark | null {
    const writer = this.#writer;
    const slot = writer.find(this.#number(site), device);
    if (slot < 0) return null;
    return {
      pending: (writer.flags(slot) & PENDING) !== 0,
      generation: writer.table.words[writer.table.generations + slot] ?? 0,
      notBefore: this.#time(writer.word(slot, NOT_BEFORE)),
      expiry: this.#time(writer.word(slot, EXPIRY)),
      quietUntil: this.#time(writer.word(slot, QUIET_UNTIL)),
      gapUntil: this.#time(writer.word(slot, GAP_UNTIL)),
    };
  }

  *scan(): Generator<PolledDevice[], void, void> {
    const from = this.#scannedTo;
    // The tick that is still running is left to the next scan, which then sees the whole of it.
    const to = tickOf(this.#clock.monotonic(), this.#base);
    let table = this.#writer.table;
    for (let start = 0; start < table.capacity; start += SCAN_SLOTS) {
      const found: PolledDevice[] = [];
      for (let slot = start; slot < Math.min(start + SCAN_SLOTS, table.capacity); slot++) {
        const polled = Atomics.load(table.words, entryOf(slot) + LAST_POLL);
        if (polled < from || polled >= to || polled === 0) continue;
        const report = this.#polled(slot, polled);
        if (report !== null) found.push(report);
      }
      yield found;
      if (this.#writer.table !== table) {
        table = this.#writer.table;
        start = -SCAN_SLOTS;
      }
    }
    this.#scannedTo = to;
  }

  attach(): MarksAttachment {
    const { port1, port2 } = new MessageChannel();
    this.#ports.add(port1);
    const sites = this.#siteWords.buffer;
    const table = this.#writer.table.words.buffer;
    return {
      seed: { sites, table, key: this.#key, base: this.#base, port: port2 },
      transfer: [port2],
      detach: () => {
        this.#ports.delete(port1);
        port1.close();
      },
    };
  }

  stats(): MarksStats {
    const { known, used, rebuilds, table } = this.#writer;
    const bytes = table.words.byteLength + this.#siteWords.byteLength;
    return { known, slots: table.capacity, usedSlots: used, bytes, rebuilds };
  }

  close(): void {
    for (const port of this.#ports) port.close();
    this.#ports.clear();
  }

  #polled(slot: number, polled: number): PolledDevice | null {
    const owner = this.#writer.owner(slot);
    if (owner === null) return null;
    const offered = Atomics.load(this.#writer.table.words, entryOf(slot) + LAST_202);
    return {
      site: this.sites[owner.site] ?? '',
      device: owner.device,
      at: this.#time(polled),
      status: offered >= polled ? 202 : 200,
      last202: offered === 0 ? null : this.#time(offered),
    };
  }

  #number(site: string): number {
    const number = this.#numbers.get(site);
    if (number === undefined) {
      const names = this.sites.join(', ');
      throw new SallyportError(
        'NOT_FOUND',
        `There is no site ${JSON.stringify(site)}; the sites are ${names}`,
      );
    }
    return number;
  }

  #writeTime(site: string, device: DeviceId, word: number, until: Milliseconds): boolean {
    const slot = this.#writer.find(this.#number(site), device);
    if (slot < 0) return false;
    const tick = this.#beginning(until);
    this.#writer.write(slot, this.#writer.flags(slot), (words, at) => Atomics.store(words, at + word, tick));
    return true;
  }

  /** A beginning that has come already is stored as such, so that rounding cannot put it off. */
  #beginning(time: Milliseconds): number {
    return time <= this.#clock.monotonic() ? 0 : tickFrom(time, this.#base);
  }

  #time(tick: number): Milliseconds {
    return tick === LAST_TICK ? Infinity : this.#base + tick * TICK_MS;
  }
}

import type { Milliseconds } from '../../../shared/clock.ts';

/** A held message as frames tell of it; times are the simulation's. */
interface Entry {
  kind: string;
  generation: number;
  from: Milliseconds;
  until: Milliseconds;
}

interface Span {
  until: Milliseconds;
  /** The device was unknown when it was said, so that it may have gone unheard. */
  unsure: boolean;
}

/** The frames that matter here, as JSON says them. */
interface Told {
  type: string;
  incarnation: string;
  seq: number;
  first: boolean;
  last: boolean;
  entries: TellEntry[];
  changes: (({ op: 'hold' } & TellEntry) | { op: 'end'; id: string; device: string; generation: number })[];
  devices: string[];
  device: string;
  generation: number;
  ms: Milliseconds;
  ready: boolean;
  courier?: boolean;
}

interface TellEntry {
  id: string;
  kind: string;
  device: string;
  generation: number;
  dueIn: Milliseconds;
  expiresIn: Milliseconds;
}

interface Link {
  id: string;
  run: number;
  incarnation: string | null;
  lanes: number;
  heardAt: Milliseconds;
  /** The resync is whole. */
  current: boolean;
  ready: boolean;
  /** Actions can be delivered even where it is not ready. */
  courier: boolean;
  draining: boolean;
}

/** What a poll must be told. */
export interface Expectation {
  /** Null = either will do: it is a matter of milliseconds, or of what proxies need not promise. */
  status: 200 | 202 | null;
  promise: string;
  why: string;
}

/** Times in shared memory are rounded to 32 ms. */
const TICK_MS = 33;
/** Marks of a device with several messages are renewed each second. */
const RENEWAL_MS = 1_100;
/** After this long without a word a site must be silent, too. */
const SILENT_MS = 10_000;
/** Before that long it must not be. */
const LEASE_MS = 6_900;

/**
 * What a proxy must know, reckoned from the frames that it was given: the promise in its plainest form, with no regard
 * for speed and none for how the product does it.
 */
export class Copy {
  readonly proxy: string;
  readonly #gapMs: Milliseconds;
  readonly #links = new Map<string, Link>();
  #serving: Link | null = null;
  #held = new Map<string, Map<string, Entry>>();
  #position: { incarnation: string; seq: number } | null = null;
  #incoming: { held: Map<string, Map<string, Entry>>; incarnation: string; seq: number } | null = null;
  readonly #known = new Set<string>();
  readonly #seen = new Set<string>();
  readonly #quiet = new Map<string, Span>();
  readonly #gap = new Map<string, Span>();
  /** Devices of which the last thing heard is that a snapshot took the place of what was held. */
  readonly #dropped = new Set<string>();
  /** Devices that a link has spoken of that serves no more. */
  readonly #stale = new Set<string>();

  constructor(proxy: string, gapMs: Milliseconds) {
    this.proxy = proxy;
    this.#gapMs = gapMs;
  }

  linkMade(id: string, run: number, now: Milliseconds): void {
    this.#links.set(id, {
      id,
      run,
      incarnation: null,
      lanes: 0,
      heardAt: now,
      current: false,
      ready: false,
      courier: false,
      draining: false,
    });
  }

  linkOver(id: string): void {
    const link = this.#links.get(id);
    this.#links.delete(id);
    if (link !== undefined && link === this.#serving) this.#serving = null;
  }

  streamLane(id: string, open: boolean): void {
    const link = this.#links.get(id);
    if (link !== undefined) link.lanes += open ? 1 : -1;
  }

  /** The run whose relay serves; null = none. */
  serves(): number | null {
    return this.#serving?.run ?? null;
  }

  /** Whether the message was ever held here. */
  saw(id: string): boolean {
    return this.#seen.has(id);
  }

  /** Ids of all that is held. */
  ids(): string[] {
    return [...this.#held.values()].flatMap((entries) => [...entries.keys()]);
  }

  frame(id: string, text: string, now: Milliseconds): Told | null {
    const told = JSON.parse(text) as Told;
    const link = this.#links.get(id);
    if (link === undefined) {
      this.#noteStale(told);
      return null;
    }
    link.heardAt = now;
    if (told.type === 'hello') {
      link.incarnation = told.incarnation;
      this.#serving = link;
      this.#incoming = null;
      this.#quiet.clear();
      return told;
    }
    if (link !== this.#serving) {
      this.#noteStale(told);
      return null;
    }
    this.#apply(link, told, now);
    return told;
  }

  #noteStale(told: Told): void {
    for (const each of [...(told.entries ?? []), ...(told.changes ?? [])]) this.#stale.add(each.device);
    if (typeof told.device === 'string') this.#stale.add(told.device);
  }

  #apply(link: Link, told: Told, now: Milliseconds): void {
    switch (told.type) {
      case 'snapshot':
        if (told.first) this.#incoming = { held: new Map(), incarnation: told.incarnation, seq: told.seq };
        if (this.#incoming === null) return;
        for (const entry of told.entries) this.#hold(this.#incoming.held, entry, now);
        if (!told.last) return;
        for (const device of this.#held.keys()) this.#dropped.add(device);
        this.#held = this.#incoming.held;
        this.#position = { incarnation: this.#incoming.incarnation, seq: this.#incoming.seq };
        this.#incoming = null;
        return;
      case 'changes':
        if (this.#position === null) return;
        for (const change of told.changes) {
          this.#dropped.delete(change.device);
          if (change.op === 'hold') this.#hold(this.#held, change, now);
          else this.#end(change);
        }
        this.#position.seq = told.seq;
        return;
      case 'known':
        for (const device of told.devices) this.#known.add(device);
        return;
      case 'quiet':
        this.#quiet.set(told.device, {
          until: now + Math.min(told.ms, 120_000),
          unsure: !this.#known.has(told.device),
        });
        return;
      case 'loud':
        this.#quiet.delete(told.device);
        return;
      case 'gap':
        if (this.#gapMs > 0) {
          this.#gap.set(told.device, { until: now + this.#gapMs, unsure: !this.#known.has(told.device) });
        }
        return;
      case 'health':
        link.current = this.#position?.incarnation === link.incarnation;
        link.ready = told.ready;
        link.courier = told.courier === true;
        return;
      case 'drain':
        link.draining = true;
        return;
      default:
    }
  }

  #hold(into: Map<string, Map<string, Entry>>, entry: TellEntry, now: Milliseconds): void {
    const entries = into.get(entry.device) ?? new Map<string, Entry>();
    into.set(entry.device, entries);
    this.#known.add(entry.device);
    this.#seen.add(entry.id);
    const known = entries.get(entry.id);
    if (known !== undefined && known.generation > entry.generation) return;
    const { kind, generation, dueIn, expiresIn } = entry;
    entries.set(entry.id, { kind, generation, from: now + dueIn, until: now + expiresIn });
  }

  #end({ id, device, generation }: { id: string; device: string; generation: number }): void {
    const entries = this.#held.get(device);
    const entry = entries?.get(id);
    if (entries === undefined || entry === undefined || entry.generation > generation) return;
    entries.delete(id);
    if (entries.size === 0) this.#held.delete(device);
  }

  /** Whether actions are held for the device. */
  holdsActions(device: string): boolean {
    return [...(this.#held.get(device)?.values() ?? [])].some(({ kind }) => kind === 'dls');
  }

  /** What a poll of the device must be told now. */
  expect(device: string, now: Milliseconds): Expectation {
    const must = (status: 200 | 202 | null, promise: string, why: string): Expectation => ({
      status,
      promise: status !== null && this.#stale.has(device) ? 'P15' : promise,
      why,
    });
    const link = this.#serving;
    if (link === null) return must(200, 'P16', 'no link serves the site');
    if (now - link.heardAt > SILENT_MS) return must(200, 'P2', 'the link has been silent for ten seconds');
    if (link.lanes === 0) return must(200, 'P16', 'the link has no stream lane');
    if (!link.current) return must(200, 'P16', 'the resync is not whole');
    if (link.draining) return must(200, 'P16', 'the relay goes away');
    const entries = [...(this.#held.get(device)?.values() ?? [])];
    if (!link.ready && !link.courier) return must(200, 'P16', 'the service cannot be reached');
    const order = this.#dropped.has(device) ? 'P4' : 'P2';
    if (entries.length === 0) return must(200, order, 'nothing is pending');
    const offered = link.ready ? entries : entries.filter(({ kind }) => kind === 'dls');
    const due = offered.filter(({ from, until }) => from <= now && now < until);
    if (due.length === 0 && !link.ready) return must(200, 'P16', 'the service cannot be reached');
    if (due.length === 0) {
      const expired = entries.every(({ until }) => until <= now);
      return must(200, expired ? 'P10' : order, expired ? 'it is expired' : 'it is not due yet');
    }
    const quiet = this.#quiet.get(device);
    if (quiet !== undefined && !quiet.unsure && now < quiet.until) return must(200, 'P2', 'a session runs');
    const gap = this.#gap.get(device);
    if (gap !== undefined && !gap.unsure && now < gap.until)
      return must(200, 'P2', 'the session gap is not over');
    const margin = entries.length > 1 ? RENEWAL_MS : TICK_MS;
    const held = [quiet, gap].some((span) => span !== undefined && now < span.until + TICK_MS);
    const surely = due.some(({ from, until }) => from + margin <= now && now < until - margin);
    if (held || !surely || now - link.heardAt > LEASE_MS) return must(null, 'P2', 'either');
    return must(202, 'P2', 'it is pending, and a session could succeed');
  }
}

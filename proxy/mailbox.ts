import type { Clock, Milliseconds } from '../shared/clock.ts';
import type { DeviceId } from '../shared/device-id.ts';
import type { HeldChange, HeldEntry } from '../shared/protocol.ts';
import type { Mark } from './marks.ts';

/**
 * One held message as the proxy knows it: no body, and times on this machine's own clock. There are hundreds of thousands
 * of them: each refers to the device's next one, since nearly all devices have one, and times are whole, since V8 keeps
 * a broken number in an object of its own.
 */
interface HeldMessage {
  id: string;
  /** Whether it is of actions, which is kind `dls`. */
  actions: boolean;
  generation: number;
  notBefore: Milliseconds;
  expiry: Milliseconds;
  /** Another message of the device; null = there is none. */
  next: HeldMessage | null;
}

/** A snapshot of which not all parts have come. */
interface Incoming {
  /** Further parts count for nothing: what is held is as new. */
  needless: boolean;
  held: Map<DeviceId, HeldMessage>;
  messages: number;
  incarnation: string;
  seq: number;
}

/** Where a mailbox writes what polls are answered from. */
export interface MailboxMarks {
  /** @returns whether the device had no mark before */
  set(device: DeviceId, mark: Mark): boolean;
  /** Gives the device a mark that says that nothing is pending, if it has none. @returns whether it had none */
  add(device: DeviceId): boolean;
  /** The device is one of those that nobody knows. */
  remove(device: DeviceId): void;
  /** Whether the device has a mark. */
  has(device: DeviceId): boolean;
  /** So many devices are about to get a mark that have none: makes room once, and not over and over. */
  reserve(devices: number): void;
}

/**
 * The pending messages of one site, in memory, as copied from the outbox of its relays. Several links may bring the same
 * changes, each from where it is itself: whatever was taken already is not taken again. No link leaves out any, so the
 * first to bring one is as good as another.
 *
 * `from` names the link that brings something; default: the only one that there is.
 */
export interface Mailbox {
  /** Up to where this copy is good; null = nothing yet. */
  holds(): { incarnation: string; seq: number } | null;
  /**
   * Takes one part of a snapshot. Marks change only with its last part: until then the old ones stand.
   *
   * @returns what is wrong, or null
   */
  snapshot(
    part: {
      incarnation: string;
      seq: number;
      first: boolean;
      last: boolean;
      entries: HeldEntry[];
    },
    from?: object,
  ): string | null;
  /** A link has been told what is held here, and brings what comes after that. */
  begin(from: object): void;
  /** A link has ended: lets go of the parts of its snapshot. */
  forget(from: object): void;
  /** Whoever brought what is held is not to be believed: the next snapshot replaces it, whatever it is as of. */
  distrust(): void;
  /** Applies changes in order. @returns what is wrong, or null */
  changes(seq: number, changes: HeldChange[], from?: object): string | null;
  /**
   * Makes devices known without changing what is pending for them. At the limit further ones stay unknown.
   *
   * @param total - how many will have been told, these included, where that is known: room for all is made at once
   */
  known(devices: DeviceId[], total?: number): void;
  /**
   * Whether messages are offered in windows only: for {@link WINDOW_MS} when they fall due, then as long in each hour.
   * So it is where nobody inside sees whether a phone came, and a standing 202 would call it at each poll.
   */
  windowed(on: boolean): void;
  /** Renews marks that tell of one stretch of time and are over, where another follows. To be called each second. */
  tick(): void;
  counts(): { messages: number; devices: number };
}

/** How long a message is offered at a stretch where nobody sees whether the phone came. */
export const WINDOW_MS: Milliseconds = 10 * 60_000;
/** From the beginning of one such stretch to the next. */
export const WINDOW_PERIOD_MS: Milliseconds = 60 * 60_000;

const NOTHING: Mark = { pending: false, generation: 0, notBefore: 0, expiry: 0 };

/**
 * @param options - `limit`: messages held; more are refused. As many devices are known besides those that have some.
 */
export function createMailbox(options: { clock: Clock; marks: MailboxMarks; limit: number }): Mailbox {
  const { clock, marks, limit } = options;
  let held = new Map<DeviceId, HeldMessage>();
  let messages = 0;
  let windows = false;
  let position: { incarnation: string; seq: number } | null = null;
  const incoming = new Map<object | undefined, Incoming>();
  /** Up to where each link has brought changes. */
  const brought = new Map<object | undefined, number>();
  /** Devices that have a mark. */
  let known = 0;
  /** Devices whose mark does not tell the whole future, and when it is over. */
  const staggered = new Map<DeviceId, Milliseconds>();

  const tooMany = `more than ${limit} held messages; raise limits.held at the proxy`;

  const fromEntry = (entry: HeldEntry, next: HeldMessage | null): HeldMessage => {
    const now = clock.monotonic();
    return {
      id: entry.id,
      actions: entry.kind === 'dls',
      generation: entry.generation,
      // What is due already must not be put off by the rounding.
      notBefore: entry.dueIn > 0 ? Math.ceil(now + entry.dueIn) : Math.floor(now + entry.dueIn),
      expiry: Math.ceil(now + entry.expiresIn),
      next,
    };
  };

  function set(device: DeviceId, mark: Mark): void {
    if (marks.set(device, mark)) known += 1;
  }

  function mark(device: DeviceId): void {
    const first = held.get(device);
    if (first === undefined) {
      staggered.delete(device);
      return rest(device);
    }
    const now = clock.monotonic();
    if (first.next === null && !windows) {
      staggered.delete(device);
      return set(device, first.expiry > now ? markOf(first) : NOTHING);
    }
    const list = listOf(first);
    const window = windowOf(windows ? list.map((message) => inWindow(message, now)) : list, now);
    set(device, window.mark);
    const more = window.mark.pending && (windows || !window.whole);
    if (more) staggered.set(device, window.until);
    else staggered.delete(device);
  }

  /** Nothing is pending: the device stays known, unless too many are. */
  function rest(device: DeviceId): void {
    if (known < limit) return set(device, NOTHING);
    const has = marks.has(device);
    if (has && known === limit) return set(device, NOTHING);
    marks.remove(device);
    if (has) known -= 1;
  }

  /** Returns how many messages there are more now: 1, or 0 where it was there already. */
  function hold(into: Map<DeviceId, HeldMessage>, entry: HeldEntry): 0 | 1 {
    const device = entry.device as DeviceId;
    const first = into.get(device) ?? null;
    for (let message = first; message !== null; message = message.next) {
      if (message.id !== entry.id) continue;
      if (message.generation <= entry.generation) Object.assign(message, fromEntry(entry, message.next));
      return 0;
    }
    into.set(device, fromEntry(entry, first));
    return 1;
  }

  function end(device: DeviceId, id: string, generation: number): void {
    const rest = listOf(held.get(device) ?? null);
    const at = rest.findIndex((message) => message.id === id);
    if (at < 0 || rest[at]!.generation > generation) return;
    const before = rest[at - 1];
    const after = rest[at]!.next;
    messages -= 1;
    if (before !== undefined) before.next = after;
    else if (after !== null) held.set(device, after);
    else held.delete(device);
  }

  function replace(next: Incoming): void {
    const before = held;
    held = next.held;
    messages = next.messages;
    // What is gone goes first, so that there are never more marks than the limit allows.
    for (const device of before.keys()) if (!held.has(device)) mark(device);
    let fresh = known === 0 ? held.size : 0;
    if (known > 0) for (const device of held.keys()) if (!marks.has(device)) fresh += 1;
    marks.reserve(fresh);
    for (const device of held.keys()) mark(device);
  }

  return {
    holds: () => position,
    snapshot(part, from) {
      const { incarnation, seq } = part;
      const begun = incoming.get(from);
      const own: Incoming | undefined = part.first
        ? { held: new Map(), messages: 0, incarnation, seq, needless: false }
        : begun;
      if (own === undefined) return 'a snapshot without its first part';
      incoming.set(from, own);
      if (own.incarnation !== incarnation || own.seq !== seq) return 'parts of two snapshots';
      // Another link was faster: to go back to what this one tells would forget what came since.
      if (position?.incarnation === incarnation && position.seq > seq) {
        own.needless = true;
        own.held.clear();
      }
      if (!own.needless) for (const entry of part.entries) own.messages += hold(own.held, entry);
      if (own.messages > limit) {
        incoming.delete(from);
        return tooMany;
      }
      if (!part.last) return null;
      incoming.delete(from);
      brought.set(from, seq);
      if (own.needless) return null;
      replace(own);
      position = { incarnation, seq };
      return null;
    },
    begin: (from) => void brought.set(from, position?.seq ?? 0),
    forget(from) {
      incoming.delete(from);
      brought.delete(from);
    },
    distrust() {
      position = null;
      incoming.clear();
    },
    changes(seq, changes, from) {
      if (position === null || incoming.has(from)) return 'changes before a whole snapshot';
      const before = brought.get(from) ?? position.seq;
      if (seq < before) return `changes to ${seq} after ${before}`;
      brought.set(from, seq);
      // Another link was faster.
      if (seq <= position.seq) return null;
      // Marks are written once, after all: no poll may see a state between two changes that were committed together.
      const touched = new Set<DeviceId>();
      for (const change of changes) {
        const device = change.device as DeviceId;
        touched.add(device);
        if (change.op === 'end') end(device, change.id, change.generation);
        else messages += hold(held, change);
      }
      if (messages > limit) return tooMany;
      for (const device of touched) mark(device);
      position = { incarnation: position.incarnation, seq };
      return null;
    },
    known(devices, total = 0) {
      if (total > known) marks.reserve(Math.min(total, limit) - known);
      for (const device of devices) {
        if (known >= limit) return;
        if (marks.add(device)) known += 1;
      }
    },
    windowed(on) {
      if (on === windows) return;
      windows = on;
      for (const device of held.keys()) mark(device);
    },
    tick() {
      const now = clock.monotonic();
      for (const [device, until] of staggered) if (until <= now) mark(device);
    },
    counts: () => ({ messages, devices: held.size }),
  };
}

function listOf(first: HeldMessage | null): HeldMessage[] {
  const list: HeldMessage[] = [];
  for (let message = first; message !== null; message = message.next) list.push(message);
  return list;
}

/** A mark, whether nothing comes after it, and when it is to be made anew otherwise. */
interface Stretch {
  mark: Mark;
  whole: boolean;
  until: Milliseconds;
}

/** What is to be made anew is so within this time. */
const RENEWAL_MS: Milliseconds = 1_050;

/**
 * The present or next stretch of time in which one of the messages is due and not expired. Actions can be delivered where
 * nothing else can, so what holds for them is told as long as they are due. Where one kind takes over from the other, the
 * mark of that which goes on being due is never over before the next is made: no poll may fall between the two.
 */
function windowOf(list: HeldMessage[], now: Milliseconds): Stretch {
  const ahead = list.filter(({ expiry }) => expiry > now).sort((a, b) => a.notBefore - b.notBefore);
  const actions = stretchOf(ahead.filter((message) => message.actions));
  const calls = stretchOf(ahead.filter((message) => !message.actions));
  if (actions === null) return calls ?? { mark: NOTHING, whole: true, until: now };
  const own = { ...actions, mark: { ...actions.mark, actions: true } };
  if (calls === null) return own;
  const generation = Math.max(own.mark.generation, calls.mark.generation);
  const both = (mark: Mark, until: Milliseconds): Stretch => ({
    mark: { ...mark, generation },
    whole: false,
    until,
  });
  if (own.mark.notBefore > Math.max(now, calls.mark.notBefore)) {
    return both(calls.mark, Math.min(calls.mark.expiry, own.mark.notBefore));
  }
  const goesOn = calls.mark.notBefore <= own.mark.expiry && calls.mark.expiry > own.mark.expiry;
  if (!goesOn) return both(own.mark, own.mark.expiry);
  const change = own.mark.expiry - RENEWAL_MS;
  return now >= change && calls.mark.notBefore <= now
    ? both(calls.mark, own.mark.expiry)
    : both(own.mark, Math.max(now, change));
}

/** The mark of a device with one message, which is not over. */
function markOf({ actions, generation, notBefore, expiry }: HeldMessage): Mark {
  return { pending: true, actions, generation, notBefore, expiry };
}

/** The first stretch of the messages, which are in the order in which they fall due; null = there are none. */
function stretchOf(ahead: HeldMessage[]): Stretch | null {
  const first = ahead[0];
  if (first === undefined) return null;
  let { expiry, generation } = first;
  let whole = true;
  for (const message of ahead.slice(1)) {
    if (message.notBefore > expiry) {
      whole = false;
      break;
    }
    expiry = Math.max(expiry, message.expiry);
    generation = Math.max(generation, message.generation);
  }
  return { mark: { pending: true, generation, notBefore: first.notBefore, expiry }, whole, until: expiry };
}

/** The message as it is offered in the window of now, or in the next one. */
function inWindow(message: HeldMessage, now: Milliseconds): HeldMessage {
  const due = message.notBefore;
  const passed = Math.max(0, Math.floor((now - due) / WINDOW_PERIOD_MS));
  const began = due + passed * WINDOW_PERIOD_MS;
  const notBefore = now < began + WINDOW_MS ? began : began + WINDOW_PERIOD_MS;
  // A window beyond the message's life never opens; the message is then over as far as polls are concerned.
  return { ...message, notBefore, expiry: Math.min(message.expiry, notBefore + WINDOW_MS) };
}

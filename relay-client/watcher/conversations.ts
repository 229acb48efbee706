import { LRUCache } from 'lru-cache';
import type { Clock } from '../../shared/clock.ts';
import type { DeviceId } from '../../shared/device-id.ts';
import type { PhoneOrigin } from '../services/service.ts';
import type { Delivery } from '../courier/delivery.ts';
import type { Lesson } from '../teacher/teacher.ts';
import type { WatcherLimits } from './limits.ts';
import { SWEEP_MS } from './limits.ts';
import type { SessionListener, SessionOutcome, WatchedSession } from './session-events.ts';

/** A session while it runs. */
export interface Conversation extends WatchedSession {
  answered: boolean;
  action: string | null;
  /** The Actions that the phone's next reply may name; empty = any, as the answer was not understood. */
  expected: readonly string[];
  /** The phone has got an answer, as far as we know, and may reply. */
  mayReply: boolean;
  /** The status of the phone's last reply. */
  status: string | null;
  /** What we teach the phone after the service's last answer, or have taught it; null = nothing so far. */
  lesson: Lesson | null;
  /** The courier's part, where it leads the session in the service's place; null = the service does. */
  delivery: Delivery | null;
  courier: boolean;
  /** The cookies that were set in it, ours among them, by their names: a phone that shows one speaks of this session. */
  given: Set<string>;
  /** Those that the phone brought along at its beginning. */
  brought: ReadonlySet<string>;
  /** The exchange under way; null while the phone's next message is awaited. */
  exchange: object | null;
  /** The connection on which the phone last spoke; null once it is closed. */
  connection: object | null;
  /** From where it last spoke. */
  address: string;
  /** How it ends when the phone does not come back: `cut`, or worse where the service's last answer was no message. */
  lapse: SessionOutcome;
  /** When to give up waiting for the phone, by the monotonic clock. */
  deadline: number;
  over: boolean;
}

/** The sessions that run, by all that they are looked up by. */
export interface Conversations {
  /** Never fails: where there are too many, another one ends. */
  begin(device: DeviceId | null, reason: string, origin: PhoneOrigin): Conversation;
  /** The service has answered it: from now on it's the device's session. A former one is over, or stays if not `displacing`. */
  establish(conversation: Conversation, displacing: boolean): void;
  /** The device's session: the last one that the service has answered. */
  of(device: DeviceId): Conversation | null;
  /**
   * The one session at that address of which a reply to `action` may come, where it is certain to await that and has
   * no connection; null where unclear.
   */
  awaitedFrom(address: string, action: string): Conversation | null;
  /** The phone speaks from that address now. What it may have said at another one before doesn't identify anybody there. */
  speaksFrom(conversation: Conversation, address: string): void;
  /** A reply may come from that address that belongs to no session here: for a while it identifies nobody. */
  doubt(address: string): void;
  /** The phone is awaited from now on. */
  await(conversation: Conversation): void;
  /** Its connection is gone. */
  detach(conversation: Conversation): void;
  /** The phone won't come back to it. Does nothing for one that is over. */
  lapse(conversation: Conversation): void;
  /** Does nothing for one that is over. */
  end(conversation: Conversation, outcome: SessionOutcome): void;
  count(): number;
  /** Ends all, as cut mostly. */
  close(): void;
}

export function createConversations(options: {
  listener: SessionListener;
  clock: Clock;
  random: (size: number) => Uint8Array;
  limits: WatcherLimits;
  /** Phones may be in the middle of sessions of which nothing is known here. */
  resumed: boolean;
}): Conversations {
  const { listener, clock, random, limits } = options;
  /** Until when no address says anything, by the monotonic clock. */
  const doubtfulUntil = options.resumed ? clock.monotonic() + limits.doubtMs : -Infinity;
  const established = new Map<DeviceId, Conversation>();
  const byAddress = new Map<string, Set<Conversation>>();
  /** Until when an address says nothing, by the monotonic clock. */
  const doubtful = new LRUCache<string, number>({ max: limits.doubtfulAddresses });
  const running = new LRUCache<string, Conversation>({
    max: limits.sessions,
    noDisposeOnSet: true,
    dispose(conversation, _id, reason) {
      if (reason !== 'evict') return;
      listener.warn('session-limit', { device: conversation.device, limit: limits.sessions });
      forget(conversation, conversation.lapse);
    },
  });

  const doubt = (address: string): void => {
    doubtful.set(address, clock.monotonic() + limits.doubtMs);
  };

  const enter = (conversation: Conversation): void => {
    const there = byAddress.get(conversation.address);
    if (there === undefined) byAddress.set(conversation.address, new Set([conversation]));
    else there.add(conversation);
  };

  const leave = (conversation: Conversation): void => {
    const there = byAddress.get(conversation.address);
    there?.delete(conversation);
    if (there?.size === 0) byAddress.delete(conversation.address);
  };

  const forget = (conversation: Conversation, outcome: SessionOutcome): void => {
    conversation.over = true;
    if (conversation.device !== null && established.get(conversation.device) === conversation) {
      established.delete(conversation.device);
    }
    leave(conversation);
    // Without a cookie its reply could pass for that of another phone there, which is awaited.
    if (outcome === 'cut' || conversation.mayReply) doubt(conversation.address);
    conversation.lesson?.lapse();
    conversation.delivery?.lapse();
    listener.ended(conversation, outcome);
  };

  const end = (conversation: Conversation, outcome: SessionOutcome): void => {
    if (conversation.over) return;
    conversation.over = true;
    running.delete(conversation.id);
    forget(conversation, outcome);
  };

  const lapse = (conversation: Conversation): void => end(conversation, conversation.lapse);

  const sweep = clock.every(SWEEP_MS, () => {
    const now = clock.monotonic();
    for (const conversation of [...running.values()]) {
      if (conversation.exchange === null && now >= conversation.deadline) lapse(conversation);
    }
  });

  return {
    begin(device, reason, origin) {
      const conversation: Conversation = {
        id: Buffer.from(random(8)).toString('hex'),
        device,
        reason,
        origin,
        startedAt: clock.wall(),
        answered: false,
        action: null,
        expected: [],
        mayReply: false,
        status: null,
        lesson: null,
        delivery: null,
        courier: false,
        given: new Set(),
        brought: new Set(),
        exchange: null,
        connection: null,
        address: origin.address,
        lapse: 'cut',
        deadline: clock.monotonic() + limits.silenceMs,
        over: false,
      };
      running.set(conversation.id, conversation);
      enter(conversation);
      listener.began(conversation);
      return conversation;
    },
    establish(conversation, displacing) {
      const { device } = conversation;
      if (device === null) return;
      const former = established.get(device);
      if (former === conversation || (former !== undefined && !displacing)) return;
      established.set(device, conversation);
      if (former !== undefined) lapse(former);
    },
    of: (device) => established.get(device) ?? null,
    awaitedFrom(address, action) {
      if (Math.max(doubtful.get(address) ?? -Infinity, doubtfulUntil) > clock.monotonic()) return null;
      let found: Conversation | null = null;
      for (const conversation of byAddress.get(address) ?? []) {
        const { mayReply, expected } = conversation;
        // Whoever may reply counts, even with its answer still on the way: the phone may be faster than we hear of it.
        if (!mayReply || (expected.length > 0 && !expected.includes(action))) continue;
        if (found !== null) return null;
        found = conversation;
      }
      const awaited = found?.exchange === null && found.connection === null && found.expected.length > 0;
      return awaited ? found : null;
    },
    speaksFrom(conversation, address) {
      if (conversation.address === address || conversation.over) return;
      leave(conversation);
      doubt(conversation.address);
      conversation.address = address;
      enter(conversation);
    },
    doubt,
    await(conversation) {
      conversation.exchange = null;
      conversation.deadline =
        clock.monotonic() + (conversation.connection === null ? limits.returnMs : limits.silenceMs);
      running.get(conversation.id);
    },
    detach(conversation) {
      conversation.connection = null;
      conversation.deadline = clock.monotonic() + limits.returnMs;
    },
    lapse,
    end,
    count: () => running.size,
    close() {
      sweep.cancel();
      for (const conversation of [...running.values()]) lapse(conversation);
    },
  };
}

import type { Milliseconds } from '../../shared/clock.ts';
import type { DeviceId } from '../../shared/device-id.ts';

/**
 * The outbox: the truth about what is pending. Every accepted message is durable here before its caller
 * hears yes; proxies hold copies. Engines differ, semantics don't: all pass one conformance suite.
 */

/** Names one life of a store. Random; new for a fresh or restored store. Generations compare only within one. */
export type Incarnation = string;

/** Names a message; unique over all incarnations. */
export type MessageId = string;

/** Position in the outbox's history; grows by at least one with each change, from 1. 0 is before all. */
export type Sequence = number;

export type MessageKind = 'contact-me' | 'dls';

/** How a message can end; each ends in one of these, once. */
export type EndState = 'cleared' | 'superseded' | 'expired' | 'cancelled' | 'dead';

export type MessageState = 'held' | EndState;

/** What a caller wants held for a device. */
export interface Push {
  device: DeviceId;
  kind: MessageKind;
  /** Time to live from acceptance; > 0. */
  ttl: Milliseconds;
  /** Not offered to the phone before this long after acceptance; 0 = at once. */
  delay: Milliseconds;
  /**
   * The caller's own name for this push to this device: pushing it again with the same content (kind, actions, ttl,
   * delay) changes nothing, until {@link KEY_MEMORY_MS} after the message ended. Two devices may share a key, for a
   * caller names a job and pushes it to many. 1–200 characters.
   */
  key?: string;
  /**
   * With `key`: what was asked for, in the caller's terms, where `ttl` or `delay` are reckoned from something that
   * does not change, such as a date. Compared in place of them.
   */
  content?: string;
  /** Ends (as superseded) every message of this device and kind that is held. `contact-me` always does. */
  replace?: boolean;
  /**
   * For `dls`: what to do, as JSON text. Opaque to the outbox, which drops it when the message ends other than dead.
   * At most {@link ACTIONS_LIMIT_BYTES}.
   */
  actions?: string;
  /** 1–200 characters. */
  campaign?: string;
  /** Held, but not offered until its campaign is released. */
  parked?: boolean;
}

/** A message as the outbox holds it. */
export interface Message {
  id: MessageId;
  device: DeviceId;
  kind: MessageKind;
  /** Grows with each push to the device. */
  generation: number;
  state: MessageState;
  key: string | null;
  campaign: string | null;
  actions: string | null;
  /**
   * For `dls`: what phones have answered, as JSON text, opaque to the outbox; kept as long as the message itself. Null =
   * nothing so far; empty = there were results, and they had to go ({@link OutboxLimits.resultBytes}).
   */
  results: string | null;
  /** For `dls`: while the phone's word is awaited, how long yet; 0 = it should have come. Null = it isn't awaited. */
  awaitedFor: Milliseconds | null;
  /** Held, but not offered until its campaign is released; expires all the same. */
  parked: boolean;
  /** Whether it ended with something that the phone refused or that was not confirmed. */
  failed: boolean;
  /** Wall time of acceptance, for people. */
  acceptedAt: Milliseconds;
  /** Wall time of the end; null while held. */
  endedAt: Milliseconds | null;
  /** Why it ended, in a word or two (`session`, `api`, `newer push`, …); null while held. */
  endedBy: string | null;
  /** From now until it may be offered; 0 = now. */
  dueIn: Milliseconds;
  /** From now until it expires, while held; 0 once ended. */
  expiresIn: Milliseconds;
  /** Sessions that the service answered, not busy, overloaded or cut, which still did not complete it. */
  fruitlessSessions: number;
}

/** What a push came to. */
export interface Accepted {
  message: Message;
  /** True when `key` was known: nothing was changed, and `message` is the one accepted then. */
  known: boolean;
}

/** One change that proxies must learn, or one thing that people are told. */
export interface HistoryEntry {
  seq: Sequence;
  /** Wall time. */
  at: Milliseconds;
  /** Null only for `campaign`. */
  device: DeviceId | null;
  message: MessageId | null;
  /** 0 for `campaign`. */
  generation: number;
  event: 'accepted' | 'redriven' | 'deferred' | EndState | 'note' | 'campaign';
  /** For notes and campaigns: what happened, as a fixed word (`session`, `paused`, …); else how it ended. */
  what: string;
  /** Further facts, never bodies or secrets. */
  facts: Record<string, string | number | boolean | null>;
}

/** What proxies hold of a message that is held here. */
export interface PendingEntry {
  id: MessageId;
  device: DeviceId;
  kind: MessageKind;
  generation: number;
  /** From now until it may be offered; negative = it has been due for so long. */
  dueIn: Milliseconds;
  expiresIn: Milliseconds;
}

/** A change for proxies, in order of `seq`. */
export type Change =
  | ({ op: 'hold'; seq: Sequence } & PendingEntry)
  | { op: 'end'; seq: Sequence; id: MessageId; device: DeviceId; generation: number };

/** A device that the outbox has ever heard of. */
export interface DeviceRecord {
  device: DeviceId;
  /** The newest generation given; 0 = never pushed to. */
  generation: number;
  /** Held messages. */
  pending: number;
  /** Messages that ended dead and weren't re-driven. */
  dead: number;
  /** Wall time of the last session noted, and how it ended; null = none. */
  lastSession: { at: Milliseconds; outcome: string } | null;
}

/** Fewest messages held or oldest session first; with `-` the other way. No session is older than any. */
export type DeviceOrder = 'pending' | '-pending' | 'last_session' | '-last_session';

/** The place of a device in an order: lower scores first, and among equal ones by id. */
export interface DeviceRank {
  score: number;
  device: DeviceId;
}

export interface DeviceQuery {
  /** `pending`: has held messages; `idle`: none; `dead`: has dead ones. */
  state?: 'pending' | 'idle' | 'dead';
  /** Part of the device id, in canonical form or without separators. */
  q?: string;
  /** Continue after this device; without `order` only. */
  cursor?: DeviceId;
  /** Default: by id. */
  order?: DeviceOrder;
  /** With `order`: continue after the device of this rank. */
  after?: DeviceRank;
  /** 1–1000. */
  limit: number;
}

/** Upper bounds; reaching one refuses the new push with OUTBOX_FULL and changes nothing. */
export interface OutboxLimits {
  /** Held messages in all; default 1 000 000. */
  messages: number;
  /** Held messages of one device; default 100. */
  perDevice: number;
  /** Bytes of held actions in all; default 1 GiB. */
  bytes: number;
  /** Bytes of results in all; beyond it those of the messages that ended first are dropped. Default 1 GiB. */
  resultBytes: number;
  /** Operations waiting for a commit; beyond it OUTBOX_BUSY. Default 10 000. */
  waiting: number;
  /** History entries kept; older ones go first. Default 1 000 000. */
  history: number;
  /**
   * Ended messages kept; the oldest go first, but none before its key may be forgotten: while that leaves no
   * room, a push with a key is refused. Default 2 000 000.
   */
  ended: number;
  /** Devices that were ever pushed to; default 2 000 000. */
  devices: number;
  /** Devices that were noted but never pushed to; a note about one more isn't kept. Default 100 000. */
  strangers: number;
}

export const DEFAULT_OUTBOX_LIMITS: OutboxLimits = {
  messages: 1_000_000,
  perDevice: 100,
  bytes: 2 ** 30,
  resultBytes: 2 ** 30,
  waiting: 10_000,
  history: 1_000_000,
  ended: 2_000_000,
  devices: 2_000_000,
  strangers: 100_000,
};

/** The longest actions of one message; beyond it TOO_LARGE. */
export const ACTIONS_LIMIT_BYTES = 4 * 2 ** 20;

/** The longest results of one message; beyond it TOO_LARGE. */
export const RESULTS_LIMIT_BYTES = 2 ** 19;

/** How long an ended message's key still dedupes. */
export const KEY_MEMORY_MS: Milliseconds = 24 * 3_600_000;

/** How long an ended message can be looked up (and a dead one re-driven), counted from when its key is forgotten. */
export const ENDED_MEMORY_MS: Milliseconds = 7 * 24 * 3_600_000;

/**
 * An open outbox. Every promise that changes something resolves after the change is durable, or rejects
 * with nothing changed: REQUEST_INVALID, TOO_LARGE, KEY_REUSED, OUTBOX_FULL, OUTBOX_BUSY, OUTBOX_STORAGE (no room on
 * the disk), OUTBOX_UNAVAILABLE (the server is away), NOT_FOUND, CLOSED. Only when the disk itself failed (see `onFatal`
 * of the engine), and with OUTBOX_UNCERTAIN, is it unknown what was changed. Operations take effect in the order in which they were begun.
 *
 * Reads give at most 10 000 rows, whatever `limit` says.
 */
export interface Outbox {
  readonly incarnation: Incarnation;

  push(push: Push): Promise<Accepted>;
  /** Many at once, in few commits; the results stand in the order of the pushes, an error where one was refused. */
  pushMany(pushes: Push[]): Promise<(Accepted | Error)[]>;

  /**
   * Ends the held messages of a device up to and including `generation` (default: all), of `kind` where named.
   * Never touches a newer generation. Resolves to those that it ended.
   */
  clear(
    device: DeviceId,
    end: { state: 'cleared' | 'cancelled'; by: string; generation?: number; kind?: MessageKind },
  ): Promise<Message[]>;
  /**
   * Ends one message, with the `results` that it came to, in one commit. Resolves to it as it is then; an ended message
   * stays as it ended. `facts` go into the history.
   */
  end(
    id: MessageId,
    end: {
      state: 'cleared' | 'cancelled';
      by: string;
      results?: string;
      facts?: HistoryEntry['facts'];
      failed?: boolean;
    },
  ): Promise<Message>;
  /**
   * Keeps what the phone has answered so far of a held `dls` message. With `wait` > 0 its word is awaited for so long,
   * and the message isn't offered meanwhile; 0 = it is offered at once. Resolves to the message as it is then; an
   * ended one stays as it ended.
   */
  advance(id: MessageId, progress: { results: string; wait: Milliseconds }): Promise<Message>;
  /** Holds a dead message again, with a new generation and its original time to live. REQUEST_INVALID unless dead. */
  redrive(id: MessageId): Promise<Message>;
  /**
   * Counts one fruitless session against the held, due messages of a device up to `generation`, of `kind` where named;
   * those that reach `limit` end as dead (limit 0 = never). Resolves to those that ended.
   */
  fruitless(device: DeviceId, generation: number, limit: number, kind?: MessageKind): Promise<Message[]>;
  /** Ends what is past its time. Resolves to those that ended, at most 10 000 at a time. */
  expire(): Promise<Message[]>;
  /** How long until `expire` has something to do; null = nothing held. */
  nextExpiry(): Promise<Milliseconds | null>;

  /**
   * Adds a note to a device's history. Rides along with the next commit; may be lost in a crash, by design:
   * notes are for people. `session: true` also sets the device's last session; its outcome is the fact `outcome`, or
   * else `what`. Facts are kept short: 20 at most, of 200 characters.
   */
  note(device: DeviceId, what: string, facts?: HistoryEntry['facts'], options?: { session: boolean }): void;

  message(id: MessageId): Promise<Message | null>;
  /** The oldest `dls` message that is held for a device and due; null = none. */
  nextActions(device: DeviceId): Promise<Message | null>;
  /**
   * The held messages of a device for which its word is awaited, oldest first. The actions of one that cannot be opened are
   * null, here and in `overdue`: it must not keep the others from going on.
   */
  awaited(device: DeviceId): Promise<Message[]>;
  /** Messages for which the wait is over, longest first. */
  overdue(limit: number): Promise<Message[]>;
  device(device: DeviceId): Promise<DeviceRecord | null>;
  /** Messages of a device, newest first. */
  messages(device: DeviceId, limit: number): Promise<Message[]>;
  /** All devices by name, after `after` (empty = from the start); fewer than `limit` = there are no more. */
  deviceIds(after: DeviceId | '', limit: number): Promise<DeviceId[]>;
  /** `next` is the last one where there are more; its rank is by {@link rankOf}. */
  devices(query: DeviceQuery): Promise<{ devices: DeviceRecord[]; next: DeviceId | null }>;
  /** History entries, oldest first, after `seq`; of one device where named. */
  history(query: { after: Sequence; limit: number; device?: DeviceId }): Promise<HistoryEntry[]>;
  /** The newest entries of one device, newest first. */
  recentHistory(device: DeviceId, limit: number): Promise<HistoryEntry[]>;
  counts(): Promise<OutboxCounts>;
  /** Progress of a campaign; no states when unknown. */
  campaign(name: string): Promise<CampaignProgress>;
  /**
   * Parks the held messages of a campaign, but those for which a phone's word is awaited: they are not offered until
   * they are released. Resolves to how many were.
   */
  park(campaign: string): Promise<number>;
  /**
   * Offers parked messages of a campaign again, `most` at most (default: all), the oldest first and each `spacing` after
   * the one before it; none before its own time. Resolves to how many were.
   */
  release(campaign: string, how: { spacing: Milliseconds; most?: number }): Promise<number>;
  /** Whether a message of a campaign is held. */
  holdsCampaign(name: string): Promise<boolean>;
  /** Ends every held message of a campaign as cancelled. Resolves to how many were. */
  abandon(campaign: string, by: string): Promise<number>;
  /**
   * Keeps a campaign's own record, opaque to the outbox, in place of `former` (null = it has none), and tells of it in the
   * history with the same commit where `told` is given. Resolves to false, and changes nothing, where another record than
   * `former` is kept by now.
   */
  keepCampaign(name: string, settings: string, former: string | null, told?: CampaignNews): Promise<boolean>;
  campaignRecord(name: string): Promise<string | null>;
  /** Campaigns with a record, in the order of their names, after `after` (empty = from the start). */
  campaigns(after: string, limit: number): Promise<{ name: string; settings: string }[]>;

  /** The newest committed sequence, as far as is known here: another relay may have gone on. */
  sequence(): Sequence;
  /** Asks the store itself for the newest committed sequence; from then on `sequence` is no older. */
  refresh(): Promise<Sequence>;
  /**
   * Changes after `after` in order, at most `limit`, and the sequence reached; null = no longer kept, or `after` is
   * still to come: take a snapshot. There is more unless the sequence reached is the newest: notes count towards
   * `limit`, and what was held and has ended since is left out (its end is not).
   */
  changes(after: Sequence, limit: number): Promise<{ changes: Change[]; seq: Sequence } | null>;
  /**
   * Everything held, in parts of at most `limit`; one part at least. Nothing waits for it, so it isn't frozen: the
   * parts are read one after another, and all bear the sequence of the first. Whoever applies them and then the
   * `changes` after that sequence has it right, if an entry gives way only to its own or a newer generation: what
   * came or went while it was read is told again by those changes.
   */
  snapshot(limit: number): AsyncIterable<{ seq: Sequence; entries: PendingEntry[] }>;
  /** Calls `listener` after each commit that changed something. Returns the way to stop. */
  onCommit(listener: (seq: Sequence) => void): () => void;

  /**
   * Calls `listener` when another relay that shares the store has begun a new incarnation: what was read before may be
   * of another past. Returns the way to stop.
   */
  onRenewed(listener: () => void): () => void;
  /** Starts a new incarnation, because a proxy has proved that this store went back in time. */
  renew(): Promise<Incarnation>;
  /** Ends once all operations that were begun have ended. */
  close(): Promise<void>;
}

/** What the history tells of a campaign; `facts` as those of an entry. */
export type CampaignNews = Pick<HistoryEntry, 'what' | 'facts'>;

export interface CampaignProgress {
  /** Messages by state; those that ended long ago are forgotten. */
  states: Partial<Record<MessageState, number>>;
  /** Of those held. */
  parked: number;
  /** Of those ended. */
  failed: number;
}

export interface OutboxCounts {
  devices: number;
  held: number;
  heldBytes: number;
  /** Messages ever accepted in this store, and ever ended by state: accepted = ended + held, in every committed state. */
  accepted: number;
  ended: Record<EndState, number>;
}

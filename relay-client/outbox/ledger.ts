import type { Milliseconds } from '../../shared/clock.ts';
import type { DeviceId } from '../../shared/device-id.ts';
import type {
  Accepted,
  CampaignNews,
  CampaignProgress,
  Change,
  DeviceOrder,
  DeviceQuery,
  DeviceRecord,
  HistoryEntry,
  Incarnation,
  Message,
  MessageId,
  MessageKind,
  OutboxCounts,
  PendingEntry,
  Sequence,
} from './outbox.ts';

/** A {@link DeviceQuery} with an order. */
export type RankQuery = DeviceQuery & { order: DeviceOrder };

/**
 * What an engine must be able to do, one call at a time and without waiting: the front turns calls of the
 * outbox into these, stamped with time and named by random ids, so that a ledger is a plain function of the calls
 * it was given. A call that changes something either changes all it should, or throws a SallyportError and
 * changes nothing.
 */
export interface Ledger {
  push(now: Now, request: PushRequest): Accepted;
  pushMany(now: Now, requests: PushRequest[]): (Accepted | Refusal)[];
  clear(now: Now, device: DeviceId, end: ClearRequest): Message[];
  end(now: Now, id: MessageId, end: EndRequest): Message;
  advance(now: Now, id: MessageId, progress: ProgressRequest): Message;
  redrive(now: Now, id: MessageId): Message;
  fruitless(now: Now, device: DeviceId, generation: number, limit: number, kind?: MessageKind): Message[];
  expire(now: Now): Message[];
  renew(now: Now, incarnation: Incarnation): Incarnation;
  note(now: Now, device: DeviceId, what: string, facts: HistoryEntry['facts'], session: boolean): void;
  /** Remembers the time, and nothing else. */
  touch(now: Now): void;

  nextExpiry(now: Now): Milliseconds | null;
  message(now: Now, id: MessageId): Message | null;
  nextActions(now: Now, device: DeviceId): Message | null;
  awaited(now: Now, device: DeviceId): Message[];
  overdue(now: Now, limit: number): Message[];
  device(now: Now, device: DeviceId): DeviceRecord | null;
  messages(now: Now, device: DeviceId, limit: number): Message[];
  deviceIds(now: Now, after: DeviceId | '', limit: number): DeviceId[];
  /** Looks at no more than {@link SCAN_STEP} devices; `next` is where to go on, null = the end. */
  scanDevices(now: Now, query: DeviceQuery): { devices: DeviceRecord[]; next: DeviceId | null };
  /**
   * Of the {@link SCAN_STEP} devices after `cursor` the first `limit` in the order, those after the rank; `next` is where
   * to look on, null = the end.
   */
  rankDevices(now: Now, query: RankQuery): { devices: DeviceRecord[]; next: DeviceId | null };
  history(now: Now, query: { after: Sequence; limit: number; device?: DeviceId }): HistoryEntry[];
  recentHistory(now: Now, device: DeviceId, limit: number): HistoryEntry[];
  counts(now: Now): OutboxCounts;
  campaign(now: Now, name: string): CampaignProgress;
  /** These three do no more than {@link CAMPAIGN_STEP} messages a call, and say how many. */
  park(now: Now, campaign: string): number;
  /** `from` is how many of them were released before in the same go. */
  release(now: Now, campaign: string, how: { spacing: Milliseconds; from: number; most: number }): number;
  abandon(now: Now, campaign: string, by: string): number;
  holdsCampaign(now: Now, name: string): boolean;
  keepCampaign(now: Now, name: string, settings: string, former: string | null, told?: CampaignNews): boolean;
  campaignRecord(now: Now, name: string): string | null;
  campaigns(now: Now, after: string, limit: number): { name: string; settings: string }[];
  changes(now: Now, after: Sequence, limit: number): { changes: Change[]; seq: Sequence } | null;
  /** What is held, in order of expiry, after `cursor` (null = from the start). */
  held(now: Now, cursor: HeldCursor | null, limit: number): HeldPage;
}

export type Method = keyof Ledger;

export type Arguments<M extends Method> =
  Parameters<Ledger[M]> extends [Now, ...infer Rest extends unknown[]] ? Rest : never;

/** The calls about campaigns. */
export type CampaignMethod =
  | 'park'
  | 'release'
  | 'abandon'
  | 'campaign'
  | 'holdsCampaign'
  | 'keepCampaign'
  | 'campaignRecord'
  | 'campaigns';

/** The calls that change nothing, but for those about campaigns. */
export type LookingMethod =
  | 'nextExpiry'
  | 'message'
  | 'nextActions'
  | 'awaited'
  | 'overdue'
  | 'device'
  | 'messages'
  | 'deviceIds'
  | 'scanDevices'
  | 'rankDevices'
  | 'history'
  | 'recentHistory'
  | 'counts'
  | 'changes'
  | 'held';

/** The calls that change something. */
export const CHANGING: ReadonlySet<Method> = new Set<Method>([
  'push',
  'pushMany',
  'clear',
  'end',
  'advance',
  'redrive',
  'fruitless',
  'expire',
  'renew',
  'park',
  'release',
  'abandon',
  'keepCampaign',
  'note',
  'touch',
]);

/** When a call was made. */
export interface Now {
  /** Store time in whole ms: never goes back, also not across restarts; see the front. */
  at: Milliseconds;
  /** Wall time in whole ms, for people. */
  wall: Milliseconds;
  /** How far the wall clock was ahead of store time, in whole ms, when it was furthest ahead. Never shrinks. */
  ahead: Milliseconds;
}

/** A push with everything decided. */
export interface PushRequest {
  id: MessageId;
  device: DeviceId;
  kind: MessageKind;
  ttl: Milliseconds;
  delay: Milliseconds;
  key: string | null;
  /** Digest of the content, where there is a key. */
  content: string | null;
  replace: boolean;
  actions: string | null;
  /** Bytes of `actions`. */
  bytes: number;
  campaign: string | null;
  parked: boolean;
}

export interface EndRequest {
  state: 'cleared' | 'cancelled';
  by: string;
  results?: string;
  facts?: HistoryEntry['facts'];
  failed?: boolean;
}

export interface ProgressRequest {
  results: string;
  wait: Milliseconds;
}

export interface ClearRequest extends Pick<EndRequest, 'state' | 'by'> {
  generation?: number;
  kind?: MessageKind;
}

/** An error as plain data: it crosses threads. */
export interface Refusal {
  code: string;
  message: string;
}

export interface HeldCursor {
  expiresAt: Milliseconds;
  /** Number of the message in the store. */
  n: number;
}

export interface HeldPage {
  seq: Sequence;
  entries: PendingEntry[];
  /** Where the next page starts; null = this was the last. */
  cursor: HeldCursor | null;
}

/** Events after which proxies must hold the message, as it is then. */
export const HOLDING: ReadonlySet<HistoryEntry['event']> = new Set(['accepted', 'redriven', 'deferred']);

/** Messages that one call of `expire` ends, and ended messages that it forgets, at most: pushes wait no longer. */
export const EXPIRE_STEP = 1000;

/** Ended messages that one push forgets at most: more than it can end, on average, so that they don't pile up. */
export const FORGET_PER_PUSH = 4;

/** Messages whose results one end drops at most, where there are too many bytes of them: more than it adds, on average. */
export const DROP_PER_END = 4;

/** Messages of a campaign that one call parks, releases or ends, so that pushes don't wait for a big one. */
export const CAMPAIGN_STEP = 1000;

/** Devices that one step of a query looks at, so that pushes don't wait for a long search. */
export const SCAN_STEP = 10_000;

/** Makes a call whose arguments were checked where it was begun. */
export function callLedger(ledger: Ledger, method: Method, now: Now, args: readonly unknown[]): unknown {
  const call = ledger[method] as unknown as (this: Ledger, now: Now, ...args: readonly unknown[]) => unknown;
  return call.call(ledger, now, ...args);
}

import type { DeviceId } from '../../../shared/device-id.ts';
import type { Now, PushRequest } from '../ledger.ts';
import type {
  DeviceRecord,
  HistoryEntry,
  Message,
  MessageKind,
  MessageState,
  PendingEntry,
} from '../outbox.ts';

/** What a column holds. */
export type Value = string | number | null;

/** The one row of `store`. */
export interface StoreRow {
  one: 1;
  incarnation: string;
  file: string;
  store_time: number;
  wall_ahead: number;
  seq: number;
  held: number;
  held_bytes: number;
  accepted: number;
  cleared: number;
  superseded: number;
  expired: number;
  cancelled: number;
  dead: number;
  /** Ended messages still kept. */
  kept: number;
  devices: number;
  strangers: number;
  result_bytes: number;
  sum: number;
}

/** The counters and the rest of the row of `store` that a ledger keeps. */
export type Books = Omit<StoreRow, 'one' | 'file' | 'sum'>;

export const BOOKS = [
  'incarnation',
  'store_time',
  'wall_ahead',
  'seq',
  'held',
  'held_bytes',
  'accepted',
  'cleared',
  'superseded',
  'expired',
  'cancelled',
  'dead',
  'kept',
  'devices',
  'strangers',
  'result_bytes',
] as const satisfies (keyof Books)[];

export interface DeviceRow {
  device: string;
  generation: number;
  pending: number;
  dead: number;
  session_wall: number | null;
  outcome: string | null;
}

export interface MessageRow {
  n: number;
  id: string;
  device: DeviceId;
  held: 0 | 1;
  generation: number;
  kind: MessageKind;
  state: MessageState;
  accepted_wall: number;
  ended_wall: number | null;
  ended_by: string | null;
  ttl: number;
  due_at: number;
  expires_at: number;
  forget_at: number | null;
  fruitless: number;
  key: string | null;
  /** A digest; sealed where there are actions. */
  content: string | null;
  campaign: string | null;
  bytes: number;
  /** Sealed. */
  actions: string | null;
  /** Sealed, unless empty. */
  results: string | null;
  result_bytes: number;
  awaited_until: number | null;
  /** Of a parked message: when it would be due. */
  parked_due: number | null;
  failed: 0 | 1;
}

export interface HistoryRow {
  seq: number;
  wall: number;
  /** Empty where it is about none. */
  device: string;
  message: string | null;
  generation: number;
  event: HistoryEntry['event'];
  what: string;
  facts: string | null;
}

export type PendingRow = Pick<MessageRow, 'id' | 'device' | 'kind' | 'generation' | 'due_at' | 'expires_at'>;

/** A history entry, with what is held of its message in the same generation; nulls where nothing is. */
export interface ChangeRow extends Pick<HistoryRow, 'seq' | 'event' | 'message'> {
  device: DeviceId;
  generation: number;
  kind: MessageKind | null;
  due_at: number;
  expires_at: number;
}

/** A message's columns but for its number. Sums of rows in SQLite are over just these, in this order. */
export const CONTENT_COLUMNS = [
  'id',
  'device',
  'held',
  'generation',
  'kind',
  'state',
  'accepted_wall',
  'ended_wall',
  'ended_by',
  'ttl',
  'due_at',
  'expires_at',
  'forget_at',
  'fruitless',
  'key',
  'content',
  'campaign',
  'bytes',
  'actions',
  'results',
  'result_bytes',
  'awaited_until',
  'parked_due',
  'failed',
] as const satisfies (keyof MessageRow)[];

export const MESSAGE_COLUMNS = ['n', ...CONTENT_COLUMNS] as const;

/** What a fresh message is written with; it is held, and the rest is as the tables have it. */
export const FRESH_COLUMNS = [
  'id',
  'device',
  'generation',
  'kind',
  'accepted_wall',
  'ttl',
  'due_at',
  'expires_at',
  'key',
  'content',
  'campaign',
  'bytes',
  'actions',
  'parked_due',
] as const satisfies (keyof MessageRow)[];

/** Whom an entry of the history is about that is about no device. */
export const NO_DEVICE = { device: '', generation: 0, id: null } as const;

/** An entry of the history is summed whole. */
export const HISTORY_COLUMNS = [
  'seq',
  'wall',
  'device',
  'message',
  'generation',
  'event',
  'what',
  'facts',
] as const satisfies (keyof HistoryRow)[];

/** What a row holds sealed, opened. */
export type Contents = Pick<Message, 'actions' | 'results'>;

export function messageOf(row: MessageRow, now: Now, { actions, results }: Contents): Message {
  return {
    id: row.id,
    device: row.device,
    kind: row.kind,
    generation: row.generation,
    state: row.state,
    key: row.key,
    campaign: row.campaign,
    actions,
    results,
    awaitedFor: row.held === 1 && row.awaited_until !== null ? Math.max(0, row.awaited_until - now.at) : null,
    parked: row.held === 1 && row.parked_due !== null,
    failed: row.failed === 1,
    acceptedAt: row.accepted_wall,
    endedAt: row.ended_wall,
    endedBy: row.ended_by,
    dueIn: row.held === 1 ? Math.max(0, row.due_at - now.at) : 0,
    expiresIn: row.held === 1 ? Math.max(0, row.expires_at - now.at) : 0,
    fruitlessSessions: row.fruitless,
  };
}

/** A message as it is at the moment of its push. */
export function freshMessage(now: Now, request: PushRequest, generation: number): Message {
  const { id, device, kind, key, campaign, actions, parked, ttl, delay } = request;
  return {
    id,
    device,
    kind,
    generation,
    state: 'held',
    key,
    campaign,
    actions,
    results: null,
    awaitedFor: null,
    parked,
    failed: false,
    acceptedAt: now.wall,
    endedAt: null,
    endedBy: null,
    dueIn: parked ? ttl : delay,
    expiresIn: ttl,
    fruitlessSessions: 0,
  };
}

export function pendingOf(row: PendingRow, now: Now): PendingEntry {
  return {
    id: row.id,
    device: row.device,
    kind: row.kind,
    generation: row.generation,
    dueIn: row.due_at - now.at,
    expiresIn: Math.max(0, row.expires_at - now.at),
  };
}

export function deviceRecord(row: DeviceRow): DeviceRecord {
  const { generation, pending, dead, session_wall: at, outcome } = row;
  return {
    device: row.device as DeviceId,
    generation,
    pending,
    dead,
    lastSession: at === null ? null : { at, outcome: outcome ?? '' },
  };
}

export function historyEntry(row: HistoryRow): HistoryEntry {
  const { seq, wall: at, message, generation, event, what } = row;
  const device = row.device === '' ? null : (row.device as DeviceId);
  const facts = row.facts === null ? {} : (JSON.parse(row.facts) as HistoryEntry['facts']);
  return { seq, at, device, message, generation, event, what, facts };
}

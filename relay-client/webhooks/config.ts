import type { Milliseconds } from '../../shared/clock.ts';
import type { HistoryEntry } from '../outbox/outbox.ts';

/** Where to tell what happens to messages. */
export interface WebhookConfig {
  /** Its own among all webhooks; names it in logs and metrics, and the file of its place. */
  name: string;
  /** Gets a POST for each batch. `http:` or `https:`. */
  url: URL;
  /** File of the secret that requests are signed with. */
  secretFile: string;
  /** The events that it is told of. */
  events: readonly HistoryEntry['event'][];
  /** File of authorities to judge its certificate by; null = the system's. */
  caFile: string | null;
}

/** Every event that can be told of, in the order of a message's life; `note` is about a device, `campaign` about many. */
export const WEBHOOK_EVENTS = [
  'accepted',
  'redriven',
  'deferred',
  'cleared',
  'superseded',
  'expired',
  'cancelled',
  'dead',
  'note',
  'campaign',
] as const satisfies HistoryEntry['event'][];

/** What a webhook is told of unless it says otherwise: how messages end. */
export const DEFAULT_WEBHOOK_EVENTS: readonly HistoryEntry['event'][] = [
  'cleared',
  'superseded',
  'expired',
  'cancelled',
  'dead',
];

export interface WebhookLimits {
  /** Webhooks in a config. */
  webhooks: number;
  /** Entries of the history that are read at once. */
  page: number;
  /** Events in one request. */
  batch: number;
  /** Entries that may pass without an event for the webhook before its place is written down all the same. */
  placeEntries: number;
  /** Between two looks at the history while nothing is committed: notes ride along with commits that don't tell. */
  lookMs: Milliseconds;
  /** From dialling to the answer's last byte. */
  answerMs: Milliseconds;
  /** Bytes of an answer that are read; the rest is cut off. */
  answerBytes: number;
  /** The first wait after a failure; it doubles with each further one. */
  firstWaitMs: Milliseconds;
  /** The longest wait, also where `Retry-After` asks for more. */
  longestWaitMs: Milliseconds;
  /** For the answer that is awaited when the relay ends; then the batch is told again after the next start. */
  closeMs: Milliseconds;
  /** How long a batch is tried; then it is given up and counted. */
  giveUpMs: Milliseconds;
}

export const DEFAULT_WEBHOOK_LIMITS: WebhookLimits = {
  webhooks: 16,
  page: 1_000,
  batch: 100,
  placeEntries: 10_000,
  lookMs: 5_000,
  answerMs: 10_000,
  answerBytes: 65_536,
  firstWaitMs: 1_000,
  longestWaitMs: 300_000,
  closeMs: 2_000,
  giveUpMs: 86_400_000,
};

import { SallyportError } from '../../shared/errors.ts';
import { contentDigest } from './ids.ts';
import type { PushRequest } from './ledger.ts';
import { ACTIONS_LIMIT_BYTES, RESULTS_LIMIT_BYTES } from './outbox.ts';
import type { HistoryEntry, MessageId, Push } from './outbox.ts';
import { resultsTooLarge, tooLarge } from './refusals.ts';

/** Characters of a key, a campaign's name, or a word in a note. */
const NAME_LIMIT = 200;

/** Rows that one read gives at most. */
const READ_LIMIT = 10_000;

/** Facts of a note, at most; the rest is left out. */
const FACTS_LIMIT = 20;

/** The longest time that may be asked for: 10 years. */
const TIME_LIMIT_MS = 10 * 366 * 24 * 3_600_000;

/**
 * Makes of what a caller wants what a ledger takes.
 *
 * @throws SallyportError REQUEST_INVALID, TOO_LARGE
 */
export function pushRequest(id: MessageId, push: Push): PushRequest {
  const ttl = checkTime('ttl', push.ttl, 1);
  const delay = checkTime('delay', push.delay, 0);
  const key = checkName('key', push.key);
  const actions = checkText(push.actions);
  const bytes = actions === null ? 0 : Buffer.byteLength(actions);
  if (bytes > ACTIONS_LIMIT_BYTES) throw tooLarge(push.device, bytes);
  return {
    id,
    device: push.device,
    kind: push.kind,
    ttl,
    delay,
    key,
    content: key === null ? null : digestOf(push, ttl, delay),
    replace: push.replace ?? false,
    actions,
    bytes,
    campaign: checkName('campaign', push.campaign),
    parked: push.parked ?? false,
  };
}

/** What another push under the same key is compared by. */
function digestOf({ kind, actions, content }: Push, ttl: number, delay: number): string {
  if (content === undefined) return contentDigest(kind, actions ?? null, ttl, delay);
  return contentDigest(kind, JSON.stringify([content, actions ?? null]), 0, 0);
}

function checkTime(name: string, value: number, least: number): number {
  const whole = Math.ceil(value);
  if (whole >= least && whole <= TIME_LIMIT_MS) return whole;
  throw new SallyportError(
    'REQUEST_INVALID',
    `The push has a ${name} of ${value} ms; it must be ${least} to ${TIME_LIMIT_MS} ms.`,
  );
}

function checkName(name: string, value: string | undefined): string | null {
  if (value === undefined) return null;
  const fits = value.length >= 1 && value.length <= NAME_LIMIT;
  // PostgreSQL has no character 0 in its texts.
  if (fits && value.isWellFormed() && !value.includes('\0')) return value;
  throw new SallyportError(
    'REQUEST_INVALID',
    `The push has a ${name} of ${value.length} characters; it must be 1 to ${NAME_LIMIT}, in Unicode, none of them 0.`,
  );
}

/** @throws SallyportError TOO_LARGE, REQUEST_INVALID */
export function checkResults(id: MessageId, results: string): void {
  const bytes = Buffer.byteLength(results);
  if (bytes > RESULTS_LIMIT_BYTES) throw resultsTooLarge(id, bytes);
  if (results.isWellFormed()) return;
  throw new SallyportError('REQUEST_INVALID', `The results of message ${id} have half a character in them.`);
}

/** How many rows a read gives that asked for `limit`. */
export function clampLimit(limit: number): number {
  return Math.min(Math.max(1, Math.floor(limit)), READ_LIMIT);
}

/** Facts as long as a note may have them. */
export function clipFacts(facts: HistoryEntry['facts']): HistoryEntry['facts'] {
  const clipped = Object.entries(facts)
    .slice(0, FACTS_LIMIT)
    .map(([name, fact]) => [
      name.slice(0, NAME_LIMIT),
      typeof fact === 'string' ? fact.slice(0, NAME_LIMIT) : fact,
    ]);
  return Object.fromEntries(clipped) as HistoryEntry['facts'];
}

/** A word or two of a note, as long as they may be. */
export function clipText(text: string): string {
  return text.slice(0, NAME_LIMIT);
}

/** SQLite would put other characters in place of a broken one, and the push would not be the one that was asked for. */
function checkText(actions: string | undefined): string | null {
  if (actions === undefined || actions.isWellFormed()) return actions ?? null;
  throw new SallyportError(
    'REQUEST_INVALID',
    'The push has actions with half a character (a lone surrogate) in them.',
  );
}

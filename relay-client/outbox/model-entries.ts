import type { Now } from './ledger.ts';
import type { Message, PendingEntry } from './outbox.ts';

/** A message, with its times in store time. */
export interface Entry extends Omit<Message, 'dueIn' | 'expiresIn' | 'awaitedFor' | 'parked'> {
  /** Grows with each acceptance. */
  n: number;
  content: string | null;
  bytes: number;
  ttl: number;
  dueAt: number;
  expiresAt: number;
  awaitedUntil: number | null;
  /** Of a parked message: when it would be due. */
  parkedDue: number | null;
  /** Once ended: when its key is forgotten. */
  forgetAt: number;
}

export const isHeld = (entry: Entry): boolean => entry.state === 'held';
export const byGeneration = (a: Entry, b: Entry): number => a.generation - b.generation;
export const byExpiry = (a: Entry, b: Entry): number => a.expiresAt - b.expiresAt || a.n - b.n;

/** The message as callers see it. */
export function view(entry: Entry, now: Now): Message {
  const { id, device, kind, generation, state, key, campaign, actions, results, acceptedAt } = entry;
  const { endedAt, endedBy, awaitedUntil, parkedDue, failed } = entry;
  return {
    id,
    device,
    kind,
    generation,
    state,
    key,
    campaign,
    actions,
    results,
    awaitedFor: isHeld(entry) && awaitedUntil !== null ? Math.max(0, awaitedUntil - now.at) : null,
    parked: isHeld(entry) && parkedDue !== null,
    failed,
    acceptedAt,
    endedAt,
    endedBy,
    dueIn: isHeld(entry) ? Math.max(0, entry.dueAt - now.at) : 0,
    expiresIn: isHeld(entry) ? Math.max(0, entry.expiresAt - now.at) : 0,
    fruitlessSessions: entry.fruitlessSessions,
  };
}

/** The message as proxies are told of it. */
export function pending(entry: Entry, now: Now): PendingEntry {
  const { id, device, kind, generation, expiresIn } = view(entry, now);
  return { id, device, kind, generation, dueIn: entry.dueAt - now.at, expiresIn };
}

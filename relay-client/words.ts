import type { Milliseconds } from '../shared/clock.ts';

/** How people are told amounts and times. */

/** ISO 8601 in UTC. */
export function iso(at: Milliseconds): string {
  return new Date(at).toISOString();
}

/** `1 session`, `2 sessions`. */
export function count(n: number, noun: string): string {
  return `${n} ${noun}${n === 1 ? '' : 's'}`;
}

/** How long ago `at` was. */
export function ago(now: Milliseconds, at: Milliseconds): string {
  return now - at < 1000 ? 'just now' : `${span(now - at)} ago`;
}

/** A length of time in the unit that a person would choose. */
export function span(ms: Milliseconds): string {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 90) return `${seconds} s`;
  if (seconds < 90 * 60) return `${Math.round(seconds / 60)} min`;
  if (seconds < 36 * 3600) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86_400)} days`;
}

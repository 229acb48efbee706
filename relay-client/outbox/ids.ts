import { hash } from 'node:crypto';

/** Gives `size` random bytes; `crypto.randomBytes` is one. */
export type RandomBytes = (size: number) => Uint8Array;

/**
 * A UUID of version 7 (RFC 9562 §5.7): 48 bits of wall time, 74 random bits. The time in front lets an index over
 * ids grow at its end, which at a million messages is what keeps a commit small; uniqueness rests on the
 * random bits, so a clock that jumps does no harm.
 */
export function createId(wall: number, random: RandomBytes): string {
  const bytes = random(10);
  const time = Math.max(0, Math.floor(wall)).toString(16).padStart(12, '0').slice(-12);
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
  const variant = (8 + ((bytes[9] ?? 0) & 3)).toString(16);
  return `${time.slice(0, 8)}-${time.slice(8)}-7${hex.slice(0, 3)}-${variant}${hex.slice(3, 6)}-${hex.slice(6, 18)}`;
}

/** A random UUID (version 4) that names an incarnation. */
export function createIncarnation(random: RandomBytes): string {
  const hex = Array.from(random(16), (byte) => byte.toString(16).padStart(2, '0')).join('');
  const variant = (8 + (Number.parseInt(hex.slice(16, 17), 16) & 3)).toString(16);
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-${variant}${hex.slice(17, 20)}-${hex.slice(20)}`;
}

/** What two pushes under one key must have in common: a digest, so that ended messages needn't keep their bodies. */
export function contentDigest(kind: string, actions: string | null, ttl: number, delay: number): string {
  return hash('sha256', JSON.stringify([kind, ttl, delay, actions]), 'base64url');
}

import { hash } from 'node:crypto';

/** Gives `size` random bytes; `crypto.randomBytes` is one. */
export type RandomBytes = (size: number) => Uint8Array;

const RANDOM_PER_ID = 10;

/** Ids made from one draw of random bytes: a draw costs more than an id. */
const IDS_PER_DRAW = 100;

/**
 * Makes UUIDs of version 7 (RFC 9562 §5.7): 48 bits of wall time, 74 random bits. The time in front lets an index
 * over ids grow at its end, which at a million messages is what keeps a commit small; uniqueness rests on the
 * random bits, so a clock that jumps does no harm.
 */
export function createIdMaker(random: RandomBytes): (wall: number) => string {
  let pool = '';
  let used = 0;
  return (wall) => {
    if (used === pool.length) {
      pool = Buffer.from(random(RANDOM_PER_ID * IDS_PER_DRAW)).toString('hex');
      used = 0;
    }
    const hex = pool.slice(used, (used += RANDOM_PER_ID * 2));
    const time = Math.max(0, Math.floor(wall)).toString(16).padStart(12, '0').slice(-12);
    return `${time.slice(0, 8)}-${time.slice(8)}-7${hex.slice(0, 3)}-${variant(hex[3])}${hex.slice(4, 7)}-${hex.slice(7, 19)}`;
  };
}

/** A random UUID (version 4) that names an incarnation. */
export function createIncarnation(random: RandomBytes): string {
  const hex = Buffer.from(random(16)).toString('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-${variant(hex[16])}${hex.slice(17, 20)}-${hex.slice(20)}`;
}

/** What two pushes under one key must have in common: a digest, so that ended messages needn't keep their bodies. */
export function contentDigest(kind: string, actions: string | null, ttl: number, delay: number): string {
  return hash('sha256', JSON.stringify([kind, ttl, delay, actions]), 'base64url');
}

/** The digit that holds the variant of a UUID (RFC 9562 §4.1), with two random bits. */
function variant(digit = '0'): string {
  return (8 + (Number.parseInt(digit, 16) & 3)).toString(16);
}

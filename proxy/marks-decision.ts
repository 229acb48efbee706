import type { Milliseconds } from '../shared/clock.ts';
import {
  ACTIONS,
  ADMIT,
  ALIVE_UNTIL,
  COURIER,
  DIRECT,
  EXPIRY,
  FLAGS,
  GAP_UNTIL,
  NOT_BEFORE,
  PENDING,
  QUIET_UNTIL,
  SITE_FLAGS,
  UPSTREAM_OK,
  mask,
} from './marks-layout.ts';

/** What a poll is told, by what the marks hold of its device and its site. */

/** How long a device keeps the same admission ticket. Polls that come each 30, 60, … s do not keep step with it. */
export const ADMISSION_WINDOW_MS: Milliseconds = 11_000;

/** A mark as `decide` sees it. The times are in any one unit, the same for all. */
export interface MarkView {
  pending: boolean;
  /** Default false. */
  actions?: boolean;
  notBefore: number;
  expiry: number;
  quietUntil: number;
  gapUntil: number;
}

/** A site as `decide` sees it. */
export interface SiteView {
  aliveUntil: number;
  upstreamOk: boolean;
  /** Default false. */
  courier?: boolean;
  direct: boolean;
  /** 0 (nobody) to `ADMIT_ALL`. */
  admit: number;
}

/** Why a poll is answered with 202 (`offer`) or with 200 (the first reason that holds, in this order). */
export type Verdict =
  | 'offer'
  | 'idle'
  | 'too_early'
  | 'expired'
  | 'in_session'
  | 'session_gap'
  | 'link_down'
  | 'upstream_down'
  | 'not_admitted';

/**
 * Whether a poll is to be answered with 202: only when a session could succeed now.
 *
 * @param ticket - of {@link admissionTicket}
 */
export function decide(mark: MarkView, site: SiteView, now: number, ticket: number): Verdict {
  if (!mark.pending) return 'idle';
  if (now < mark.notBefore) return 'too_early';
  if (now >= mark.expiry) return 'expired';
  if (now < mark.quietUntil) return 'in_session';
  if (now < mark.gapUntil) return 'session_gap';
  if (!site.direct) {
    if (now >= site.aliveUntil) return 'link_down';
    if (!site.upstreamOk && (mark.actions !== true || site.courier !== true)) return 'upstream_down';
  }
  return ticket < site.admit ? 'offer' : 'not_admitted';
}

/**
 * Whether {@link decide} would say `offer`: 1 or 0. Every condition is looked at, whichever fails, and nothing
 * branches, so that how long it takes tells nobody what holds a device back, or that there is nothing to hold back.
 *
 * @param entry - the `ENTRY_WORDS` words of a device
 * @param site - the `SITE_WORDS` words of its site
 */
export function offers(entry: Int32Array, site: Int32Array, now: number, ticket: number): number {
  const flags = entry[FLAGS] ?? 0;
  const siteFlags = site[SITE_FLAGS] ?? 0;
  const upstream = bit(siteFlags, UPSTREAM_OK) | (bit(flags, ACTIONS) & bit(siteFlags, COURIER));
  return (
    bit(flags, PENDING) &
    (1 - before(now, entry[NOT_BEFORE] ?? 0)) &
    before(now, entry[EXPIRY] ?? 0) &
    (1 - before(now, entry[QUIET_UNTIL] ?? 0)) &
    (1 - before(now, entry[GAP_UNTIL] ?? 0)) &
    (bit(siteFlags, DIRECT) | (before(now, site[ALIVE_UNTIL] ?? 0) & upstream)) &
    before(ticket, site[ADMIT] ?? 0)
  );
}

/** 1 where `a` is less than `b`, as unsigned words, else 0, without a branch. */
function before(a: number, b: number): number {
  return ((~a & b) | ((~a | b) & (a - b))) >>> 31;
}

/** 1 where `flags` have the flag, else 0, without a branch. */
function bit(flags: number, flag: number): number {
  return mask(flags & flag) & 1;
}

/**
 * A number from 0 to 65535 that belongs to a device for one window of time and is as good as random otherwise:
 * of many devices a share of `admit / ADMIT_ALL` is admitted, and each device gets its turn.
 *
 * @param hash - the low word of the device's keyed hash, so that nobody outside can tell its turns
 */
export function admissionTicket(hash: number, now: Milliseconds): number {
  let mixed = hash ^ Math.imul(Math.floor(now / ADMISSION_WINDOW_MS), 0x9e3779b1);
  // The finishing steps of MurmurHash3 (32 bits): each bit of the input moves each bit of the output.
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85ebca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
  return (mixed ^ (mixed >>> 16)) & 0xffff;
}

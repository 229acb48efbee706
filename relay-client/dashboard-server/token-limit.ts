import { LRUCache } from 'lru-cache';
import { peerGroup } from '../../shared/address.ts';
import type { Clock, Milliseconds } from '../../shared/clock.ts';

/**
 * Slows down who guesses tokens, at the sign-in form or as `Authorization: Bearer`, by {@link peerGroup}: one host has all
 * addresses of an IPv6 network.
 */
export interface TokenLimit {
  /** How long an address has to wait before it may try; 0 = it may now. */
  wait(address: string): Milliseconds;
  /** A token was wrong. True = that was the last one for now. */
  failed(address: string): boolean;
  /** Somebody signed in. */
  succeeded(address: string): void;
  /**
   * A program sent the right token. It doesn't take back what others at that address guessed, or they would guess in
   * the shadow of its requests.
   */
  vouch(address: string): void;
  /**
   * Whether a program at that address sent the right token within {@link VOUCHED_MS}. It is not made to wait, or whoever
   * shares its address, such as that of a reverse proxy, could keep it from pushing.
   */
  vouched(address: string): boolean;
}

/** Wrong tokens that an address may send within {@link FAILURES_MS}; then it waits until that is over. */
export const FAILURES = 5;
export const FAILURES_MS: Milliseconds = 60_000;
export const VOUCHED_MS: Milliseconds = 3_600_000;
/** Addresses that are remembered of either kind; the one that was heard of longest ago is forgotten. */
const ADDRESSES = 10_000;

export function createTokenLimit(clock: Clock): TokenLimit {
  const failures = new LRUCache<string, { count: number; since: Milliseconds }>({ max: ADDRESSES });
  const vouchers = new LRUCache<string, { at: Milliseconds }>({ max: ADDRESSES });
  const left = (since: Milliseconds): Milliseconds => since + FAILURES_MS - clock.monotonic();
  return {
    wait(address) {
      const seen = failures.peek(peerGroup(address));
      return seen === undefined || seen.count < FAILURES ? 0 : Math.max(0, left(seen.since));
    },
    failed(address) {
      const seen = failures.get(peerGroup(address));
      if (seen === undefined || left(seen.since) <= 0) {
        failures.set(peerGroup(address), { count: 1, since: clock.monotonic() });
        return false;
      }
      return ++seen.count === FAILURES;
    },
    succeeded: (address) => void failures.delete(peerGroup(address)),
    vouch: (address) => void vouchers.set(peerGroup(address), { at: clock.monotonic() }),
    vouched(address) {
      const seen = vouchers.peek(peerGroup(address));
      return seen !== undefined && clock.monotonic() - seen.at < VOUCHED_MS;
    },
  };
}

import { LRUCache } from 'lru-cache';
import { peerGroup } from '../../shared/address.ts';
import type { Clock, Milliseconds } from '../../shared/clock.ts';

/** Slows down who guesses tokens, by {@link peerGroup}: one host has all addresses of an IPv6 network. */
export interface LoginLimit {
  /** How long an address has to wait before it may try; 0 = it may now. */
  wait(address: string): Milliseconds;
  /** It was wrong. */
  failed(address: string): void;
  /** It was right. */
  succeeded(address: string): void;
}

/** Wrong tokens that an address may send within {@link FAILURES_MS}; then it waits until that is over. */
export const FAILURES = 5;
export const FAILURES_MS: Milliseconds = 60_000;
/** Addresses that are remembered; the one that failed longest ago is forgotten. */
const ADDRESSES = 10_000;

export function createLoginLimit(clock: Clock): LoginLimit {
  const failures = new LRUCache<string, { count: number; since: Milliseconds }>({ max: ADDRESSES });
  const left = (since: Milliseconds): Milliseconds => since + FAILURES_MS - clock.monotonic();
  return {
    wait(address) {
      const seen = failures.peek(peerGroup(address));
      return seen === undefined || seen.count < FAILURES ? 0 : Math.max(0, left(seen.since));
    },
    failed(address) {
      const seen = failures.get(peerGroup(address));
      if (seen === undefined || left(seen.since) <= 0)
        failures.set(peerGroup(address), { count: 1, since: clock.monotonic() });
      else seen.count++;
    },
    succeeded: (address) => void failures.delete(peerGroup(address)),
  };
}

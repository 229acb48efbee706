import { isIPv4 } from 'node:net';
import { SallyportError } from '../../shared/errors.ts';

/** IPv4 addresses that devices get towards a service. Addresses are numbers here, so that they can be counted through. */
export interface AddressRange {
  /** As `127.64.0.0/16`. */
  readonly text: string;
  /** The first and the last one that a device can get: neither the network's own nor its broadcast address. */
  readonly first: number;
  readonly last: number;
}

/** Prefix lengths that make sense: a million addresses at most, two at least. */
const WIDEST = 12;
const NARROWEST = 30;

const LOOPBACK = numberOf('127.0.0.1');

/**
 * Reads `127.64.0.0/16`.
 *
 * @throws SallyportError ADDRESS_INVALID for anything else, for IPv6, for a range of no use and for one that holds
 *   127.0.0.1, under which the machine itself speaks
 */
export function parseAddressRange(text: string): AddressRange {
  const [, base = '', prefix = ''] = /^([\d.]+)\/(\d{1,2})$/.exec(text) ?? [];
  const bits = Number(prefix);
  if (!isIPv4(base) || prefix === '' || bits < WIDEST || bits > NARROWEST) {
    throw invalid(
      text,
      `write a range of IPv4 addresses, such as 127.64.0.0/16, from /${WIDEST} to /${NARROWEST}`,
    );
  }
  const size = 2 ** (32 - bits);
  const network = numberOf(base);
  if (network % size !== 0) {
    throw invalid(text, `it begins within a network; write ${textOf(network - (network % size))}/${bits}`);
  }
  const range = { text, first: network + 1, last: network + size - 2 };
  if (holds(range, LOOPBACK)) throw invalid(text, 'it holds 127.0.0.1; 127.64.0.0/16 does not');
  if (network < 2 ** 24 || network >= 224 * 2 ** 24)
    throw invalid(text, 'no machine can have such addresses');
  return range;
}

function invalid(text: string, why: string): SallyportError {
  return new SallyportError(
    'ADDRESS_INVALID',
    `source addresses ${JSON.stringify(text)} cannot be used: ${why}`,
  );
}

/** Whether a device can get the address, or could if it weren't reserved. */
export function holds({ first, last }: AddressRange, address: number): boolean {
  return first <= address && address <= last;
}

/** Whether two ranges have an address in common. */
export function overlap(one: AddressRange, other: AddressRange): boolean {
  return one.first <= other.last && other.first <= one.last;
}

/** Whether packets from there never leave the machine (RFC 1122 §3.2.1.3). */
export function isLoopback({ first }: AddressRange): boolean {
  return Math.floor(first / 2 ** 24) === 127;
}

export function numberOf(address: string): number {
  return address.split('.').reduce((sum, part) => sum * 256 + Number(part), 0);
}

export function textOf(address: number): string {
  return [24, 16, 8, 0].map((shift) => (address >>> shift) & 0xff).join('.');
}

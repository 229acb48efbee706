import type { Forwarded } from './config.ts';
import type { RawHeaders } from './observer.ts';
import type { PhoneOrigin } from './service.ts';

/** Headers of one connection only (RFC 9110 §7.6.1), and those that describe a transfer coding that ends here. */
const HOP_BY_HOP = new Set([
  'connection',
  'proxy-connection',
  'keep-alive',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

/** The values of `name` (lower case), in the order they stand. */
export function headerValues(headers: RawHeaders, name: string): string[] {
  const values: string[] = [];
  for (let i = 0; i + 1 < headers.length; i += 2) {
    if (headers[i]!.toLowerCase() === name) values.push(headers[i + 1]!);
  }
  return values;
}

/** The lines of `name` (lower case) as they stand, names and values in turn. */
export function headerLines(headers: RawHeaders, name: string): RawHeaders {
  const lines: string[] = [];
  for (let i = 0; i + 1 < headers.length; i += 2) {
    if (headers[i]!.toLowerCase() === name) lines.push(headers[i]!, headers[i + 1]!);
  }
  return lines;
}

/** The options named by all `Connection` headers, in lower case. */
export function connectionOptions(headers: RawHeaders): string[] {
  return headerValues(headers, 'connection')
    .flatMap((value) => value.split(','))
    .map((option) => option.trim().toLowerCase())
    .filter((option) => option !== '');
}

/** What goes on to the other side: everything but hop-by-hop headers and those in `without` (lower case). */
export function endToEndHeaders(headers: RawHeaders, without: readonly string[] = []): string[] {
  const named = connectionOptions(headers);
  const kept: string[] = [];
  for (let i = 0; i + 1 < headers.length; i += 2) {
    const name = headers[i]!.toLowerCase();
    if (HOP_BY_HOP.has(name) || named.includes(name) || without.includes(name)) continue;
    kept.push(headers[i]!, headers[i + 1]!);
  }
  return kept;
}

/**
 * The end-to-end headers of a phone's request as upstream shall see them. Where upstream is told the phone's address,
 * what the phone itself says about that is dropped, since anyone can write it.
 */
export function requestHeaders(
  headers: RawHeaders,
  forwarded: Forwarded,
  origin: PhoneOrigin,
  without: readonly string[],
): string[] {
  if (forwarded === 'none') return endToEndHeaders(headers, without);
  const kept = endToEndHeaders(headers, [...without, 'x-forwarded-for', 'forwarded']);
  // Upstream was told at the beginning of the connection.
  if (forwarded === 'proxy-v2') return kept;
  // An IPv4 phone at a door that listens on [::] has a mapped address.
  const address = origin.address.replace(/^::ffff:(?=\d+\.)/i, '');
  if (forwarded === 'x-forwarded-for') kept.push('X-Forwarded-For', address);
  // RFC 7239 §6: an IPv6 address stands in brackets and quotes.
  else kept.push('Forwarded', address.includes(':') ? `for="[${address}]"` : `for=${address}`);
  return kept;
}

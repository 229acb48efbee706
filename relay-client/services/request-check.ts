import type { WpiLimits } from './limits.ts';
import { connectionOptions, headerValues } from './headers.ts';
import type { RawHeaders } from './observer.ts';

/** A request's head as it stood on the wire. */
export interface RequestHead {
  method: string;
  /** The request target. */
  target: string;
  /** `1.1` and the like. */
  version: string;
  headers: RawHeaders;
}

/** Why a request goes no further. The connection is closed with it, since both sides may disagree where it ends. */
export interface Refusal {
  status: 400 | 405 | 413 | 417 | 431 | 501 | 505;
  /** In fixed words, for the log. */
  why: string;
}

const METHODS = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']);

/**
 * Origin-form only (RFC 9112 §3.2.1), in visible ASCII. No backslash, which some servers read as a slash, and no
 * fragment, which no client sends.
 */
const TARGET = /^\/[\x21-\x22\x24-\x5b\x5d-\x7e]*$/;

/** A name, an IPv4 address or an IPv6 address in brackets, with or without a port. */
const HOST = /^(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?$/;

/** Headers that nobody may declare to be of one connection only, to have them dropped on the way. */
const NEVER_HOP_BY_HOP = [
  'host',
  'content-length',
  'content-type',
  'transfer-encoding',
  'cookie',
  'authorization',
  'x-forwarded-for',
  'forwarded',
];

/**
 * Looks at what the HTTP parser lets pass but two servers might understand differently. Null when all is well.
 */
export function checkRequest(
  head: RequestHead,
  limits: Pick<WpiLimits, 'headerLines' | 'requestBytes'>,
): Refusal | null {
  const { method, target, version, headers } = head;
  if (version !== '1.1' && version !== '1.0') return { status: 505, why: 'HTTP version' };
  if (headers.length > limits.headerLines * 2) return { status: 431, why: 'too many header lines' };
  if (!METHODS.has(method)) return { status: 405, why: 'method' };
  if (!TARGET.test(target)) return { status: 400, why: 'request target' };

  const hosts = headerValues(headers, 'host');
  if (hosts.length > 1) return { status: 400, why: 'more than one Host' };
  if (hosts.length === 0 && version === '1.1') return { status: 400, why: 'no Host' };
  if (hosts[0] !== undefined && !HOST.test(hosts[0])) return { status: 400, why: 'Host' };

  const lengths = headerValues(headers, 'content-length');
  const codings = headerValues(headers, 'transfer-encoding');
  if (lengths.length > 1) return { status: 400, why: 'more than one Content-Length' };
  if (lengths[0] !== undefined && !/^\d{1,15}$/.test(lengths[0]))
    return { status: 400, why: 'Content-Length' };
  if (codings.length > 0) {
    if (lengths.length > 0) return { status: 400, why: 'Content-Length beside Transfer-Encoding' };
    if (version === '1.0') return { status: 400, why: 'Transfer-Encoding in HTTP/1.0' };
    if (codings.length > 1) return { status: 400, why: 'more than one Transfer-Encoding' };
    if (codings[0]!.toLowerCase() !== 'chunked') return { status: 501, why: 'transfer coding' };
  }

  if (headerValues(headers, 'upgrade').length > 0) return { status: 400, why: 'Upgrade' };
  if (headerValues(headers, 'expect').length > 0) return { status: 417, why: 'Expect' };
  if (connectionOptions(headers).some((option) => NEVER_HOP_BY_HOP.includes(option))) {
    return { status: 400, why: 'Connection names an end-to-end header' };
  }
  if (Number(lengths[0] ?? 0) > limits.requestBytes) return { status: 413, why: 'body over the limit' };
  return null;
}

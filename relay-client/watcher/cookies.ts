import { headerValues } from '../services/headers.ts';
import type { RawHeaders } from '../services/observer.ts';

/** Pairs looked at in one request or answer; a phone has one or two. */
const PAIRS_LIMIT = 16;

/**
 * Attributes of Set-Cookie (RFC 6265 §4.1, RFC 2109 §4.2.2). Phones send a cookie back with them, as if each were
 * a cookie of its own.
 */
const ATTRIBUTES = new Set([
  'comment',
  'domain',
  'expires',
  'httponly',
  'max-age',
  'partitioned',
  'path',
  'priority',
  'samesite',
  'secure',
  'version',
]);

/** The cookies that upstream sets, each as its `name=value`. */
export function cookiesSet(headers: RawHeaders): string[] {
  return headerValues(headers, 'set-cookie')
    .slice(0, PAIRS_LIMIT)
    .map((value) => (value.split(';', 1)[0] ?? '').trim())
    .filter(isCookie);
}

/** The cookies that a phone sends, each as its `name=value`, whether or not their attributes come with them. */
export function cookiesSent(headers: RawHeaders): string[] {
  return headerValues(headers, 'cookie')
    .flatMap((value) => value.split(';', PAIRS_LIMIT))
    .slice(0, PAIRS_LIMIT)
    .map((pair) => pair.trim())
    .filter(isCookie);
}

function isCookie(pair: string): boolean {
  const equals = pair.indexOf('=');
  const name = pair.slice(0, Math.max(0, equals)).trim().toLowerCase();
  return name !== '' && !name.startsWith('$') && !ATTRIBUTES.has(name);
}

/** A phone's headers without our own cookie. */
export interface OwnCookie {
  /** The same array where our cookie isn't in it. */
  readonly headers: RawHeaders;
  /** The values under which our cookie came. */
  readonly values: readonly string[];
}

/**
 * Takes the cookie `name` out of a phone's headers, with the `$` attributes that RFC 2109 clients put behind it; every
 * other byte stays. A Cookie line of which nothing is left goes altogether.
 */
export function takeOwnCookie(headers: RawHeaders, name: string): OwnCookie {
  if (!headers.some((text, at) => at % 2 === 1 && text.includes(name))) return { headers, values: [] };
  const values: string[] = [];
  const kept: string[] = [];
  for (let at = 0; at + 1 < headers.length; at += 2) {
    const line = headers[at] ?? '';
    const value = headers[at + 1] ?? '';
    const rest = line.toLowerCase() === 'cookie' ? withoutPair(value, name, values) : value;
    if (rest !== null) kept.push(line, rest);
  }
  return values.length === 0 ? { headers, values } : { headers: kept, values };
}

/** The Cookie value without the pairs of `name`, whose values go to `taken`; null where nothing is left. */
function withoutPair(value: string, name: string, taken: string[]): string | null {
  const kept: string[] = [];
  let behindOurs = false;
  let removed = false;
  for (const part of value.split(';')) {
    const text = part.trim();
    behindOurs = text.startsWith(`${name}=`) || (behindOurs && text.startsWith('$'));
    if (!behindOurs) {
      // What stood behind a removed first pair begins the line now.
      kept.push(removed && kept.length === 0 ? part.trimStart() : part);
      continue;
    }
    removed = true;
    if (text.startsWith(`${name}=`)) taken.push(text.slice(name.length + 1).replace(/^"(.*)"$/, '$1'));
  }
  if (!removed) return value;
  const rest = kept.join(';');
  return rest.trim() === '' ? null : rest;
}

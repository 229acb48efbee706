import { SallyportError } from '../../shared/errors.ts';

/** The last part of every poll's path; what stands before it is the prefix that names the site. */
export const CONTACT_ME = Buffer.from('contact-me');

const SLASH = 0x2f;

/** A site as the poll door knows it; `number` is its place in the marks. */
export interface PollSite {
  number: number;
  /** Null = every prefix that no other site has. */
  prefixes: readonly string[] | null;
  /** Whether it has doors of its own, and is polled nowhere else where it has no prefixes. */
  apart?: boolean;
  /** Whether a device's secret stands between prefix and {@link CONTACT_ME}. */
  secret: boolean;
}

/** The sites that are polled at a door. @param only - the number of the one that the door is for; null = the path decides */
export function sitesAt(sites: readonly PollSite[], only: number | null): PollSite[] {
  return only === null
    ? sites.filter(({ prefixes, apart = false }) => prefixes !== null || !apart)
    : sites.filter(({ number }) => number === only);
}

/** Finds the site of a poll by the bytes of its path. */
export interface Routes {
  /** Where the device's secret stands in the path found last, empty where it is missing; null = the site wants none. */
  readonly secret: { start: number; end: number } | null;
  /** @returns the site's number; -1 where the path is no poll of any site */
  siteOf(bytes: Uint8Array, start: number, end: number): number;
}

/**
 * Phones append `contact-me` to the address they were given, with or without a slash between and whatever
 * slashes that address ended in. So a prefix counts without its last slashes, and several slashes count as one.
 *
 * @throws SallyportError `CONFIG_INVALID` where two sites have one prefix
 */
export function createRoutes(sites: readonly PollSite[]): Routes {
  const routes: { prefix: Uint8Array; site: number; secret: boolean }[] = [];
  const owners = new Map<string, number>();
  let fallback = -1;
  let fallbackSecret = false;
  // One for all paths, so that a poll allocates nothing.
  const place = { start: 0, end: 0 };
  let secret: Routes['secret'] = null;
  for (const { number, prefixes, secret: wanted } of sites) {
    for (const written of prefixes ?? [null]) {
      const prefix = written === null ? null : `/${written}`.replaceAll(/\/+/g, '/').replace(/\/$/, '');
      const owner = prefix === null ? fallback : (owners.get(prefix) ?? -1);
      if (owner !== -1 && owner !== number) {
        throw new SallyportError(
          'CONFIG_INVALID',
          `Poll prefix ${prefix === null ? '(any)' : JSON.stringify(written)} belongs to two sites; give each site its own`,
        );
      }
      if (prefix === null) {
        fallback = number;
        fallbackSecret = wanted;
      } else if (owner === -1) {
        owners.set(prefix, number);
        routes.push({ prefix: Buffer.from(prefix, 'latin1'), site: number, secret: wanted });
      }
    }
  }

  /** Sets the secret's place. An empty one is somewhere, too: a poll without a secret takes the same way. */
  function found(site: number, wanted: boolean, from: number, to: number): number {
    place.start = from;
    place.end = to;
    secret = wanted ? place : null;
    return site;
  }

  return {
    get secret() {
      return secret;
    },
    siteOf(bytes, start, end) {
      const prefixEnd = end - CONTACT_ME.length;
      if (prefixEnd <= start) return -1;
      for (let i = 0; i < CONTACT_ME.length; i++) if (bytes[prefixEnd + i] !== CONTACT_ME[i]) return -1;
      let last = prefixEnd;
      while (last > start && bytes[last - 1] === SLASH) last--;
      let part = last;
      while (part > start && bytes[part - 1] !== SLASH) part--;
      for (const { prefix, site, secret: wanted } of routes) {
        if (isPrefix(prefix, bytes, start, prefixEnd)) return found(site, wanted, last, last);
      }
      for (const { prefix, site, secret: wanted } of routes) {
        if (wanted && isPrefix(prefix, bytes, start, part)) return found(site, wanted, part, last);
      }
      return found(fallback, fallbackSecret, part, last);
    },
  };
}

/** Whether the bytes spell `prefix`, which has no double and no last slash. */
function isPrefix(prefix: Uint8Array, bytes: Uint8Array, start: number, end: number): boolean {
  let at = start;
  for (const byte of prefix) {
    if (bytes[at] !== byte || at >= end) return false;
    at++;
    if (byte === SLASH) while (bytes[at] === SLASH && at < end) at++;
  }
  while (bytes[at] === SLASH && at < end) at++;
  return at === end;
}

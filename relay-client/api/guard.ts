import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { BlockList, isIP } from 'node:net';
import { ApiError } from './errors.ts';

/** Who may ask at all: the token, and what keeps a browser from being used against the API. */

const LOOPBACK = new BlockList();
LOOPBACK.addSubnet('127.0.0.0', 8, 'ipv4');
LOOPBACK.addAddress('::1', 'ipv6');

/** Whether only this machine can reach a listener on `host`. */
export function isLoopback(host: string): boolean {
  if (host === 'localhost') return true;
  const version = isIP(host);
  return version !== 0 && LOOPBACK.check(host, version === 6 ? 'ipv6' : 'ipv4');
}

export interface Guard {
  /** @throws ApiError `UNAUTHORIZED` */
  token(request: IncomingMessage): void;
  /** @throws ApiError `HOST_REFUSED` */
  host(request: IncomingMessage): void;
  /** @throws ApiError `ORIGIN_REFUSED` */
  origin(request: IncomingMessage): void;
}

/**
 * @param token - null = nobody needs one
 * @param listenHost - as configured; a name that a caller may use in `Host`
 */
export function createGuard(token: string | null, listenHost: string): Guard {
  const wanted = token === null ? null : digest(token);
  // Without a token, a page that rebinds its own name to 127.0.0.1 would be served (DNS rebinding); its Host gives it away.
  const hosts =
    token === null && isLoopback(listenHost) ? new Set(['localhost', '127.0.0.1', '::1', listenHost]) : null;
  return {
    token(request) {
      if (wanted === null) return;
      const given = /^Bearer +(\S+) *$/i.exec(request.headers.authorization ?? '')?.[1];
      // Digests are of one length, so that comparing them tells nothing about the token.
      if (given !== undefined && timingSafeEqual(digest(given), wanted)) return;
      const why = given === undefined ? 'No token was sent' : 'The token is not the one of this relay';
      throw new ApiError(
        'UNAUTHORIZED',
        `${why}; send "Authorization: Bearer" with the content of the token file`,
        {
          headers: { 'www-authenticate': 'Bearer realm="sallyport"' },
        },
      );
    },
    host(request) {
      if (hosts === null) return;
      const name = hostName(request.headers.host ?? '');
      if (hosts.has(name)) return;
      throw new ApiError(
        'HOST_REFUSED',
        `Host ${JSON.stringify(name.slice(0, 100))} is not this relay; use localhost, or set a token`,
      );
    },
    origin(request) {
      const { origin, host } = request.headers;
      const site = request.headers['sec-fetch-site'];
      if ((origin === undefined || originHost(origin) === host) && site !== 'cross-site') return;
      throw new ApiError('ORIGIN_REFUSED', 'Pages of another origin may not change anything here');
    },
  };
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}

function hostName(host: string): string {
  return host
    .toLowerCase()
    .replace(/:\d+$/, '')
    .replace(/^\[(.*)\]$/, '$1');
}

function originHost(origin: string): string | null {
  return URL.canParse(origin) ? new URL(origin).host : null;
}

import type { IncomingMessage } from 'node:http';
import { BlockList, isIP } from 'node:net';
import { sameSecret } from '../dashboard-server/browser-sessions.ts';
import type { BrowserSession, BrowserSessions } from '../dashboard-server/browser-sessions.ts';
import { ApiError } from './errors.ts';

/** Who may ask at all: the token, sessions, and what keeps a browser from being used against the API. */

const LOOPBACK = new BlockList();
LOOPBACK.addSubnet('127.0.0.0', 8, 'ipv4');
LOOPBACK.addAddress('::1', 'ipv6');

/** Whether only this machine can reach a listener on `host`. */
export function isLoopback(host: string): boolean {
  if (host === 'localhost') return true;
  const version = isIP(host);
  return version !== 0 && LOOPBACK.check(host, version === 6 ? 'ipv6' : 'ipv4');
}

/** By what a caller was let in. */
export type Caller = 'token' | 'session' | 'anybody';

export interface Guard {
  /**
   * Lets in who sends the token, or the cookie of a session that was begun with it.
   *
   * @throws ApiError `UNAUTHORIZED`
   */
  admit(request: IncomingMessage): Caller;
  /** @throws ApiError `HOST_REFUSED` */
  host(request: IncomingMessage): void;
  /**
   * Whether the caller may change something.
   *
   * @throws ApiError `ORIGIN_REFUSED`, `CSRF_REFUSED`
   */
  change(request: IncomingMessage, caller: Caller): void;
}

export interface GuardOptions {
  /** Null = nobody needs one. */
  token: string | null;
  /** As configured; a name that a caller may use in `Host`. */
  listenHost: string;
  /** Further names that may be used in `Host`. */
  hosts: readonly string[];
  sessions: BrowserSessions;
}

/** What a page must send with what it changes: the `csrf` of its session. */
export const CSRF_HEADER = 'x-csrf-token';

export function createGuard({ token, listenHost, hosts, sessions }: GuardOptions): Guard {
  // A page that rebinds its own name to 127.0.0.1 would be served as if it were ours (DNS rebinding); its Host gives it away.
  const names = isLoopback(listenHost)
    ? new Set(['localhost', '127.0.0.1', '::1', listenHost, ...hosts].map((name) => name.toLowerCase()))
    : null;
  return {
    admit(request) {
      if (token === null) return 'anybody';
      const given = tokenOf(request);
      if (given !== null && sameSecret(given, token)) return 'token';
      if (given === null && sessionOf(request, sessions) !== null) return 'session';
      const why = given === null ? 'No token was sent' : 'The token is not the one of this relay';
      throw new ApiError(
        'UNAUTHORIZED',
        `${why}; send "Authorization: Bearer" with the content of the token file, or sign in on the dashboard`,
        {
          headers: { 'www-authenticate': 'Bearer realm="sallyport"' },
        },
      );
    },
    host(request) {
      if (names === null) return;
      // Who sends the token has been told it; no page knows it.
      const given = tokenOf(request);
      if (token !== null && given !== null && sameSecret(given, token)) return;
      const name = hostName(request.headers.host ?? '');
      if (names.has(name)) return;
      throw new ApiError(
        'HOST_REFUSED',
        `Host ${JSON.stringify(name.slice(0, 100))} is not this relay; use localhost, or name it in api.hosts`,
      );
    },
    change(request, caller) {
      const { origin, host } = request.headers;
      const site = request.headers['sec-fetch-site'];
      const foreign = origin !== undefined && originHost(origin) !== host;
      if (foreign || site === 'cross-site' || site === 'same-site')
        throw new ApiError('ORIGIN_REFUSED', 'Pages of another origin may not change anything here');
      if (caller !== 'session') return;
      const { csrf } = sessionOf(request, sessions) ?? { csrf: null };
      const given = request.headers[CSRF_HEADER];
      if (csrf !== null && typeof given === 'string' && sameSecret(given, csrf)) return;
      throw new ApiError(
        'CSRF_REFUSED',
        `What is changed with a cookie needs the header ${CSRF_HEADER} with the csrf of GET /v1/session; load the page again`,
      );
    },
  };
}

/** The token that a program sends; null = none. */
function tokenOf(request: IncomingMessage): string | null {
  return /^Bearer +(\S+) *$/i.exec(request.headers.authorization ?? '')?.[1] ?? null;
}

/** The cookie's name bears the port, because browsers send the cookies of a host to all its ports. */
export function cookieName(request: IncomingMessage): string {
  return `sallyport_session_${request.socket.localPort ?? 0}`;
}

/** The id in the request's cookie; null = none was sent. */
export function sessionId(request: IncomingMessage): string | null {
  const wanted = `${cookieName(request)}=`;
  const found = (request.headers.cookie ?? '').split(/; */).find((each) => each.startsWith(wanted));
  return found === undefined ? null : found.slice(wanted.length);
}

function sessionOf(request: IncomingMessage, sessions: BrowserSessions): BrowserSession | null {
  const id = sessionId(request);
  return id === null ? null : sessions.find(id);
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

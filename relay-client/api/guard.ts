import type { IncomingMessage } from 'node:http';
import { BlockList, isIP } from 'node:net';
import { sameSecret } from '../dashboard-server/browser-sessions.ts';
import type { BrowserSession, BrowserSessions } from '../dashboard-server/browser-sessions.ts';
import type { TokenLimit } from '../dashboard-server/token-limit.ts';
import type { Milliseconds } from '../../shared/clock.ts';
import type { Log } from '../../shared/log.ts';
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

/** By what a caller was let in; a session's `over` aborts when it ends. */
export type Caller = { by: 'token' } | { by: 'session'; session: BrowserSession } | { by: 'nothing' };

export const ANYBODY: Caller = { by: 'nothing' };

export interface Guard {
  /**
   * Lets in who sends the token, or the cookie of a session that was begun with it.
   *
   * @throws ApiError `UNAUTHORIZED`; `LOGIN_LIMITED` after too many wrong tokens
   */
  admit(request: IncomingMessage): Caller;
  /** @throws ApiError `HOST_REFUSED`; `LOGIN_LIMITED` */
  host(request: IncomingMessage, caller: Caller): void;
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
  limit: TokenLimit;
  log: Log;
}

/** What a page must send with what it changes: the `csrf` of its session. */
export const CSRF_HEADER = 'x-csrf-token';

export function createGuard({ token, listenHost, hosts, sessions, limit, log }: GuardOptions): Guard {
  // A page that rebinds its own name to 127.0.0.1 would be served as if it were ours (DNS rebinding); its Host gives it away.
  const names = isLoopback(listenHost)
    ? new Set(['localhost', '127.0.0.1', '::1', listenHost, ...hosts].map((name) => name.toLowerCase()))
    : null;

  /**
   * Whether that is the token. Who sent too many wrong ones isn't told.
   *
   * @throws ApiError `LOGIN_LIMITED`
   */
  function isToken(request: IncomingMessage, given: string): boolean {
    const address = request.socket.remoteAddress ?? '';
    const wait = limit.wait(address);
    if (wait > 0 && !limit.vouched(address)) throw tooManyTokens(wait);
    if (token !== null && sameSecret(given, token)) {
      limit.vouch(address);
      return true;
    }
    if (wait > 0) throw tooManyTokens(wait);
    if (limit.failed(address))
      log.warn('too many wrong tokens; further ones are not looked at for a while', { address });
    return false;
  }

  return {
    admit(request) {
      if (token === null) return ANYBODY;
      const given = tokenOf(request);
      if (given !== null && isToken(request, given)) return { by: 'token' };
      const session = given === null ? sessionOf(request, sessions) : null;
      if (session !== null) return { by: 'session', session };
      const why = given === null ? 'No token was sent' : 'The token is not the one of this relay';
      throw new ApiError(
        'UNAUTHORIZED',
        `${why}; send "Authorization: Bearer" with the content of the token file, or sign in on the dashboard`,
        {
          headers: { 'www-authenticate': 'Bearer realm="sallyport"' },
        },
      );
    },
    host(request, caller) {
      // Who sends the token has been told it; no page knows it.
      if (names === null || caller.by === 'token') return;
      const name = hostName(request.headers.host ?? '');
      if (names.has(name)) return;
      const given = tokenOf(request);
      if (token !== null && given !== null && isToken(request, given)) return;
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
      if (caller.by !== 'session') return;
      const given = request.headers[CSRF_HEADER];
      if (typeof given === 'string' && sameSecret(given, caller.session.csrf)) return;
      throw new ApiError(
        'CSRF_REFUSED',
        `What is changed with a cookie needs the header ${CSRF_HEADER} with the csrf of GET /v1/session; load the page again`,
      );
    },
  };
}

/** What is said instead of whether a token is right. */
export function tooManyTokens(wait: Milliseconds): ApiError {
  return new ApiError('LOGIN_LIMITED', 'Too many wrong tokens came from your address; wait a minute', {
    headers: { 'retry-after': String(Math.ceil(wait / 1000)) },
  });
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

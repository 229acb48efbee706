import type { IncomingMessage } from 'node:http';
import { sameSecret } from '../dashboard-server/browser-sessions.ts';
import type { BrowserSessions } from '../dashboard-server/browser-sessions.ts';
import type { TokenLimit } from '../dashboard-server/token-limit.ts';
import type { Log } from '../../shared/log.ts';
import { ApiError } from './errors.ts';
import { cookieName, sessionId, tooManyTokens } from './guard.ts';
import { noFields } from './shapes/requests.ts';
import { route } from './router.ts';
import type { Reply, Route } from './router.ts';
import { z } from './schema.ts';
import { sessionShape } from './shapes/session.ts';
import type { SessionBody } from './shapes/session.ts';

const loginShape = z.strictObject({
  token: z.string().max(10_000).describe('The content of the token file.'),
});

export interface SessionRoutesParts {
  /** Null = nobody needs one. */
  token: string | null;
  sessions: BrowserSessions;
  limit: TokenLimit;
  log: Log;
}

/** Signing in with a browser, which gets a cookie in place of the token. */
export function sessionRoutes({ token, sessions, limit, log }: SessionRoutesParts): Route[] {
  const path = '/v1/session';
  const common = { path, open: true, params: noFields, query: noFields };
  const answers = { 200: { description: 'Where the browser stands.', shape: sessionShape } };

  function signIn(request: IncomingMessage, given: string): Reply {
    if (token === null) return { status: 200, json: standing(null) };
    const address = request.socket.remoteAddress ?? '';
    const wait = limit.wait(address);
    if (wait > 0) throw tooManyTokens(wait);
    if (!sameSecret(given.trim(), token)) {
      limit.failed(address);
      log.warn('sign-in refused: wrong token', { address });
      throw new ApiError(
        'UNAUTHORIZED',
        'This is not the token of this relay; it stands in its api.token_file',
        {
          field: 'token',
        },
      );
    }
    limit.succeeded(address);
    const { id, csrf } = sessions.begin();
    log.info('signed in', { address });
    return {
      status: 200,
      headers: { 'set-cookie': cookie(request, id, Math.floor(sessions.life / 1000)) },
      json: standing(csrf),
    };
  }

  /** What the page has to know; `csrf` null = not signed in. */
  const standing = (csrf: string | null): SessionBody => ({
    needed: token !== null,
    signed_in: token === null || csrf !== null,
    csrf,
  });

  return [
    route(
      {
        ...common,
        method: 'GET',
        operation: 'session',
        summary: 'Whether a browser has to sign in, and has',
        answers,
      },
      async ({ request }) => {
        const id = sessionId(request);
        return { status: 200, json: standing(id === null ? null : (sessions.find(id)?.csrf ?? null)) };
      },
    ),
    route(
      {
        ...common,
        method: 'POST',
        operation: 'signIn',
        summary: 'Sign in with a browser',
        description:
          'Answers with a cookie that stands for the token. What is changed by it needs the header X-Csrf-Token with `csrf`. Programs send the token with each request instead.',
        body: { kind: 'json', shape: loginShape },
        answers,
        refusals: [401, 413, 415, 429],
      },
      async ({ request, body }) => signIn(request, body.token),
    ),
    route(
      {
        ...common,
        method: 'DELETE',
        operation: 'signOut',
        summary: 'Sign out',
        answers,
      },
      async ({ request }) => {
        const id = sessionId(request);
        if (id !== null) sessions.end(id);
        return { status: 200, headers: { 'set-cookie': cookie(request, '', 0) }, json: standing(null) };
      },
    ),
  ];
}

/** Secure where the page was loaded by TLS, which its Origin tells also behind a proxy that ends the TLS. */
function cookie(request: IncomingMessage, value: string, seconds: number): string {
  const secure = request.headers.origin?.startsWith('https:') === true ? '; Secure' : '';
  return `${cookieName(request)}=${value}; Path=/; HttpOnly; SameSite=Strict; Max-Age=${seconds}${secure}`;
}

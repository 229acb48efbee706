import { once } from 'node:events';
import { createServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Address } from '../../shared/address.ts';
import { formatAddress } from '../../shared/address.ts';
import type { Clock } from '../../shared/clock.ts';
import { SallyportError } from '../../shared/errors.ts';
import { listen as listenOn } from '../../shared/listen.ts';
import type { Log } from '../../shared/log.ts';
import type { Campaigns } from '../campaigns/campaigns.ts';
import type { RelayView } from '../desk.ts';
import { createBrowserSessions } from '../dashboard-server/browser-sessions.ts';
import { readPages } from '../dashboard-server/pages.ts';
import type { Pages } from '../dashboard-server/pages.ts';
import { createTokenLimit } from '../dashboard-server/token-limit.ts';
import type { Outbox } from '../outbox/outbox.ts';
import { readJson } from './body.ts';
import { toReply } from './errors.ts';
import { createEventHub } from './events.ts';
import { ANYBODY, createGuard, isLoopback } from './guard.ts';
import { DEFAULT_API_LIMITS, DEFAULT_PUSH } from './limits.ts';
import type { ApiLimits, PushDefaults } from './limits.ts';
import { findRoute, readQuery } from './router.ts';
import type { Reply, Route } from './router.ts';
import { campaignRoutes } from './routes-campaigns.ts';
import { bulkRoutes } from './routes-bulk.ts';
import { deviceRoutes } from './routes-devices.ts';
import { messageRoutes } from './routes-messages.ts';
import { relayRoutes } from './routes-relay.ts';
import { pageRoutes } from './routes-pages.ts';
import { selfRoutes } from './routes-self.ts';
import { sessionRoutes } from './routes-session.ts';

export interface ApiOptions {
  /** Port 0 = a free one. */
  listen: Address;
  /** What callers must know; null = nobody needs a token, which is refused off loopback. */
  token: string | null;
  outbox: Outbox;
  view: RelayView;
  campaigns: Campaigns;
  clock: Clock;
  log: Log;
  /** What a push means where its caller leaves it open. */
  defaults?: Partial<PushDefaults>;
  limits?: Partial<ApiLimits>;
  /** The metrics, the proxies' included, in the Prometheus text format. */
  metricsText: () => Promise<string>;
  /** Names beside those of loopback by which it may be called; only asked for where it listens on loopback. */
  hosts?: readonly string[];
  /** The dashboard's pages; default: those that were built. */
  pages?: Pages;
}

export interface Api {
  /** Where it listens, the port as it really is. */
  readonly address: Address;
  /** The API's document, as served at `/openapi.json`. */
  readonly routes: readonly Route[];
  /** Ends event streams, waits for running requests up to the limit, cuts the rest. */
  close(): Promise<void>;
}

/** Given to whoever was refused with something unread: time to read the answer before the connection goes. */
const LINGER_MS = 2000;

const COMMON_HEADERS = {
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cross-origin-resource-policy': 'same-origin',
  'cache-control': 'no-store',
};

/**
 * The HTTP API: the one place through which operators, services and the command line ask and push.
 *
 * @throws SallyportError `CONFIG_INVALID` without a token off loopback; `ADDRESS_IN_USE`, `ADDRESS_INVALID`
 */
export async function createApi(options: ApiOptions): Promise<Api> {
  const { listen, token, outbox, view, clock } = options;
  const log = options.log.child({ part: 'api' });
  const limits: ApiLimits = { ...DEFAULT_API_LIMITS, ...options.limits };
  if (token === null && !isLoopback(listen.host)) {
    throw new SallyportError(
      'CONFIG_INVALID',
      `The API would listen on ${formatAddress(listen)} without a token; set api.token_file, or listen on 127.0.0.1`,
    );
  }
  const sessions = createBrowserSessions(clock);
  const limit = createTokenLimit(clock);
  const guard = createGuard({
    token,
    listenHost: listen.host,
    hosts: options.hosts ?? [],
    sessions,
    limit,
    log,
  });
  const events = createEventHub({ outbox, view, clock, log, limits });
  const context = {
    outbox,
    view,
    campaigns: options.campaigns,
    clock,
    limits,
    events,
    defaults: { ...DEFAULT_PUSH, ...options.defaults },
    metricsText: options.metricsText,
  };
  const working = [
    ...messageRoutes(context),
    ...bulkRoutes(context),
    ...campaignRoutes(context),
    ...deviceRoutes(context),
    ...relayRoutes(context),
    ...sessionRoutes({ token, sessions, limit, log }),
    ...pageRoutes(options.pages ?? readPages()),
  ];
  const routes = [...working, ...selfRoutes(working, view.version)];
  const running = new Set<AbortController>();
  let closing = false;

  const server = createServer(
    {
      maxHeaderSize: limits.headerBytes,
      headersTimeout: limits.headersMs,
      requestTimeout: limits.requestMs,
      keepAliveTimeout: limits.idleMs,
    },
    (request, response) => void serve(request, response),
  );
  server.maxConnections = limits.connections;
  const sockets = new Set<Socket>();
  const busy = new Map<Socket, number>();
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
  });
  server.setTimeout(limits.idleMs, (socket) => socket.destroy());

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const startedAt = clock.monotonic();
    const gone = new AbortController();
    running.add(gone);
    const { socket } = request;
    busy.set(socket, (busy.get(socket) ?? 0) + 1);
    response.on('close', () => {
      running.delete(gone);
      // Whoever was answered waits for nothing more; and to abort, Node makes an error with a stack for nobody.
      if (!response.writableFinished) gone.abort();
      const left = (busy.get(socket) ?? 1) - 1;
      if (left > 0) busy.set(socket, left);
      else busy.delete(socket);
      if (left <= 0 && closing) socket.destroySoon();
    });
    const method = request.method ?? '';
    const [path = '', search = ''] = splitTarget(request.url ?? '');
    try {
      const reply = await answer(request, response, method, path, search, gone);
      await write(request, response, reply);
    } catch (error) {
      if (response.destroyed) return;
      const { status, headers, body } = toReply(error, log);
      if (response.headersSent) response.destroy();
      else await write(request, response, { status, headers, json: body });
    } finally {
      log.debug('request', {
        method,
        path,
        status: response.statusCode,
        ms: Math.round(clock.monotonic() - startedAt),
      });
    }
  }

  async function answer(
    request: IncomingMessage,
    response: ServerResponse,
    method: string,
    path: string,
    search: string,
    gone: AbortController,
  ): Promise<Reply> {
    const match = attempt(() => findRoute(routes, method, path));
    const spec = 'route' in match ? match.route.spec : null;
    const caller = spec?.open === true ? ANYBODY : guard.admit(request);
    if (spec?.anyHost !== true) guard.host(request, caller);
    if (!('route' in match)) throw match.error;
    if (method !== 'GET' && method !== 'HEAD') guard.change(request, caller);
    const query = readQuery(search);
    const body = match.route.spec.body?.kind === 'json' ? await readJson(request, limits.bodyBytes) : null;
    if (caller.by === 'session') endWith(caller.session.over, response, gone);
    return match.route.call({ params: match.params, query, body, request, signal: gone.signal, log });
  }

  async function write(request: IncomingMessage, response: ServerResponse, reply: Reply): Promise<void> {
    const content = contentOf(reply);
    const type = 'json' in reply ? { 'content-type': 'application/json; charset=utf-8' } : {};
    // An answer without content has no length of its own (RFC 9110 §8.6).
    const length = content === null || reply.status === 304 ? {} : { 'content-length': content.length };
    const unread = content !== null && !request.complete;
    const ending = unread || closing ? { connection: 'close' } : {};
    response.writeHead(reply.status, { ...COMMON_HEADERS, ...type, ...reply.headers, ...length, ...ending });
    if (request.method === 'HEAD') {
      response.end();
      return;
    }
    if ('stream' in reply) {
      response.flushHeaders();
      await reply.stream(response);
      response.end();
      return;
    }
    if (content !== null && content.length > 0) response.write(content);
    if (unread) await linger(request);
    response.end();
  }

  /** Closing on unread bytes would reset the connection under the answer (RFC 9112 §9.6), so they are drained a while. */
  async function linger(request: IncomingMessage): Promise<void> {
    if (request.complete || request.destroyed) return;
    const stop = new AbortController();
    const timer = clock.after(LINGER_MS, () => stop.abort());
    request.resume();
    await once(request, 'end', { signal: stop.signal }).catch(() => undefined);
    timer.cancel();
  }

  const address = await listenOn(server, listen, 'API').catch((error: unknown) => {
    events.close();
    sessions.close();
    throw error;
  });
  log.info('api listening', { address: formatAddress(address), guarded: token !== null });

  return {
    address,
    routes,
    async close() {
      events.close();
      sessions.close();
      closing = true;
      running.forEach((each) => each.abort());
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      // Node counts a connection on which nothing was ever asked as busy; clients open such ones ahead of need.
      for (const socket of sockets) if (!busy.has(socket)) socket.destroy();
      const timer = clock.after(limits.drainMs, () => server.closeAllConnections());
      await closed;
      timer.cancel();
    },
  };
}

/** What a browser follows ends with its session. */
function endWith(over: AbortSignal, response: ServerResponse, gone: AbortController): void {
  const end = (): void => gone.abort();
  if (over.aborted || response.closed) return end();
  over.addEventListener('abort', end, { once: true });
  // Taken off again with the answer, or a long session would collect them.
  response.once('close', () => over.removeEventListener('abort', end));
}

function attempt<T>(task: () => T): T | { error: unknown } {
  try {
    return task();
  } catch (error) {
    return { error };
  }
}

/** What is sent after the head; null where it comes as a stream. */
function contentOf(reply: Reply): Buffer | null {
  if ('json' in reply) return Buffer.from(`${JSON.stringify(reply.json)}\n`);
  if ('text' in reply) return Buffer.from(reply.text);
  return 'bytes' in reply ? reply.bytes : null;
}

/** A request target's path and query; an absolute one (RFC 9112 §3.2.2) loses its authority. */
function splitTarget(target: string): [string, string] {
  const origin = target.replace(/^https?:\/\/[^/?]*/i, '');
  const mark = origin.indexOf('?');
  return mark === -1 ? [origin, ''] : [origin.slice(0, mark), origin.slice(mark + 1)];
}

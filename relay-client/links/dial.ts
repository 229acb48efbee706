import type { ClientRequest, IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { isIP } from 'node:net';
import type { LookupFunction } from 'node:net';
import type { Duplex } from 'node:stream';
import { TLSSocket } from 'node:tls';
import { HttpsProxyAgent } from 'https-proxy-agent';
import { WebSocket } from 'ws';
import type { Milliseconds } from '../../shared/clock.ts';
import { describeError, SallyportError } from '../../shared/errors.ts';
import { pinOf } from '../../shared/key-pair.ts';
import type { Pin } from '../../shared/key-pair.ts';
import type { Lane, LaneEvents } from '../../shared/lane.ts';
import { laneOptions, laneOverWebSocket } from '../../shared/lane-ws.ts';
import { MUX_MESSAGE_BYTES } from '../../shared/mux-frames.ts';
import { CONTROL_FRAME_BYTES, GREETING_MS, PATHS, SUBPROTOCOL } from '../../shared/protocol.ts';

/** How this relay knows a proxy: by the pin of its key, one of several while that is replaced, or by an authority. */
export type ProxyTrust = { pins: readonly Pin[] } | { ca: string };

/** What it takes to reach one proxy. */
export interface DialTarget {
  /** `wss://host:port` of the proxy's relay door. */
  url: URL;
  /** The address to dial in place of the one that the URL's name has; its certificate is judged by the name. */
  address?: string;
  trust: ProxyTrust;
  /** This relay's certificate and private key, PEM. */
  cert: string;
  key: string;
  /** A corporate HTTP proxy to go through by CONNECT, with user and password if it wants them; null = none. */
  via: URL | null;
}

/** What HTTP proxies answer to a missing or wrong password: 407 (RFC 9110 §15.5.8), some 401. */
const WRONG_LOGIN: ReadonlySet<number> = new Set([401, 407]);
/** Bytes of a refusal's text that are read. */
const REFUSAL_BYTES = 1_024;

/** How a dial may end before its time. */
export interface DialOptions {
  /** Gives the dial up, and all that it has under way. */
  signal?: AbortSignal;
  /** From the first packet to the open lane or the whole answer. Default {@link GREETING_MS}. */
  withinMs?: Milliseconds;
}

/**
 * Dials one lane and resolves once it is open.
 *
 * @throws SallyportError LINK_DOWN (not reached, or given up), PIN_MISMATCH, LINK_REFUSED (reached, and it said no),
 *   LINK_VERSION
 */
export function dialLane(
  target: DialTarget,
  lane: { kind: 'control' } | { kind: 'stream'; link: string },
  events: LaneEvents,
  options: DialOptions = {},
): Promise<Lane> {
  const url = new URL(PATHS[lane.kind], target.url);
  if (lane.kind === 'stream') url.searchParams.set('link', lane.link);
  const binary = lane.kind === 'stream';
  return withDeadline(target, options, (signal, resolve, reject) => {
    let socket: Duplex | null = null;
    const ws = new WebSocket(url, [SUBPROTOCOL], {
      ...laneOptions(binary ? MUX_MESSAGE_BYTES : CONTROL_FRAME_BYTES),
      ...connectOptions(target, signal),
      finishRequest: (request) => sendWhenTrusted(request, target, (error) => request.destroy(error)),
      // Masks protect against confused HTTP caches in between (RFC 6455 §10.3). Here TLS to a pinned key leaves none,
      // and a mask of zeros spares both ends a pass over every byte.
      generateMask: (mask) => void mask.fill(0),
    });
    ws.on('upgrade', (response) => (socket = response.socket));
    ws.on('unexpected-response', (_request, response) => {
      void readRefusal(response).then((text) => {
        reject(refusal(target, response, text));
        ws.terminate();
      });
    });
    ws.on('error', (cause) => reject(asLinkError(target, cause)));
    ws.once('open', () => {
      // What came in one piece with the answer would be told before whoever waits for the lane has it.
      ws.pause();
      resolve(laneOverWebSocket(ws, socket!, { binary, masks: true }, events));
      setImmediate(() => ws.resume());
    });
    return () => ws.terminate();
  });
}

/**
 * Posts JSON to the proxy's relay door and resolves to what it answers.
 *
 * @throws as {@link dialLane}
 */
export function postJson(
  target: DialTarget,
  path: string,
  body: unknown,
  options: DialOptions = {},
): Promise<unknown> {
  return withDeadline(target, options, (signal, resolve, reject) => {
    const url = new URL(path, target.url);
    url.protocol = 'https:';
    const text = JSON.stringify(body);
    const request = httpsRequest(url, {
      ...connectOptions(target, signal),
      method: 'POST',
      headers: { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) },
    });
    request.on('error', (cause) => reject(asLinkError(target, cause)));
    request.on('response', (response) => {
      void readRefusal(response).then((answer) => {
        if (response.statusCode !== 200) return reject(refusal(target, response, answer));
        try {
          resolve(JSON.parse(answer));
        } catch (cause) {
          reject(new SallyportError('LINK_REFUSED', `${placeOf(target)} answered no JSON`, { cause }));
        }
      });
    });
    sendWhenTrusted(request, target, (error) => request.destroy(error), { body: text });
    return () => void request.destroy();
  });
}

/** What a relay door says to a relay that knocks without opening a lane. */
export interface Knock {
  status: number;
  /** The reason in words; what a stranger wrote, where it is a stranger. */
  text: string;
  /** The `Date` header; undefined = none. */
  date: string | undefined;
  /** Of the key that it showed, and that is trusted; null where an authority decided. */
  pin: Pin | null;
}

/**
 * Asks for a lane of a link that cannot be: the door says by its refusal whether it knows this relay's key, and nothing is
 * opened. The running relay's link is not touched.
 *
 * @throws as {@link dialLane}, but resolves where the door itself said no
 */
export function knock(target: DialTarget, options: DialOptions = {}): Promise<Knock> {
  return withDeadline(target, options, (signal, resolve, reject) => {
    const url = new URL(PATHS.stream, target.url);
    url.protocol = 'https:';
    const request = httpsRequest(url, {
      ...connectOptions(target, signal),
      headers: { connection: 'Upgrade', upgrade: 'websocket', 'sec-websocket-protocol': SUBPROTOCOL },
    });
    let pin: Pin | null = null;
    request.on('error', (cause) => reject(asLinkError(target, cause)));
    request.on('response', (response) => {
      void readRefusal(response).then((text) => {
        if (!(response.socket instanceof TLSSocket)) return reject(refusal(target, response, text));
        resolve({ status: response.statusCode ?? 0, text, date: response.headers.date, pin });
      });
    });
    sendWhenTrusted(request, target, (error) => request.destroy(error), {
      trusted: (shown) => (pin = shown),
    });
    return () => void request.destroy();
  });
}

/**
 * Runs one dial, but no longer than it may take: a corporate proxy may accept and never answer, a peer may send a
 * byte a minute, and the timeouts of the libraries watch neither.
 *
 * @param begin - begins it; returns the way to end it. Its signal ends connections that the way doesn't reach yet.
 */
function withDeadline<T>(
  target: DialTarget,
  { signal: outer, withinMs = GREETING_MS }: DialOptions,
  begin: (signal: AbortSignal, resolve: (made: T) => void, reject: (error: Error) => void) => () => void,
): Promise<T> {
  const { promise, resolve, reject } = Promise.withResolvers<T>();
  const inner = new AbortController();
  let stop: () => void = () => undefined;
  const giveUp = (why: string): void => {
    reject(asLinkError(target, new Error(why)));
    inner.abort();
    stop();
  };
  const closed = (): void => giveUp('the link was closed meanwhile');
  const late = setTimeout(() => giveUp(`not done within ${withinMs} ms`), withinMs);
  outer?.addEventListener('abort', closed);
  stop = begin(inner.signal, resolve, reject);
  if (outer?.aborted === true) closed();
  return promise.finally(() => {
    clearTimeout(late);
    outer?.removeEventListener('abort', closed);
  });
}

function connectOptions(target: DialTarget, signal: AbortSignal) {
  const tls = {
    cert: target.cert,
    key: target.key,
    minVersion: 'TLSv1.3' as const,
    // With a pin the key is all that counts, and it is compared before a byte is sent.
    ...('ca' in target.trust ? { ca: target.trust.ca } : { rejectUnauthorized: false }),
  };
  const { address } = target;
  if (address !== undefined) return { ...tls, agent: false as const, lookup: always(address) };
  // The agent hands its connection over only when the HTTP proxy has answered; until then this alone ends it.
  return target.via === null
    ? { ...tls, agent: false as const }
    : { ...tls, agent: new HttpsProxyAgent(target.via, { signal }) };
}

/** Looks every name up as this address. */
function always(address: string): LookupFunction {
  const family = isIP(address);
  return (_name, options, done) =>
    options.all === true ? done(null, [{ address, family }]) : done(null, address, family);
}

/** Where a dial goes, for people. */
const placeOf = ({ url, address }: DialTarget): string =>
  address === undefined ? url.host : `${url.host} (${address})`;

/**
 * Ends the request, hence sends it, only once the peer has shown the trusted key.
 *
 * @param more - what to send; who is told the pin of a peer that was trusted by it
 */
function sendWhenTrusted(
  request: ClientRequest,
  target: DialTarget,
  fail: (error: Error) => void,
  more: { body?: string; trusted?: (pin: Pin) => void } = {},
): void {
  request.once('socket', (socket) => {
    // Through a corporate proxy that said no, this is a stand-in that replays its answer; nothing leaves by it.
    if (!(socket instanceof TLSSocket)) return void request.end();
    const check = (): void => {
      if ('pins' in target.trust) {
        const shown = trustedPin(socket, target, target.trust.pins);
        if (shown instanceof SallyportError) return fail(shown);
        more.trusted?.(shown);
      }
      request.end(more.body);
    };
    if (socket.getPeerX509Certificate() === undefined) socket.once('secureConnect', check);
    else check();
  });
}

/** The pin of the peer's key, or why it is not trusted. */
function trustedPin(socket: TLSSocket, target: DialTarget, pins: readonly Pin[]): Pin | SallyportError {
  const certificate = socket.getPeerX509Certificate();
  const shown = certificate === undefined ? null : pinOf(certificate);
  if (shown !== null && pins.includes(shown)) return shown;
  return new SallyportError(
    'PIN_MISMATCH',
    `${placeOf(target)} shows ${shown ?? 'no certificate'} where ${pins.join(' or ')} is pinned: ` +
      'either its key was replaced (join again) or something else answers at this address',
  );
}

async function readRefusal(response: IncomingMessage): Promise<string> {
  let text = '';
  try {
    for await (const chunk of response) {
      text += (chunk as Buffer).toString('utf8');
      if (text.length > REFUSAL_BYTES) break;
    }
  } catch (error) {
    text += ` (${describeError(error)})`;
  }
  return text.slice(0, REFUSAL_BYTES).trim();
}

function refusal(target: DialTarget, response: IncomingMessage, text: string): SallyportError {
  const status = `${response.statusCode} ${response.statusMessage ?? ''}`.trim();
  if (target.via !== null && !(response.socket instanceof TLSSocket)) {
    return new SallyportError(
      'LINK_REFUSED',
      `the HTTP proxy ${target.via.host} answered ${status} to CONNECT ${target.url.host}` +
        (WRONG_LOGIN.has(response.statusCode ?? 0) ? '; check user and password in via' : ''),
    );
  }
  const code = response.statusCode === 426 ? 'LINK_VERSION' : 'LINK_REFUSED';
  return new SallyportError(code, `${placeOf(target)} answered ${status}${text === '' ? '' : `: ${text}`}`);
}

function asLinkError(target: DialTarget, cause: Error): SallyportError {
  if (cause instanceof SallyportError) return cause;
  const through = target.via === null ? '' : ` through ${target.via.host}`;
  return new SallyportError(
    'LINK_DOWN',
    `cannot reach ${placeOf(target)}${through}: ${describeError(cause)}`,
    { cause },
  );
}

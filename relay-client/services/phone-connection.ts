import type { IncomingMessage, ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Milliseconds } from '../../shared/clock.ts';
import { createDeadline } from './deadline.ts';
import { startExchange } from './exchange.ts';
import type { ExchangeParts, ExchangePlace, RunningExchange } from './exchange.ts';
import type { Observer } from './observer.ts';
import type { RareLog } from './rare-log.ts';
import type { PhoneOrigin } from './service.ts';
import type { SourceAddresses } from '../addresses/book.ts';
import { createPhoneUpstream } from './phone-upstream.ts';
import type { Upstream } from './upstream.ts';

export interface PhoneConnectionParts extends ExchangeParts {
  upstream: Upstream;
  addresses: SourceAddresses | null;
  observer: Observer;
  log: RareLog;
}

/** One connection of a phone, in the clear, on which HTTP is spoken. */
export interface PhoneConnection {
  /** The parser found the head of a request. */
  request(request: IncomingMessage, response: ServerResponse): void;
  /** The parser found something that is no HTTP; answered with `status` where nothing else is being answered. */
  malformed(status: number): void;
  /** Ends the connection as soon as no session runs on it, and no exchange. */
  drain(): void;
  destroy(): void;
}

/**
 * Runs a phone's connection: one exchange at a time in the order the requests came, a time limit in every state, and
 * an orderly end where possible.
 *
 * @param names - the names in the phone's client certificate, verified; empty without one
 * @param closed - the connection is over and everything that belonged to it is let go
 */
export function servePhone(
  socket: Duplex,
  origin: PhoneOrigin,
  names: readonly string[],
  parts: PhoneConnectionParts,
  closed: () => void,
): PhoneConnection {
  const { limits, clock } = parts;
  const log = parts.log.child({ proxy: origin.proxy, door: origin.door, phone: origin.address });
  const observed = parts.observer.connection(origin, names);
  const upstream = createPhoneUpstream(parts, origin);
  const deadline = createDeadline(clock);
  const halfClose = createDeadline(clock);
  const waiting: { request: IncomingMessage; response: ServerResponse }[] = [];
  let running: { exchange: RunningExchange; request: IncomingMessage } | null = null;
  let requests = 0;
  let closing = false;
  let draining = false;
  /** What follows the exchange under way cannot be read. */
  let garbled = false;
  let phoneEnded = false;
  /** Whether what happens to the connection from here on is its proper end. */
  let orderly = false;

  let told = false;
  const tellClosed = (how: 'ended' | 'cut'): void => {
    if (told) return;
    told = true;
    observed.closed(how);
  };

  const cut = (): void => void socket.destroy();

  /** Ends our side and leaves the phone `withinMs` to end its own, so that it surely gets the last answer. */
  const end = (withinMs: Milliseconds = limits.lingerMs): void => {
    if (closing) return;
    closing = true;
    orderly = true;
    socket.end();
    deadline.set(withinMs, cut);
    // No request is taken here any more. The phone's next connection may begin before this one has wholly ended.
    tellClosed('ended');
  };

  /** Nobody is to be answered here after this exchange. */
  const leaving = (): boolean => garbled || (draining && !observed.inSession());

  const place: ExchangePlace = {
    origin,
    observed,
    upstream,
    deadline,
    log,
    lastAnswer: () =>
      leaving() || closing || phoneEnded || (limits.requests > 0 && requests >= limits.requests),
    phoneEnded: () => phoneEnded,
    cut,
    done(close) {
      running = null;
      if (close || ((leaving() || phoneEnded) && waiting.length === 0)) return end();
      next();
    },
  };

  const next = (): void => {
    const first = waiting.shift();
    if (first === undefined) return deadline.set(limits.keepAliveMs, () => end());
    deadline.stop();
    requests += 1;
    const { request, response } = first;
    running = { request, exchange: startExchange(request, response, parts, place) };
  };

  // Node would destroy the socket right after the last answer, and the proxy might drop what it still holds of it.
  if (socket instanceof Socket) socket.destroySoon = () => void socket.end();
  socket.on('error', () => undefined);
  socket.on('end', () => {
    phoneEnded = true;
    if (running === null) {
      orderly = true;
      if (closing) return;
      end();
    } else {
      halfClose.set(limits.halfCloseMs, cut);
    }
  });
  socket.on('close', () => {
    const interrupted = running;
    running = null;
    waiting.length = 0;
    interrupted?.exchange.phoneGone();
    deadline.close();
    halfClose.close();
    upstream.close();
    tellClosed(orderly && interrupted === null ? 'ended' : 'cut');
    closed();
  });
  deadline.set(limits.headersMs, () => end());

  return {
    request(request, response) {
      request.on('error', () => undefined);
      response.on('error', () => undefined);
      if (closing) return;
      if (waiting.length >= limits.pipelined) {
        log.warn('cut a phone that sent too many requests at once', { limit: limits.pipelined });
        return cut();
      }
      waiting.push({ request, response });
      if (running === null) next();
    },
    malformed(status) {
      if (running !== null) {
        if (!running.request.complete) return running.exchange.malformed();
        // The exchange is sound; what follows it is not.
        garbled = true;
        return;
      }
      if (closing) return;
      parts.count('request_refused');
      log.info('refused a request', { status, why: 'malformed head' });
      // The parser may have let go of the socket; its end must be seen all the same.
      socket.resume();
      socket.write(`HTTP/1.1 ${status} Refused\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`);
      end();
    },
    drain() {
      draining = true;
      // It has its last answer already: a phone that stays after our end would only delay the relay's.
      if (running === null && leaving()) end(limits.halfCloseMs);
    },
    destroy: cut,
  };
}

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Dispatcher } from 'undici';
import type { Readable } from 'node:stream';
import type { Clock } from '../../shared/clock.ts';
import { describeError, isSallyportError, SallyportError } from '../../shared/errors.ts';
import { createAnswerReader } from './answer.ts';
import type { AnswerHead } from './answer.ts';
import type { Forwarded } from './config.ts';
import type { Deadline } from './deadline.ts';
import { endToEndHeaders, headerValues, requestHeaders } from './headers.ts';
import type { ByteBudget, WpiLimits } from './limits.ts';
import type { ServiceEvent } from './metrics.ts';
import type { ConnectionObserver, Exchange, RawHeaders } from './observer.ts';
import { checkRequest } from './request-check.ts';
import { readBody, streamBody } from './request-body.ts';
import type { RareLog } from './rare-log.ts';
import type { PhoneOrigin } from './service.ts';
import type { UpstreamConnection } from './upstream.ts';

/** What every exchange of a service needs. */
export interface ExchangeParts {
  limits: WpiLimits;
  forwarded: Forwarded;
  budget: ByteBudget;
  clock: Clock;
  count(event: ServiceEvent): void;
}

/** What an exchange needs of the phone's connection that it's on. */
export interface ExchangePlace {
  origin: PhoneOrigin;
  observed: ConnectionObserver;
  upstream: UpstreamConnection;
  /** The connection's one running wait; the exchange's while it runs. */
  deadline: Deadline;
  log: RareLog;
  /** Whether the answer has to be the last on this connection. */
  lastAnswer(): boolean;
  /** Whether the phone has ended its side, so that nobody may be there to read the answer. */
  phoneEnded(): boolean;
  /** Cuts the phone's connection, so that what it got cannot pass for a whole answer. */
  cut(): void;
  /** The answer was handed over; `close` when nothing may follow it. */
  done(close: boolean): void;
}

/** One request of a phone on its way. */
export interface RunningExchange {
  /** The phone's connection is gone. */
  phoneGone(): void;
  /** What the phone sends is no HTTP. */
  malformed(): void;
}

/** An answer is handed to the phone's connection in pieces, to see whether the phone takes them. */
const PIECE_BYTES = 65_536;

/**
 * Leads one request of a phone upstream and its answer back. The request goes at most once; the answer comes whole,
 * or as an error status, or is visibly cut off.
 */
export function startExchange(
  request: IncomingMessage,
  response: ServerResponse,
  parts: ExchangeParts,
  place: ExchangePlace,
): RunningExchange {
  const { limits, budget, count } = parts;
  const { deadline, observed, log } = place;
  const method = request.method ?? '';
  const target = request.url ?? '';
  const raw: RawHeaders = request.rawHeaders;

  let over = false;
  let exchange: Exchange | null = null;
  let controller: Dispatcher.DispatchController | null = null;
  let upload: Readable | null = null;
  let taken = 0;

  response.sendDate = false;

  const finish = (): void => {
    over = true;
    deadline.stop();
    budget.give(taken);
    taken = 0;
    upload?.destroy();
    // What is left of the body is of no interest; it may not stand in the way of the connection's end.
    request.resume();
  };

  const phoneGone = (): void => {
    if (over) return;
    finish();
    count('phone_cut');
    exchange?.cut('phone');
    controller?.abort(new Error('the phone went away'));
  };

  /** The last byte of an answer was handed over. */
  const sent = (close: boolean): void => {
    if (over) return;
    finish();
    if (place.phoneEnded()) exchange?.cut('phone');
    else exchange?.delivered();
    place.done(close);
  };

  /** An answer of our own, after which the connection ends. */
  const refuse = (status: number): void => {
    finish();
    const send = response.writeHead(status, ['Content-Length', '0', 'Connection', 'close']);
    deadline.set(limits.phoneIdleMs, place.cut);
    send.end(() => {
      deadline.stop();
      place.done(true);
    });
  };

  const refuseRequest = (status: number, why: string): void => {
    count('request_refused');
    log.info('refused a request', { status, why });
    exchange?.cut('phone');
    refuse(status);
  };

  const upstreamFailed = (error: Error): void => {
    if (over) return;
    const slow = isSallyportError(error, 'UPSTREAM_TIMEOUT');
    const refused = isSallyportError(error, 'UPSTREAM_REFUSED', 'PIN_MISMATCH');
    count(slow ? 'upstream_timeout' : refused ? 'upstream_refused' : 'upstream_cut');
    log.warn('upstream failed', { error: describeError(error), answering: response.headersSent });
    exchange?.cut('upstream');
    if (!response.headersSent) return refuse(slow ? 504 : 502);
    finish();
    place.cut();
  };

  const timedOut = (): void => {
    const waited = response.headersSent ? limits.answerIdleMs : limits.answerMs;
    const error = new SallyportError('UPSTREAM_TIMEOUT', `upstream sent nothing for ${waited} ms`);
    upstreamFailed(error);
    controller?.abort(error);
  };

  const writeHead = (head: AnswerHead, extra: RawHeaders, length: number | null): boolean => {
    const bodyless = length === null;
    const headers = endToEndHeaders(head.headers, head.status === 204 ? ['content-length'] : []);
    if (!bodyless && headerValues(headers, 'content-length').length === 0) {
      headers.push('Content-Length', String(length));
    }
    headers.push(...extra);
    // Bytes of an unfinished body cannot be told from a next request for certain.
    const close = head.close || place.lastAnswer() || !request.complete || !response.shouldKeepAlive;
    if (close) headers.push('Connection', 'close');
    response.writeHead(head.status, /^[\t\x20-\x7e]*$/.test(head.reason) ? head.reason : '', headers);
    return close;
  };

  const ask = (headers: RawHeaders, body: Buffer | Readable | null): void => {
    const without = body instanceof Buffer || body === null ? ['content-length'] : [];
    count('request');
    // Connecting has its own limit; this one is for what nobody thought of.
    deadline.set(limits.connectMs + limits.answerMs, timedOut);
    const reader = createAnswerReader(
      {
        method,
        hold: exchange !== null,
        limit: limits.answerBytes,
        budget,
        broken: () => place.upstream.broken(),
      },
      answer,
    );
    place.upstream.send(
      {
        method,
        target,
        headers: requestHeaders(headers, parts.forwarded, place.origin, without),
        body,
        close: place.lastAnswer() || !response.shouldKeepAlive,
      },
      reader,
    );
  };

  let closing = false;
  const answer = {
    started(running: Dispatcher.DispatchController): void {
      if (over) return running.abort(new Error('the phone went away'));
      controller = running;
      deadline.set(limits.answerMs, timedOut);
    },
    head(): void {
      if (!over) deadline.set(limits.answerIdleMs, timedOut);
    },
    whole(head: AnswerHead, body: Buffer): void {
      if (over) return budget.give(body.length);
      taken += body.length;
      const extra = exchange?.answered({ status: head.status, headers: head.headers, body }) ?? [];
      const bodyless = method === 'HEAD' || head.status === 204 || head.status === 304;
      try {
        closing = writeHead(head, extra, bodyless ? null : body.length);
      } catch (error) {
        return upstreamFailed(error instanceof Error ? error : new Error('the answer has unusable headers'));
      }
      sendWhole(body);
    },
    begin(head: AnswerHead): void {
      if (over) return;
      exchange?.answeredUnread({ status: head.status });
      closing = writeHead(head, [], head.length);
      response.on('drain', () => {
        if (over) return;
        deadline.set(limits.answerIdleMs, timedOut);
        controller?.resume();
      });
    },
    piece(chunk: Buffer): void {
      if (over) return;
      if (response.write(chunk)) return deadline.extend(limits.answerIdleMs);
      controller?.pause();
      deadline.set(limits.phoneIdleMs, place.cut);
    },
    end(): void {
      if (over) return;
      deadline.set(limits.phoneIdleMs, place.cut);
      response.end(() => sent(closing));
    },
    failed: upstreamFailed,
  };

  const sendWhole = (body: Buffer): void => {
    let at = 0;
    const next = (): void => {
      if (over) return;
      deadline.set(limits.phoneIdleMs, place.cut);
      while (body.length - at > PIECE_BYTES) {
        const piece = body.subarray(at, at + PIECE_BYTES);
        at += PIECE_BYTES;
        if (!response.write(piece)) return;
      }
      response.off('drain', next);
      response.end(body.subarray(at), () => sent(closing));
    };
    response.on('drain', next);
    next();
  };

  const passUnread = (reason: 'method' | 'size', held: Buffer[]): void => {
    observed.unread({ method, path: target, reason });
    upload = streamBody(
      request,
      held,
      limits.requestBytes,
      () => deadline.extend(limits.answerMs),
      () => {
        if (over) return;
        if (response.headersSent) return place.cut();
        refuseRequest(413, 'body over the limit');
        controller?.abort(new Error('the body is over the limit'));
      },
    );
    ask(raw, upload);
  };

  const begin = (): void => {
    const refusal = checkRequest({ method, target, version: request.httpVersion, headers: raw }, limits);
    if (refusal !== null) return refuseRequest(refusal.status, refusal.why);

    const length = headerValues(raw, 'content-length')[0];
    const chunked = headerValues(raw, 'transfer-encoding').length > 0;
    if (method !== 'POST') {
      if (chunked || Number(length ?? 0) > 0) return passUnread('method', []);
      observed.unread({ method, path: target, reason: 'method' });
      request.resume();
      return ask(raw, null);
    }
    if (Number(length ?? 0) > limits.messageBytes) return passUnread('size', []);

    deadline.set(limits.bodyIdleMs, () => refuseRequest(408, 'body too slow'));
    readBody(
      request,
      limits.messageBytes,
      budget,
      () => deadline.extend(limits.bodyIdleMs),
      (result) => {
        deadline.stop();
        if (over) return;
        if (result.kind === 'full') return refuseRequest(503, 'bodies held by the service');
        if (result.kind === 'large') {
          taken = result.bytes;
          return passUnread('size', result.held);
        }
        taken = result.body.length;
        exchange = observed.message({ path: target, headers: raw, body: result.body });
        ask(exchange.headers, exchange.body);
      },
    );
  };

  begin();
  return {
    phoneGone,
    malformed() {
      if (over) return;
      if (response.headersSent) return place.cut();
      refuseRequest(400, 'malformed body');
      controller?.abort(new Error('the request is malformed'));
    },
  };
}

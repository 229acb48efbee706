import { STATUS_CODES } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Dispatcher } from 'undici';
import type { Readable } from 'node:stream';
import type { Clock } from '../../shared/clock.ts';
import type { DeviceId } from '../../shared/device-id.ts';
import { describeError, isSallyportError, SallyportError } from '../../shared/errors.ts';
import { createAnswerReader } from './answer.ts';
import type { AnswerHead } from './answer.ts';
import { writeAnswerHead, writeBody } from './answer-writer.ts';
import type { Forwarded } from './config.ts';
import type { Deadline } from './deadline.ts';
import { headerValues, requestHeaders } from './headers.ts';
import type { ByteBudget, WpiLimits } from './limits.ts';
import type { ServiceEvent } from './metrics.ts';
import type { ConnectionObserver, Exchange, OwnAnswer, RawHeaders, UnreadExchange } from './observer.ts';
import { checkRequest } from './request-check.ts';
import { readBody, streamBody } from './request-body.ts';
import type { RareLog } from './rare-log.ts';
import type { PhoneOrigin } from './service.ts';
import type { PhoneUpstream } from './phone-upstream.ts';
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
  upstream: PhoneUpstream;
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
  /** In its place, where the request passes unread. */
  let unread: UnreadExchange | null = null;
  let controller: Dispatcher.DispatchController | null = null;
  let upload: Readable | null = null;
  let taken = 0;
  /** Whether the answer that is being sent is the last on this connection. */
  let closing = false;

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
  const sent = (): void => {
    if (over) return;
    finish();
    if (place.phoneEnded()) exchange?.cut('phone');
    else exchange?.delivered();
    place.done(closing);
  };

  /** An answer of our own, after which the connection ends. */
  const refuse = (status: number): void => {
    finish();
    response.sendDate = false;
    response.writeHead(status, ['Content-Length', '0', 'Connection', 'close']);
    deadline.set(limits.phoneIdleMs, place.cut);
    response.end(() => {
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

  const writeHead = (head: AnswerHead, extra: RawHeaders, length: number | null): void => {
    // Bytes of an unfinished body cannot be told from a next request for certain.
    closing = head.close || place.lastAnswer() || !request.complete || !response.shouldKeepAlive;
    writeAnswerHead(response, head, extra, length, closing);
  };

  /** Writes an answer that is held whole. */
  const reply = (head: AnswerHead, extra: RawHeaders, body: Buffer): void => {
    const bodyless = method === 'HEAD' || head.status === 204 || head.status === 304;
    try {
      writeHead(head, extra, bodyless ? null : body.length);
    } catch (error) {
      return upstreamFailed(error instanceof Error ? error : new Error('the answer has unusable headers'));
    }
    writeBody(response, body, () => deadline.set(limits.phoneIdleMs, place.cut), sent);
  };

  /** Writes the observer's answer. The phone's connection stays, whatever upstream does with its own. */
  const replyOwn = ({ status, headers, body }: OwnAnswer): void =>
    reply({ status, reason: STATUS_CODES[status] ?? '', headers, length: null, close: false }, [], body);

  /** What is to be answered from inside does not come. */
  const ownTimedOut = (): void => {
    if (over) return;
    log.warn('an answer of our own did not come in time', { after_ms: limits.answerMs });
    exchange?.cut('upstream');
    refuse(504);
  };

  /** The device could be given no address to be led upstream from. */
  const unaddressed = (error: Error): void => {
    if (over) return;
    count('address_refused');
    log.warn('refused a request: its device gets no source address', { error: describeError(error) });
    exchange?.cut('upstream');
    refuse(502);
  };

  /** @param device - undefined = the request passes unread */
  const ask = (
    headers: RawHeaders,
    body: Buffer | Readable | null,
    device: DeviceId | null | undefined,
  ): void => {
    // Connecting has its own limit; this one is for what nobody thought of.
    deadline.set(limits.connectMs + limits.answerMs, timedOut);
    place.upstream.take(device, (error, connection) => {
      if (over) return;
      if (connection === null) return unaddressed(error ?? new Error('there is none'));
      send(connection, headers, body);
    });
  };

  const send = (
    connection: UpstreamConnection,
    headers: RawHeaders,
    body: Buffer | Readable | null,
  ): void => {
    const without = body instanceof Buffer || body === null ? ['content-length'] : [];
    count('request');
    const reader = createAnswerReader(
      {
        method,
        hold: exchange !== null,
        limit: limits.answerBytes,
        budget,
        broken: () => connection.broken(),
      },
      answer,
    );
    connection.send(
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
      unread?.answered({ status: head.status, headers: head.headers });
      const shown = exchange?.answered({ status: head.status, headers: head.headers, body }) ?? [];
      if ('body' in shown) replyOwn(shown);
      else reply(head, shown, body);
    },
    begin(head: AnswerHead): void {
      if (over) return;
      const { status, headers } = head;
      unread?.answered({ status, headers });
      exchange?.answeredUnread({ status, headers });
      writeHead(head, [], head.length);
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
      response.end(sent);
    },
    failed: upstreamFailed,
  };

  const passUnread = (reason: 'method' | 'size', held: Buffer[]): void => {
    unread = observed.unread({ method, path: target, headers: raw, reason });
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
    if (!over) ask(unread.headers, upload, undefined);
  };

  const begin = (): void => {
    const refusal = checkRequest({ method, target, version: request.httpVersion, headers: raw }, limits);
    if (refusal !== null) return refuseRequest(refusal.status, refusal.why);

    const length = headerValues(raw, 'content-length')[0];
    const chunked = headerValues(raw, 'transfer-encoding').length > 0;
    if (method !== 'POST') {
      if (chunked || Number(length ?? 0) > 0) return passUnread('method', []);
      unread = observed.unread({ method, path: target, headers: raw, reason: 'method' });
      request.resume();
      return ask(unread.headers, null, undefined);
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
        const read = observed.message({ path: target, headers: raw, body: result.body });
        exchange = read;
        if (read.local !== undefined) return replyOwn(read.local);
        if (read.later === undefined) return ask(read.headers, read.body, read.device);
        deadline.set(limits.answerMs, ownTimedOut);
        void read.later.then((own) => {
          if (over) return;
          deadline.stop();
          if (own === null) ask(read.headers, read.body, read.device);
          else replyOwn(own);
        });
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

import type { Dispatcher } from 'undici';
import { SallyportError } from '../../shared/errors.ts';
import type { ByteBudget } from './limits.ts';
import { connectionOptions, headerValues } from './headers.ts';
import type { RawHeaders } from './observer.ts';

/** The head of upstream's answer. */
export interface AnswerHead {
  status: number;
  /** The reason phrase as sent, maybe empty. */
  reason: string;
  headers: RawHeaders;
  /** Length of the body that follows; null where upstream does not tell it before. */
  length: number | null;
  /** Whether upstream wants the connection closed. */
  close: boolean;
}

/** What becomes of an answer. After `whole`, `end` or `failed` nothing more comes. */
export interface AnswerSink {
  /** The request's first byte is about to go. */
  started(controller: Dispatcher.DispatchController): void;
  /** The head has come; time runs anew. */
  head(): void;
  /** The whole answer, held. Its bytes stay taken from the budget; whoever sends them gives them back. */
  whole(head: AnswerHead, body: Buffer): void;
  /** An answer too big to hold begins. */
  begin(head: AnswerHead): void;
  piece(chunk: Buffer): void;
  end(): void;
  failed(error: Error): void;
}

/**
 * Reads one answer of upstream. An answer up to `limit` is held whole where `hold` asks for it, and always where its
 * length is not known before its end: old phones do not understand chunks, so it gets a Content-Length. Without a
 * length and over the limit, it fails.
 */
export function createAnswerReader(
  options: { method: string; hold: boolean; limit: number; budget: ByteBudget; broken: () => boolean },
  sink: AnswerSink,
): Dispatcher.DispatchHandler {
  const { method, hold, limit, budget, broken } = options;
  let head: AnswerHead | null = null;
  let held: Buffer[] | null = null;
  let bytes = 0;
  /** Of a body that is passed on as it comes. */
  let passed = 0;
  let over = false;

  const release = (): void => {
    budget.give(bytes);
    bytes = 0;
    held = null;
  };
  const fail = (controller: Dispatcher.DispatchController | null, error: Error): void => {
    if (over) return;
    over = true;
    release();
    sink.failed(error);
    controller?.abort(error);
  };
  return {
    onRequestStart: (controller) => sink.started(controller),
    onResponseStart(controller, status, _parsed, reason = '') {
      // Interim answers (103 and the like) concern this connection only.
      if (status < 200 || over) return;
      const headers = rawHeaders(controller);
      const lengths = headerValues(headers, 'content-length');
      const bodyless = method === 'HEAD' || status === 204 || status === 304;
      const chunked = headerValues(headers, 'transfer-encoding').length > 0;
      const length = bodyless ? 0 : chunked || lengths[0] === undefined ? null : Number(lengths[0]);
      head = { status, reason, headers, length, close: connectionOptions(headers).includes('close') };
      sink.head();
      if (length === null || bodyless || (hold && length <= limit)) held = [];
      else sink.begin(head);
    },
    onResponseData(controller, chunk) {
      if (over) return;
      if (held === null) {
        passed += chunk.length;
        return sink.piece(chunk);
      }
      if (bytes + chunk.length > limit) {
        return fail(
          controller,
          new SallyportError(
            'TOO_LARGE',
            `upstream answered without Content-Length and with more than ${limit} bytes; phones do not understand chunks`,
          ),
        );
      }
      if (!budget.take(chunk.length)) {
        return fail(
          controller,
          new SallyportError('TOO_LARGE', 'the bodies held by this service are at their limit'),
        );
      }
      bytes += chunk.length;
      held.push(chunk);
    },
    onResponseEnd(controller) {
      if (over || head === null) return;
      // Undici takes a reset for the end of a body that ends with its connection.
      if (head.length === null && broken() && headerValues(head.headers, 'transfer-encoding').length === 0) {
        return fail(
          controller,
          new SallyportError('UPSTREAM_CUT', 'upstream reset the connection in its answer'),
        );
      }
      over = true;
      if (held === null) return sink.end();
      const body = held.length === 1 ? held[0]! : Buffer.concat(held);
      sink.whole(head, body);
    },
    onResponseError(_controller, error) {
      // Where upstream hangs up while its last bytes are held back for the phone, undici tells of that rather than
      // of the answer's end. The answer is whole all the same.
      if (!over && held === null && head !== null && passed === head.length) {
        over = true;
        return sink.end();
      }
      fail(null, error);
    },
  };
}

/** The header lines as sent, one by one; bytes outside ASCII as Latin-1, as they'll be written again. */
function rawHeaders(controller: Dispatcher.DispatchController): string[] {
  const raw = controller.rawHeaders;
  if (!Array.isArray(raw)) throw new TypeError('undici gave no raw headers');
  return raw.map((text) => (typeof text === 'string' ? text : text.toString('latin1')));
}

import type { Log } from '../../shared/log.ts';
import { describeError, isSallyportError, SallyportError } from '../../shared/errors.ts';
import type { ErrorCode } from '../../shared/errors.ts';

/** A refusal with what HTTP needs beside the code: the wrong field, headers. */
export class ApiError extends SallyportError {
  readonly field: string | null;
  readonly headers: Record<string, string>;

  constructor(
    code: ErrorCode,
    message: string,
    extra: { field?: string; headers?: Record<string, string>; cause?: unknown } = {},
  ) {
    super(code, message, extra.cause === undefined ? {} : { cause: extra.cause });
    this.field = extra.field ?? null;
    this.headers = extra.headers ?? {};
  }
}

interface Meaning {
  status: number;
  /** Seconds after which trying again makes sense. */
  retryAfter?: number;
  /** The field that is always to blame. */
  field?: string;
}

/** The one place where codes become statuses. What isn't here is a fault of ours: 500. */
const MEANINGS: Partial<Record<ErrorCode, Meaning>> = {
  REQUEST_INVALID: { status: 400 },
  DEVICE_ID_INVALID: { status: 400 },
  UNAUTHORIZED: { status: 401 },
  ORIGIN_REFUSED: { status: 403 },
  CSRF_REFUSED: { status: 403 },
  NOT_FOUND: { status: 404 },
  METHOD_REFUSED: { status: 405 },
  KEY_REUSED: { status: 409, field: 'key' },
  CAMPAIGN_REFUSED: { status: 409, field: 'campaign' },
  TOO_LARGE: { status: 413 },
  CONTENT_TYPE_REFUSED: { status: 415 },
  HOST_REFUSED: { status: 421 },
  OUTBOX_BUSY: { status: 429, retryAfter: 1 },
  API_BUSY: { status: 429, retryAfter: 5 },
  LOGIN_LIMITED: { status: 429 },
  OUTBOX_FULL: { status: 503, retryAfter: 60 },
  OUTBOX_LOCKED: { status: 503, retryAfter: 10 },
  OUTBOX_UNAVAILABLE: { status: 503, retryAfter: 5 },
  OUTBOX_UNCERTAIN: { status: 503, retryAfter: 5 },
  CLOSED: { status: 503, retryAfter: 10 },
  OUTBOX_STORAGE: { status: 507 },
};

/** The status that a code is answered with. */
export function statusOf(code: ErrorCode): number {
  return MEANINGS[code]?.status ?? 500;
}

/** The codes that are answered with `status`, for the API's document. */
export function codesOf(status: number): ErrorCode[] {
  const named = Object.entries(MEANINGS).flatMap(([code, meaning]) =>
    meaning.status === status ? [code as ErrorCode] : [],
  );
  return status === 500 ? ['INTERNAL', 'OUTBOX_DAMAGED'] : named;
}

/** What a caller reads of an error. */
export interface ErrorBody {
  code: ErrorCode;
  message: string;
  field?: string;
}

export interface ErrorReply {
  status: number;
  headers: Record<string, string>;
  body: ErrorBody;
}

/** How much of an error's text is answered. */
const MESSAGE_LIMIT = 500;

/** Turns anything thrown into an answer. What nobody foresaw is logged in full and answered without detail. */
export function toReply(error: unknown, log: Log): ErrorReply {
  if (!isSallyportError(error)) {
    log.error('request failed', {
      error: describeError(error),
      stack: error instanceof Error ? error.stack : undefined,
    });
    return {
      status: 500,
      headers: {},
      body: { code: 'INTERNAL', message: 'The relay failed to answer; its log says why' },
    };
  }
  const meaning: Meaning = MEANINGS[error.code] ?? { status: 500 };
  if (meaning.status >= 500) log.warn('request refused', { code: error.code, error: describeError(error) });
  const retry: Record<string, string> =
    meaning.retryAfter === undefined ? {} : { 'retry-after': String(meaning.retryAfter) };
  const own = error instanceof ApiError ? error : null;
  const field = own?.field ?? meaning.field;
  return {
    status: meaning.status,
    headers: { ...retry, ...own?.headers },
    body: {
      code: error.code,
      message: error.message.slice(0, MESSAGE_LIMIT),
      ...(field === undefined ? {} : { field }),
    },
  };
}

/**
 * Every code that a Sallyport error can carry. docs/errors.md lists them with what to do; a test keeps the
 * two equal.
 */
export const ERROR_CODES = [
  'CONFIG_INVALID',
  'ADDRESS_INVALID',
  'ADDRESS_IN_USE',
  'FILE_UNREADABLE',
  'FILE_UNWRITABLE',
  'KEY_INVALID',
  'DEVICE_ID_INVALID',
  'INVITE_INVALID',
  'INVITE_EXPIRED',
  'INVITE_USED',
  'RELAY_UNKNOWN',
  'PIN_MISMATCH',
  'LINK_REFUSED',
  'LINK_DOWN',
  'LINK_VERSION',
  'FRAME_INVALID',
  'STREAM_REFUSED',
  'STREAM_CUT',
  'UPSTREAM_REFUSED',
  'UPSTREAM_TIMEOUT',
  'UPSTREAM_CUT',
  'ADDRESSES_EXHAUSTED',
  'REQUEST_INVALID',
  'UNAUTHORIZED',
  'NOT_FOUND',
  'KEY_REUSED',
  'CAMPAIGN_REFUSED',
  'TOO_LARGE',
  'METHOD_REFUSED',
  'CONTENT_TYPE_REFUSED',
  'ORIGIN_REFUSED',
  'CSRF_REFUSED',
  'HOST_REFUSED',
  'API_BUSY',
  'LOGIN_LIMITED',
  'API_UNREACHABLE',
  'API_UNREADABLE',
  'INTERNAL',
  'OUTBOX_FULL',
  'OUTBOX_BUSY',
  'OUTBOX_STORAGE',
  'MIGRATION_REFUSED',
  'OUTBOX_UNAVAILABLE',
  'OUTBOX_UNCERTAIN',
  'OUTBOX_DAMAGED',
  'OUTBOX_LOCKED',
  'OUTBOX_KEY_MISSING',
  'CLOSED',
] as const;

export type ErrorCode = (typeof ERROR_CODES)[number];

/**
 * The one error that Sallyport throws on purpose. Its message says what failed, which thing, the value or
 * limit, and what to do; it never holds a secret or a body.
 */
export class SallyportError extends Error {
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'SallyportError';
    this.code = code;
  }
}

/** Whether `error` is a {@link SallyportError}, of one of `codes` where any are named. */
export function isSallyportError(error: unknown, ...codes: ErrorCode[]): error is SallyportError {
  return error instanceof SallyportError && (codes.length === 0 || codes.includes(error.code));
}

/** One line of text for any thrown value, with the system's code where there is one. */
export function describeError(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const code = 'code' in error && typeof error.code === 'string' ? error.code : '';
  const text =
    error.message === '' && 'errors' in error && Array.isArray(error.errors)
      ? error.errors.map(describeError).join('; ')
      : error.message;
  return code !== '' && !text.includes(code) ? `${text} (${code})` : text;
}

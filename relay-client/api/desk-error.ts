import { ERROR_CODES, SallyportError } from '../../shared/errors.ts';
import type { ErrorCode } from '../../shared/errors.ts';

/** How much of a refusal is looked at, in characters. */
const REFUSAL_LIMIT = 16_384;

/** A refusal of the API, or its absence (`API_UNREACHABLE`). */
export class DeskError extends SallyportError {
  /** The HTTP status; 0 = there was no answer. */
  readonly status: number;
  /** The field that was wrong, where one was. */
  readonly field: string | null;

  constructor(
    code: ErrorCode,
    message: string,
    status: number,
    extra: { field?: string | null; cause?: unknown } = {},
  ) {
    super(code, message, extra.cause === undefined ? {} : { cause: extra.cause });
    this.status = status;
    this.field = extra.field ?? null;
  }
}

/** What a relay's refusal says; something else's, that it isn't a relay. */
export async function readRefusal(response: Response): Promise<DeskError> {
  const text = (await response.text().catch(() => '')).slice(0, REFUSAL_LIMIT);
  const body = parseRefusal(text);
  if (body === null) {
    return new DeskError(
      'API_UNREADABLE',
      `${response.url} answered ${response.status}, not as a relay does; is it one?`,
      response.status,
    );
  }
  return new DeskError(body.code, body.message, response.status, { field: body.field });
}

function parseRefusal(text: string): { code: ErrorCode; message: string; field: string | null } | null {
  try {
    const body = JSON.parse(text) as { code?: unknown; message?: unknown; field?: unknown };
    const code = ERROR_CODES.find((each) => each === body.code);
    if (code === undefined || typeof body.message !== 'string') return null;
    return { code, message: body.message, field: typeof body.field === 'string' ? body.field : null };
  } catch {
    return null;
  }
}

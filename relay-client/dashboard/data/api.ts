import type { ErrorBody } from '../../api/errors.ts';
import type { SessionBody } from '../../api/shapes/session.ts';

/** The relay's API, as the pages ask it: by the cookie, and with the proof that changes need. */

/** A refusal, or no answer at all (`status` 0), in words for the person before the page. */
class ApiFailure extends Error {
  readonly status: number;
  readonly code: string;

  constructor(status: number, code: string, message: string) {
    super(message);
    this.name = 'ApiFailure';
    this.status = status;
    this.code = code;
  }
}

/** A relay that takes longer is not answering. */
const TIMEOUT_MS = 20_000;

let csrf: string | null = null;
const signedOut = new Set<() => void>();

/** Calls back when an answer says that the session is over. */
export function onSignedOut(listener: () => void): () => void {
  signedOut.add(listener);
  return () => void signedOut.delete(listener);
}

/** @param signal - ends the request early: nobody awaits its answer any more */
export async function ask<T>(method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<T> {
  const headers: Record<string, string> = {};
  if (body !== undefined) headers['content-type'] = 'application/json';
  if (method !== 'GET' && csrf !== null) headers['x-csrf-token'] = csrf;
  let response: Response;
  try {
    response = await fetch(path, {
      method,
      headers,
      cache: 'no-store',
      signal: AbortSignal.any([AbortSignal.timeout(TIMEOUT_MS), ...(signal === undefined ? [] : [signal])]),
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
  } catch {
    throw new ApiFailure(
      0,
      'UNREACHABLE',
      'The relay does not answer. Is it running, and is the network up?',
    );
  }
  if (response.ok) return (await response.json()) as T;
  const failure = await readFailure(response);
  if (response.status === 401 && path !== SESSION) signedOut.forEach((listener) => listener());
  throw failure;
}

async function readFailure(response: Response): Promise<ApiFailure> {
  const { status } = response;
  const retry = response.headers.get('retry-after');
  const later = retry === null ? '' : ` Try again in ${retry} s.`;
  try {
    const { code, message } = (await response.json()) as ErrorBody;
    return new ApiFailure(status, code, `${message}.${later}`);
  } catch {
    return new ApiFailure(
      status,
      'UNREADABLE',
      `The relay answered ${status}, and nothing readable.${later}`,
    );
  }
}

const SESSION = 'v1/session';

export async function readSession(): Promise<SessionBody> {
  return keep(await ask<SessionBody>('GET', SESSION));
}

export async function signIn(token: string): Promise<SessionBody> {
  return keep(await ask<SessionBody>('POST', SESSION, { token }));
}

export async function signOut(): Promise<SessionBody> {
  return keep(await ask<SessionBody>('DELETE', SESSION));
}

function keep(session: SessionBody): SessionBody {
  ({ csrf } = session);
  return session;
}

/** A path of the API out of words that may hold anything. */
export function at(...words: string[]): string {
  return words.map(encodeURIComponent).join('/');
}

/** What to tell of anything thrown. */
export function describe(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

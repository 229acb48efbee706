import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Log } from '../../shared/log.ts';
import { ApiError } from './errors.ts';
import { readAs } from './schema.ts';
import type { Schema } from './schema.ts';

/** What a route gets: everything read and checked. */
export interface Call<P, Q, B> {
  params: P;
  query: Q;
  body: B;
  /** The request itself, for routes that stream; its body is untouched unless the route reads JSON. */
  request: IncomingMessage;
  /** Aborted when the caller goes away or the API closes. */
  signal: AbortSignal;
  log: Log;
}

/** What a route answers. A stream writes for itself once the head is out, and resolves when it is done. */
export type Reply =
  | { status: number; headers?: Record<string, string>; json: unknown }
  | { status: number; headers: Record<string, string>; text: string }
  | { status: number; headers: Record<string, string>; bytes: Buffer }
  | { status: number; headers: Record<string, string>; stream: (response: ServerResponse) => Promise<void> };

/** A documented answer. */
export interface Answer {
  description: string;
  /** Default `application/json`; null = without content. */
  type?: string | null;
  /** Null where the answer isn't described by a shape (HTML, metrics). */
  shape: Schema<unknown> | null;
}

export interface RouteSpec<P, Q, B> {
  method: 'GET' | 'POST' | 'DELETE';
  /** `{name}` stands for one path segment. */
  path: string;
  /** A name for generated clients. */
  operation: string;
  summary: string;
  description?: string;
  /** Open to callers without a token. */
  open?: boolean;
  /** Open to any Host header: for balancers and probes that dial an address. */
  anyHost?: boolean;
  params: Schema<P>;
  query: Schema<Q>;
  /** `json`: read whole, an absent body is `{}`; `lines`: the route reads the request by itself. */
  body?:
    { kind: 'json'; shape: Schema<B> } | { kind: 'lines'; line: Schema<unknown>; types: readonly string[] };
  answers: Record<number, Answer>;
  /** Statuses of refusals that this route can come to, beside those of every route. */
  refusals?: readonly number[];
}

/** A route, read and called without knowing its types. */
export interface Route {
  readonly spec: RouteSpec<unknown, unknown, unknown>;
  readonly segments: readonly string[];
  call(given: Call<Record<string, string>, Record<string, string>, unknown>): Promise<Reply>;
}

/** Makes a route out of its description and what it does. */
export function route<P, Q, B = null>(
  spec: RouteSpec<P, Q, B>,
  handle: (call: Call<P, Q, B>) => Promise<Reply>,
): Route {
  return {
    spec,
    segments: segmentsOf(spec.path),
    call: (given) =>
      handle({
        ...given,
        params: readAs(spec.params, given.params, 'path'),
        query: readAs(spec.query, given.query, 'query'),
        body: spec.body?.kind === 'json' ? readAs(spec.body.shape, given.body, 'body') : (null as B),
      }),
  };
}

export interface Match {
  route: Route;
  params: Record<string, string>;
}

/**
 * Finds the route of a request; HEAD goes where GET goes.
 *
 * @throws ApiError `NOT_FOUND`, or `METHOD_REFUSED` with the methods that the path has
 */
export function findRoute(routes: readonly Route[], method: string, path: string): Match {
  const segments = segmentsOf(path).map(decodeSegment);
  const wanted = method === 'HEAD' ? 'GET' : method;
  const here = routes.filter((each) => fits(each.segments, segments));
  const found = here.find((each) => each.spec.method === wanted);
  if (found !== undefined) return { route: found, params: paramsOf(found.segments, segments) };
  if (here.length === 0)
    throw new ApiError(
      'NOT_FOUND',
      `There is no ${path.slice(0, 200)} here; /openapi.json lists what there is`,
    );
  const methods = [
    ...new Set(here.flatMap(({ spec }) => (spec.method === 'GET' ? ['GET', 'HEAD'] : [spec.method]))),
  ].join(', ');
  throw new ApiError('METHOD_REFUSED', `${method} does nothing here; this path takes ${methods}`, {
    headers: { allow: methods },
  });
}

/**
 * The query's fields.
 *
 * @throws ApiError `REQUEST_INVALID` where one is given twice
 */
export function readQuery(search: string): Record<string, string> {
  const fields: Record<string, string> = Object.create(null) as Record<string, string>;
  for (const [name, value] of new URLSearchParams(search)) {
    if (name in fields)
      throw new ApiError('REQUEST_INVALID', `query field ${name} is given twice`, { field: name });
    fields[name] = value;
  }
  return { ...fields };
}

function segmentsOf(path: string): string[] {
  return path.split('/').slice(1);
}

function decodeSegment(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    throw new ApiError('REQUEST_INVALID', 'The path has a percent sign that encodes nothing', {
      field: 'path',
    });
  }
}

function fits(pattern: readonly string[], segments: readonly string[]): boolean {
  return (
    pattern.length === segments.length &&
    pattern.every((part, i) => part.startsWith('{') || part === segments[i])
  );
}

function paramsOf(pattern: readonly string[], segments: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    pattern.flatMap((part, i) => (part.startsWith('{') ? [[part.slice(1, -1), segments[i] ?? '']] : [])),
  );
}

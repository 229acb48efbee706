import { systemClock } from '../../shared/clock.ts';
import type { Clock, Milliseconds } from '../../shared/clock.ts';
import { describeError, isSallyportError } from '../../shared/errors.ts';
import { DeskError, readRefusal } from './desk-error.ts';
import { readEventStream } from './event-stream.ts';
import type { DeskEvent } from './event-stream.ts';
import { jsonLines, textLines } from './lines.ts';
import type { PushBody } from './shapes/requests.ts';
import type { CampaignBody } from './shapes/campaigns.ts';
import type { DeviceDetailBody, DeviceRowBody, UnknownDeviceBody, WhyBody } from './shapes/devices.ts';
import type { AcceptedBody, BulkResult, ClearedBody, MessageBody } from './shapes/messages.ts';
import type { ProxyBody, ReadyBody, ServiceBody, StatusBody } from './shapes/relay.ts';

export interface DeskClientOptions {
  /** Where the API is, such as `http://127.0.0.1:9470`. */
  url: string;
  /** Null = none is needed. */
  token: string | null;
  clock?: Clock;
}

export { DeskError } from './desk-error.ts';

export interface DevicesPage {
  devices: DeviceRowBody[];
  /** Cursor of the next page; null = this was the last. */
  next: string | null;
}

/** The API, typed. Every call rejects with {@link DeskError}. */
export interface DeskClient {
  push(
    device: string,
    push?: PushBody,
    options?: { wait?: 'proxy' },
  ): Promise<AcceptedBody & { known: boolean }>;
  /** Sends lines as they come and gives their results as they come. */
  pushMany(
    lines: AsyncIterable<BulkInput> | Iterable<BulkInput>,
    options?: BulkOptions,
  ): AsyncIterable<BulkResult>;
  clear(device: string, options?: { generation?: number }): Promise<ClearedBody>;
  message(id: string): Promise<MessageBody>;
  messages(device: string, limit?: number): Promise<MessageBody[]>;
  cancel(id: string): Promise<MessageBody>;
  redrive(id: string): Promise<MessageBody>;
  campaign(name: string): Promise<CampaignBody>;
  campaigns(cursor?: string): Promise<{ campaigns: CampaignBody[]; next: string | null }>;
  /** Resolves to the campaign as it is then. */
  changeCampaign(name: string, verb: 'pause' | 'resume' | 'abort'): Promise<CampaignBody>;
  device(device: string): Promise<DeviceDetailBody>;
  why(device: string): Promise<WhyBody>;
  devices(query?: { state?: string; q?: string; cursor?: string; limit?: number }): Promise<DevicesPage>;
  unknownDevices(query?: { q?: string; limit?: number }): Promise<UnknownDeviceBody[]>;
  proxies(): Promise<ProxyBody[]>;
  services(): Promise<ServiceBody[]>;
  status(): Promise<StatusBody>;
  /** Resolves also while the relay isn't ready. */
  ready(): Promise<ReadyBody>;
  /** Follows events, coming back after each loss of the stream, until `signal` aborts. The first loss rejects. */
  events(options: { after?: number; device?: string; signal: AbortSignal }): AsyncIterable<DeskEvent>;
}

/** How a bulk push goes; shares from 0 to 1. */
export interface BulkOptions {
  spreadS?: number;
  campaign?: string;
  canary?: number;
  abortAt?: number;
  perMinute?: number;
}

export type BulkInput = PushBody & { device: string };

/** How long a plain request may take; longer than the server waits for proxies. */
const REQUEST_MS: Milliseconds = 30_000;
/** How long until a lost event stream is sought again. */
const RETRY_MS: Milliseconds = 1_000;

export function createDeskClient({ url, token, clock = systemClock }: DeskClientOptions): DeskClient {
  const base = url.endsWith('/') ? url : `${url}/`;

  async function send(
    method: string,
    path: string,
    init: RequestInit & { query?: Query } = {},
  ): Promise<Response> {
    const { query, ...rest } = init;
    if (!URL.canParse(path, base))
      throw new DeskError('ADDRESS_INVALID', `${JSON.stringify(url)} is no URL; write http://host:port`, 0);
    const target = new URL(path, base);
    for (const [name, value] of Object.entries(query ?? {}))
      if (value !== undefined) target.searchParams.set(name, String(value));
    const headers = new Headers(rest.headers);
    if (token !== null) headers.set('authorization', `Bearer ${token}`);
    try {
      return await fetch(target, { ...rest, method, headers, redirect: 'error' });
    } catch (error) {
      if (rest.signal?.aborted === true && !isTimeout(rest.signal.reason)) throw error;
      throw unreachable(base, error);
    }
  }

  async function ask<T>(
    method: string,
    path: string,
    init: { query?: Query; body?: unknown; also?: number } = {},
  ): Promise<T> {
    return (await askWhole<T>(method, path, init)).value;
  }

  async function askWhole<T>(
    method: string,
    path: string,
    { query, body, also }: { query?: Query; body?: unknown; also?: number } = {},
  ): Promise<{ status: number; value: T }> {
    const response = await send(method, path, {
      signal: AbortSignal.timeout(REQUEST_MS),
      ...(query === undefined ? {} : { query }),
      ...(body === undefined
        ? {}
        : { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }),
    });
    if (!response.ok && response.status !== also) throw await readRefusal(response);
    try {
      return { status: response.status, value: (await response.json()) as T };
    } catch (error) {
      throw new DeskError(
        'API_UNREADABLE',
        `${base} answered something else than JSON; is it a relay?`,
        response.status,
        { cause: error },
      );
    }
  }

  async function* pushMany(
    lines: AsyncIterable<BulkInput> | Iterable<BulkInput>,
    options: BulkOptions = {},
  ): AsyncGenerator<BulkResult> {
    let broken: { error: unknown } | null = null;
    const bytes = async function* (): AsyncGenerator<Uint8Array> {
      try {
        yield* jsonLines(lines);
      } catch (error) {
        broken = { error };
        throw error;
      }
    };
    try {
      yield* pushBytes(bytes(), options);
    } catch (error) {
      // What the caller's own lines failed of is his to hear, not that the request with them broke off.
      throw (broken as { error: unknown } | null)?.error ?? error;
    }
  }

  async function* pushBytes(
    bytes: AsyncIterable<Uint8Array>,
    options: BulkOptions,
  ): AsyncGenerator<BulkResult> {
    const response = await send('POST', 'v1/messages', {
      query: {
        spread_s: options.spreadS,
        campaign: options.campaign,
        canary: options.canary,
        abort_at: options.abortAt,
        per_minute: options.perMinute,
      },
      headers: { 'content-type': 'application/x-ndjson' },
      body: ReadableStream.from(bytes),
      duplex: 'half',
    });
    if (!response.ok) throw await readRefusal(response);
    for await (const line of textLines(response)) if (line !== '') yield JSON.parse(line) as BulkResult;
  }

  async function* events(options: {
    after?: number;
    device?: string;
    signal: AbortSignal;
  }): AsyncGenerator<DeskEvent> {
    const { signal, device } = options;
    let after = options.after;
    let first = true;
    while (!signal.aborted) {
      try {
        const response = await send('GET', 'v1/events', { query: { after, device }, signal });
        if (!response.ok) throw await readRefusal(response);
        first = false;
        for await (const event of readEventStream(textLines(response))) {
          if (event.type === 'history') after = event.entry.seq;
          else if (event.type === 'hello') after ??= event.sequence;
          else if (event.type === 'reset') after = event.reason === 'ahead' ? event.sequence : after;
          yield event;
        }
      } catch (error) {
        if (signal.aborted) return;
        if (first || !isSallyportError(error, 'API_UNREACHABLE', 'API_BUSY', 'CLOSED')) throw error;
      }
      await pause(clock, RETRY_MS, signal);
    }
  }

  const at = (...parts: string[]): string => parts.map(encodeURIComponent).join('/');
  return {
    async push(device, push = {}, { wait } = {}) {
      const { status, value } = await askWhole<AcceptedBody>(
        'POST',
        at('v1', 'devices', device, 'messages'),
        { query: { wait }, body: push },
      );
      return { ...value, known: status === 200 };
    },
    pushMany,
    clear: (device, { generation } = {}) =>
      ask('DELETE', at('v1', 'devices', device, 'messages'), { query: { generation } }),
    message: (id) => ask('GET', at('v1', 'messages', id)),
    messages: async (device, limit) =>
      (
        await ask<{ messages: MessageBody[] }>('GET', at('v1', 'devices', device, 'messages'), {
          query: { limit },
        })
      ).messages,
    cancel: (id) => ask('DELETE', at('v1', 'messages', id)),
    redrive: (id) => ask('POST', at('v1', 'messages', id, 'redrive')),
    campaign: (name) => ask('GET', at('v1', 'campaigns', name)),
    campaigns: (cursor) => ask('GET', 'v1/campaigns', { query: { cursor } }),
    changeCampaign: (name, verb) => ask('POST', at('v1', 'campaigns', name, verb), { body: {} }),
    device: (device) => ask('GET', at('v1', 'devices', device)),
    why: (device) => ask('GET', at('v1', 'devices', device, 'why')),
    devices: (query = {}) => ask('GET', 'v1/devices', { query }),
    unknownDevices: async (query = {}) =>
      (
        await ask<{ unknown: UnknownDeviceBody[] }>('GET', 'v1/devices', {
          query: { ...query, unknown: true },
        })
      ).unknown,
    proxies: async () => (await ask<{ proxies: ProxyBody[] }>('GET', 'v1/proxies')).proxies,
    services: async () => (await ask<{ services: ServiceBody[] }>('GET', 'v1/services')).services,
    status: () => ask('GET', 'v1/status'),
    ready: () => ask('GET', 'readyz', { also: 503 }),
    events,
  };
}

type Query = Record<string, string | number | boolean | undefined>;

function unreachable(base: string, error: unknown): DeskError {
  const cause = error instanceof Error && error.cause !== undefined ? error.cause : error;
  const text = isTimeout(cause)
    ? `gave no answer within ${REQUEST_MS / 1000} s`
    : `cannot be reached: ${describeError(cause)}`;
  return new DeskError(
    'API_UNREACHABLE',
    `The relay's API at ${base} ${text}; is the relay running, and is this its api.listen?`,
    0,
    { cause: error },
  );
}

function isTimeout(error: unknown): boolean {
  return error instanceof DOMException && error.name === 'TimeoutError';
}

function pause(clock: Clock, ms: Milliseconds, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      timer.cancel();
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = clock.after(ms, done);
    signal.addEventListener('abort', done);
    if (signal.aborted) done();
  });
}

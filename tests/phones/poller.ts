/** The poll timer of one phone and what it learnt about where and how often to poll. */
import type { PhoneClock } from './clock.ts';
import type { Dialer, PhoneConnection } from './dialer.ts';
import { pollOnce, pollRequest, type PollResult } from './poll.ts';

export type PollerOptions = {
  deviceId: string;
  /** Base configured in the phone, if any; `forget` falls back to it. */
  url: string | undefined;
  intervalMs: number;
  keepAlive: boolean;
  headers: string[];
  localAddress: string | undefined;
  dialer: Dialer;
  clock: PhoneClock;
  onResult: (result: PollResult) => void;
};

export type Poller = {
  readonly url: string | undefined;
  readonly intervalMs: number;
  /** Starts the timer anew, as any contact with the service does (WIKI); `afterMs` defaults to one interval. */
  restart(afterMs?: number): void;
  /** Polls at once and leaves the timer alone. @throws Error without a poll URL */
  now(): Promise<PollResult>;
  /** Takes what a service wrote; an unusable URL ends polling. */
  learn(taught: { url?: string | undefined; intervalMs?: number | undefined }): void;
  /** Back to what was configured. */
  forget(): void;
  close(): void;
};

/** Node holds a delay in 31 bits; a longer interval polls every 24 days. */
const LONGEST_TIMEOUT_MS = 2 ** 31 - 1;

/** @throws TypeError when the configured base is not a URL to poll */
export function createPoller(options: PollerOptions): Poller {
  const { deviceId, clock } = options;
  const held: { connection?: PhoneConnection | undefined; localAddress?: string } = {};
  if (options.localAddress !== undefined) held.localAddress = options.localAddress;
  let { url, intervalMs } = options;
  let timer: unknown;
  let closed = false;
  if (url !== undefined) pollRequest(url, deviceId);

  function restart(afterMs = intervalMs): void {
    clock.clearTimeout(timer);
    timer = undefined;
    if (closed || url === undefined || !(intervalMs > 0)) return;
    timer = clock.setTimeout(
      () => {
        restart();
        void poll();
      },
      Math.min(afterMs, LONGEST_TIMEOUT_MS),
    );
  }

  async function poll(): Promise<PollResult> {
    if (url === undefined) throw new Error(`phone ${deviceId}: no poll URL is configured or learnt`);
    const request = pollRequest(url, deviceId, options.keepAlive);
    request.headers = options.headers;
    const result = await pollOnce(options.dialer, request, clock.now, held);
    if (!closed) options.onResult(result);
    return result;
  }

  function drop(): void {
    held.connection?.close();
    held.connection = undefined;
  }

  return {
    get url() {
      return url;
    },
    get intervalMs() {
      return intervalMs;
    },
    restart,
    now: poll,
    learn(taught) {
      if (taught.url !== undefined) url = usable(taught.url, deviceId) ? taught.url : undefined;
      if (taught.intervalMs !== undefined) intervalMs = taught.intervalMs;
      drop();
      restart();
    },
    forget() {
      ({ url, intervalMs } = options);
      drop();
      restart();
    },
    close() {
      closed = true;
      clock.clearTimeout(timer);
      drop();
    },
  };
}

function usable(url: string, deviceId: string): boolean {
  try {
    return pollRequest(url, deviceId) !== undefined;
  } catch {
    return false;
  }
}

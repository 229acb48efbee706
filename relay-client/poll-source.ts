import { Agent, request } from 'undici';
import type { Clock, Milliseconds, Timer } from '../shared/clock.ts';
import type { DeviceId } from '../shared/device-id.ts';
import { describeError } from '../shared/errors.ts';
import type { Log } from '../shared/log.ts';
import type { Outbox } from './outbox/outbox.ts';
import type { PendingView } from './pending-view.ts';

/** A service that answers polls itself: it is asked for every known device, and its 202 becomes a pending message. */
export interface PollSourceConfig {
  /** The poll base that the service would give to phones; `contact-me?device-id=…` is appended. */
  url: URL;
  /** Each device is asked about once in this time, or less often where the service answers slowly. */
  interval: Milliseconds;
}

/** How long one answer is waited for. */
const ANSWER_MS: Milliseconds = 10_000;
/** The least time between two questions, so that a small fleet is not asked in a burst and a large one is bounded. */
const LEAST_GAP_MS: Milliseconds = 5;
/** Between two looks while there is no device, or the service does not answer. */
const IDLE_MS: Milliseconds = 5_000;
/** Devices read from the outbox at a time. */
const PAGE = 500;
/** How long a contact-me that came of a 202 is good. */
const TTL_MS: Milliseconds = 7 * 86_400_000;

export interface PollSourceOptions {
  config: PollSourceConfig;
  outbox: Outbox;
  pending: PendingView;
  clock: Clock;
  log: Log;
}

/** What the source has done since it began. */
export interface PollSourceStats {
  asked: number;
  pushed: number;
  cleared: number;
  failed: number;
}

export interface PollSource {
  stats(): PollSourceStats;
  close(): Promise<void>;
}

/** A device whose last answer was 202. */
interface Called {
  /** The generation that the 202 became. */
  readonly generation: number;
  /** It was said again: this service goes on saying it until the work is done. */
  repeated: boolean;
}

/**
 * Asks the service in place of the phones, one device after the other: the next question waits until the last 202 is
 * durable, so a crash can lose one that the service says only once, never more.
 *
 * A 202 that was repeated and is no more means that the work is done or withdrawn, so what it became is cleared. After a
 * 202 that came only once a 200 means nothing: there are services that say it only once.
 */
export function createPollSource(options: PollSourceOptions): PollSource {
  const { config, outbox, pending, clock, log } = options;
  const agent = new Agent({ connections: 1, pipelining: 1, connect: { timeout: ANSWER_MS } });
  const stats: PollSourceStats = { asked: 0, pushed: 0, cleared: 0, failed: 0 };
  const called = new Map<DeviceId, Called>();
  let closed = false;
  let unanswered = false;
  let timer: Timer | null = null;
  let wake: () => void = () => undefined;

  const pause = (ms: Milliseconds): Promise<void> =>
    new Promise((resolve) => {
      wake = resolve;
      timer = clock.after(ms, resolve);
    });

  async function ask(device: DeviceId): Promise<number> {
    const url = new URL(`contact-me?device-id=${encodeURIComponent(device)}`, config.url);
    const answer = await request(url, {
      dispatcher: agent,
      headersTimeout: ANSWER_MS,
      bodyTimeout: ANSWER_MS,
    });
    await answer.body.dump();
    return answer.statusCode;
  }

  /** Asks about one device. @returns whether the service answered */
  async function step(device: DeviceId): Promise<boolean> {
    stats.asked += 1;
    let status: number;
    try {
      status = await ask(device);
    } catch (error) {
      stats.failed += 1;
      if (!unanswered)
        log.warn('poll source does not answer', { url: config.url.href, why: describeError(error) });
      unanswered = true;
      return false;
    }
    if (unanswered) log.info('poll source answers again', { url: config.url.href });
    unanswered = false;
    if (status === 202) await call(device);
    else if (status === 200) await settle(device);
    return true;
  }

  async function call(device: DeviceId): Promise<void> {
    const before = called.get(device);
    // A 202 that follows a 202 is the same call, as long as it is still held here.
    if (before !== undefined && pending.due(device) > 0) {
      before.repeated = true;
      return;
    }
    const { message } = await outbox.push({ device, kind: 'contact-me', ttl: TTL_MS, delay: 0 });
    called.set(device, { generation: message.generation, repeated: false });
    stats.pushed += 1;
  }

  async function settle(device: DeviceId): Promise<void> {
    const before = called.get(device);
    if (before?.repeated === true) {
      const { generation } = before;
      const ended = await outbox.clear(device, {
        state: 'cleared',
        by: 'poll-source',
        generation,
        kind: 'contact-me',
      });
      stats.cleared += ended.length;
    }
    called.delete(device);
  }

  /** Goes once through all devices, spread over the interval. @returns how many there were */
  async function round(): Promise<number> {
    const { devices: count } = await outbox.counts();
    const gap = Math.max(LEAST_GAP_MS, config.interval / Math.max(1, count));
    let asked = 0;
    let cursor: DeviceId | null = null;
    do {
      const page: Awaited<ReturnType<Outbox['devices']>> = await outbox.devices({
        limit: PAGE,
        ...(cursor === null ? {} : { cursor }),
      });
      for (const { device } of page.devices) {
        if (closed) return asked;
        const began = clock.monotonic();
        asked += 1;
        const answered = await step(device);
        await pause(answered ? Math.max(0, gap - (clock.monotonic() - began)) : Math.max(gap, IDLE_MS));
      }
      cursor = page.next;
    } while (cursor !== null);
    return asked;
  }

  async function run(): Promise<void> {
    while (!closed) {
      try {
        if ((await round()) === 0) await pause(IDLE_MS);
      } catch (error) {
        log.error('poll source cannot go on just now', { why: describeError(error) });
        await pause(IDLE_MS);
      }
    }
  }
  const running = run();

  return {
    stats: () => ({ ...stats }),
    async close() {
      closed = true;
      timer?.cancel();
      wake();
      await running;
      await agent.close();
    },
  };
}

import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import type { Clock } from '../../shared/clock.ts';
import type { DeviceId } from '../../shared/device-id.ts';
import type { Log } from '../../shared/log.ts';
import { describeError } from '../../shared/errors.ts';
import type { DeskChange, RelayView } from '../desk.ts';
import type { HistoryEntry, Outbox, Sequence } from '../outbox/outbox.ts';
import { ApiError } from './errors.ts';
import type { ApiLimits } from './limits.ts';
import { presentEvent, presentProxy, isoTime } from './present.ts';
import type { Reply } from './router.ts';

/**
 * Server-sent events (WHATWG HTML, §9.2). Followers pull the history at their own pace, each from his own place,
 * so a slow one costs nobody anything; changes outside the history are handed to those who keep up.
 */
export interface EventHub {
  /**
   * Answers with a stream.
   *
   * @throws ApiError `API_BUSY` where too many follow already, `CLOSED`
   */
  follow(from: From, signal: AbortSignal): Reply;
  /** How many follow. */
  clients(): number;
  /** Ends all streams. */
  close(): void;
}

export interface From {
  /** Null = from now on. */
  after: Sequence | null;
  /** Null = all devices. */
  device: DeviceId | null;
}

export interface EventHubParts {
  outbox: Outbox;
  view: RelayView;
  clock: Clock;
  log: Log;
  limits: ApiLimits;
}

interface Follower {
  device: DeviceId | null;
  response: ServerResponse;
  /** There may be something to read. */
  wake: () => void;
  /** Ends the stream in order. */
  stop: () => void;
  /** Cuts one who doesn't keep up. */
  cut: (why: string) => void;
}

/** How soon a follower who lost his stream comes back, in ms. */
const RETRY_MS = 2000;

export function createEventHub({ outbox, view, clock, log, limits }: EventHubParts): EventHub {
  const followers = new Set<Follower>();
  const reads = new Map<string, Promise<HistoryEntry[]>>();
  let admitted = 0;
  let closed = false;

  const stops = [
    outbox.onCommit(() => followers.forEach((follower) => follower.wake())),
    view.onChange((change) => tellChange(change)),
  ];
  const heartbeat = clock.every(limits.heartbeatMs, () => {
    for (const follower of followers) {
      send(follower, ': beat\n\n');
      // Notes ride along with commits that may say nothing of them.
      follower.wake();
    }
  });

  /** Followers at the same place share one reading, unless something was committed since it began. */
  function read(after: Sequence, device: DeviceId | null): Promise<HistoryEntry[]> {
    const key = `${after} ${outbox.sequence()} ${device ?? ''}`;
    const running = reads.get(key);
    if (running !== undefined) return running;
    const reading = outbox
      .history({ after, limit: limits.eventBatch, ...(device === null ? {} : { device }) })
      .finally(() => reads.delete(key));
    reads.set(key, reading);
    return reading;
  }

  function tellChange(change: DeskChange): void {
    if (followers.size === 0) return;
    const frame = frameOfChange(change, view);
    for (const follower of followers) {
      const about = deviceOf(change);
      if (follower.device === null || about === follower.device) send(follower, frame);
    }
  }

  function send(follower: Follower, frame: string): void {
    if (follower.response.writableLength > limits.eventBacklogBytes) follower.cut('backlog');
    else follower.response.write(frame);
  }

  async function stream(response: ServerResponse, from: From, signal: AbortSignal): Promise<void> {
    const stop = new AbortController();
    const ended = AbortSignal.any([signal, stop.signal]);
    let awake = Promise.withResolvers<void>();
    const follower: Follower = {
      device: from.device,
      response,
      wake: () => awake.resolve(),
      stop: () => stop.abort(),
      cut(why) {
        log.info('event follower cut', { why });
        stop.abort();
        response.destroy();
      },
    };
    ended.addEventListener('abort', () => awake.resolve(), { once: true });
    followers.add(follower);
    try {
      let cursor = await begin(response, from);
      while (!ended.aborted) {
        awake = Promise.withResolvers<void>();
        const entries = await read(cursor, from.device);
        if (ended.aborted) return;
        cursor = entries.at(-1)?.seq ?? cursor;
        if (entries.length > 0 && !response.write(entries.map(frameOfEntry).join('')))
          await drained(follower, ended);
        if (entries.length < limits.eventBatch) await awake.promise;
      }
    } catch (error) {
      if (!ended.aborted) log.warn('event stream failed', { error: describeError(error) });
      response.destroy();
    } finally {
      followers.delete(follower);
    }
  }

  /** Says hello, and where a resuming follower missed something, that he did. Returns where to read on. */
  async function begin(response: ServerResponse, from: From): Promise<Sequence> {
    const sequence = outbox.sequence();
    const hello = { relay: view.name, version: view.version, incarnation: outbox.incarnation, sequence };
    response.write(`retry: ${RETRY_MS}\n\n${frame('hello', hello)}`);
    if (from.after === null) return sequence;
    if (from.after > sequence) {
      response.write(frame('reset', { reason: 'ahead', sequence }));
      return sequence;
    }
    const oldest = from.after === 0 ? undefined : (await outbox.history({ after: 0, limit: 1 }))[0];
    if (oldest !== undefined && oldest.seq > from.after + 1)
      response.write(frame('reset', { reason: 'trimmed', sequence }));
    return from.after;
  }

  async function drained(follower: Follower, ended: AbortSignal): Promise<void> {
    const timer = clock.after(limits.eventStallMs, () => follower.cut('stalled'));
    try {
      await once(follower.response, 'drain', { signal: ended });
    } finally {
      timer.cancel();
    }
  }

  return {
    follow(from, signal) {
      if (closed) throw new ApiError('CLOSED', 'The relay is closing');
      if (admitted >= limits.eventClients) {
        throw new ApiError(
          'API_BUSY',
          `${admitted} callers follow events, which is the limit; end one or try again`,
        );
      }
      return {
        status: 200,
        headers: { 'content-type': 'text/event-stream', 'x-accel-buffering': 'no' },
        stream: async (response) => {
          admitted++;
          try {
            await stream(response, from, signal);
          } finally {
            admitted--;
          }
        },
      };
    },
    clients: () => admitted,
    close() {
      closed = true;
      heartbeat.cancel();
      stops.forEach((stop) => stop());
      followers.forEach((follower) => follower.stop());
    },
  };
}

/** The device that a change is about; null where it's about none. */
function deviceOf(change: DeskChange): DeviceId | null {
  if (change.type === 'warning') return change.warning.device;
  return change.type === 'session' ? change.device : null;
}

function frameOfEntry(entry: HistoryEntry): string {
  return `id: ${entry.seq}\n${frame(entry.event, presentEvent(entry))}`;
}

function frameOfChange(change: DeskChange, view: RelayView): string {
  switch (change.type) {
    case 'link':
      return frame('link', presentProxy(change.proxy, view));
    case 'service':
      return frame('service', {
        name: change.name,
        up: change.health.up,
        why: change.health.why,
        since: isoTime(change.health.since),
      });
    case 'session':
      return frame('session', { device: change.device, phase: change.phase, outcome: change.outcome });
    case 'warning':
      return frame('warning', change.warning);
  }
}

function frame(event: string, data: unknown): string {
  return `event: ${event}\ndata: ${JSON.stringify(data)}\n\n`;
}

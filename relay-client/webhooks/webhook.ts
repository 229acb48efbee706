import type { Clock, Milliseconds } from '../../shared/clock.ts';
import { describeError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { HistoryEntry, Outbox, Sequence } from '../outbox/outbox.ts';
import type { WebhookConfig, WebhookLimits } from './config.ts';
import type { PlaceStore } from './place.ts';
import type { Poster } from './post.ts';
import { signedHeaders } from './signature.ts';

/** What a webhook has done since the relay started. */
export interface WebhookStats {
  /** Requests that the receiver took. */
  delivered: number;
  /** Tries that it did not take. */
  failed: number;
  /** Events that it was never told of: given up, or gone from the history before it could be reached. */
  lost: { gaveUp: number; trimmed: number };
  /** Entries of the history that it has yet to be told of, those that it isn't interested in included. */
  behind: number;
  /** Why the last try failed; null after one that did not. */
  why: string | null;
}

export interface Webhook {
  readonly name: string;
  stats(): WebhookStats;
  /** Stops; what was not yet told is told after the next start. */
  close(): Promise<void>;
}

export interface WebhookOptions {
  config: WebhookConfig;
  secret: Buffer;
  outbox: Outbox;
  /** Turns entries into what the receiver is told, in their order. */
  present: (entries: readonly HistoryEntry[]) => Promise<object[]>;
  poster: Poster;
  place: PlaceStore;
  clock: Clock;
  log: Log;
  /** 0 ≤ random() < 1. */
  random: () => number;
  limits: WebhookLimits;
}

/**
 * Tells one receiver what happens, in order and at least once: it reads the history at its own pace, keeps its place on
 * disk, and tries a batch until the receiver takes it or {@link WebhookLimits.giveUpMs} is over. A slow receiver costs
 * nobody anything but itself.
 */
export function createWebhook(options: WebhookOptions): Webhook {
  const { config, outbox, clock, limits, random } = options;
  const log = options.log.child({ webhook: config.name });
  const wanted = new Set<HistoryEntry['event']>(config.events);
  const stop = new AbortController();
  /** Cuts the request that is under way. */
  const cut = new AbortController();
  const stats = { delivered: 0, failed: 0, lost: { gaveUp: 0, trimmed: 0 }, why: null as string | null };
  let cursor = startAt();
  /** Up to where the place is on disk. */
  let written: Sequence | null = null;
  let committed = Promise.withResolvers<void>();
  const stopListening = outbox.onCommit(() => committed.resolve());

  function startAt(): Sequence {
    const kept = options.place.read();
    const newest = outbox.sequence();
    if (kept !== null && kept <= newest) return kept;
    // An outbox that went back in time (a restored backup) has another history from here on.
    if (kept !== null) log.warn('webhook was told of more than the outbox holds', { told: kept, newest });
    return newest;
  }

  /** Waits for `ms`, until `sooner` is there, or the end. */
  function pause(ms: Milliseconds, sooner?: Promise<void>): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        timer.cancel();
        stop.signal.removeEventListener('abort', done);
        resolve();
      };
      const timer = clock.after(ms, done);
      stop.signal.addEventListener('abort', done, { once: true });
      void sooner?.then(done);
    });
  }

  /** Tries until the receiver takes the batch, it has to be given up, or the end. */
  async function deliver(entries: readonly HistoryEntry[]): Promise<boolean> {
    const first = entries[0]!;
    const last = entries.at(-1)!;
    const id = `${outbox.incarnation}-${first.seq}-${last.seq}`;
    const body = JSON.stringify({ events: await options.present(entries) });
    const began = clock.monotonic();
    for (let failures = 0; ; failures++) {
      const headers = signedHeaders(options.secret, { id, at: Math.floor(clock.wall() / 1000), body });
      const { why, retryAfter } = await options.poster.post(body, headers, cut.signal);
      if (why === null) {
        if (stats.why !== null) log.info('webhook takes events again');
        stats.why = null;
        stats.delivered += 1;
        return true;
      }
      if (stats.why !== why) log.warn('webhook refuses events', { why });
      stats.why = why;
      stats.failed += 1;
      if (clock.monotonic() - began >= limits.giveUpMs) {
        stats.lost.gaveUp += entries.length;
        log.error('webhook was never told of events', { from: first.seq, to: last.seq, why });
        return true;
      }
      const bound = Math.min(limits.firstWaitMs * 2 ** failures, limits.longestWaitMs);
      const asked = Math.min(retryAfter ?? 0, limits.longestWaitMs);
      if (!stop.signal.aborted) await pause(Math.max(asked, bound * (0.5 + random() / 2)));
      if (stop.signal.aborted) return false;
    }
  }

  async function moveTo(place: Sequence, told: boolean): Promise<void> {
    cursor = place;
    if (!told && written !== null && cursor - written < limits.placeEntries) return;
    await options.place.write(cursor);
    written = cursor;
  }

  function countTrimmed(oldest: Sequence): void {
    const missing = oldest - cursor - 1;
    if (missing <= 0) return;
    stats.lost.trimmed += missing;
    log.error('events left the history before the webhook was told', { from: cursor + 1, missing });
  }

  async function step(): Promise<void> {
    committed = Promise.withResolvers<void>();
    const entries = await outbox.history({ after: cursor, limit: limits.page });
    if (entries.length === 0) return pause(limits.lookMs, committed.promise);
    countTrimmed(entries[0]!.seq);
    const chosen = entries.filter(({ event }) => wanted.has(event));
    for (let at = 0; at < chosen.length && !stop.signal.aborted; at += limits.batch) {
      const batch = chosen.slice(at, at + limits.batch);
      if (!(await deliver(batch))) return;
      await moveTo(batch.at(-1)!.seq, true);
    }
    if (!stop.signal.aborted) await moveTo(entries.at(-1)!.seq, false);
  }

  async function run(): Promise<void> {
    while (!stop.signal.aborted) {
      try {
        // Kept at once, so that what happens while the relay is down is told too.
        if (written === null) await moveTo(cursor, true);
        await step();
      } catch (error) {
        log.error('webhook cannot go on just now', { why: describeError(error) });
        await pause(limits.firstWaitMs);
      }
    }
    await moveTo(cursor, true).catch((error: unknown) =>
      log.warn('webhook could not keep its place', { why: describeError(error) }),
    );
  }
  const running = run();

  return {
    name: config.name,
    stats: () => ({ ...stats, lost: { ...stats.lost }, behind: Math.max(0, outbox.sequence() - cursor) }),
    async close() {
      stopListening();
      stop.abort();
      const timer = clock.after(limits.closeMs, () => cut.abort());
      await running;
      timer.cancel();
      await options.poster.close();
    },
  };
}

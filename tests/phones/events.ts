/** What a simulated phone reports, and a way to wait for it. */
import type { ContactMe } from './contact-listener.ts';
import type { DownloadResult } from './download.ts';
import type { Item } from './message.ts';
import type { PollResult } from './poll.ts';
import type { SessionResult } from './session.ts';

export type PhoneEvent = { deviceId: string } & (
  | ({ type: 'poll' } & PollResult)
  /** A session is about to be opened. */
  | { type: 'session-start'; reason: string }
  | ({ type: 'session' } & SessionResult)
  /** `ignored` says why the phone did not react. */
  | ({ type: 'contact-me'; ignored?: 'contact-gap' } & ContactMe)
  /** A service taught a poll base and perhaps an interval. */
  | { type: 'learned'; pollUrl: string | undefined; pollIntervalMs: number }
  | { type: 'items-written'; items: readonly Item[] }
  | { type: 'restart'; cause: 'restart' | 'factory-reset' | 'new-software' | 'secure-mode' }
  | ({ type: 'download'; url: string } & DownloadResult)
  | { type: 'in-call'; inCall: boolean }
);

export type PhoneEventOf<T extends PhoneEvent['type']> = Extract<PhoneEvent, { type: T }>;

export type EventHub = {
  emit(event: PhoneEvent): void;
  /** Calls `listener` at each event; the returned function stops that. */
  on(listener: (event: PhoneEvent) => void): () => void;
  /**
   * The next event of that type for which `test` holds; earlier events do not count.
   * @throws Error after `timeoutMs` of real time (default 10 000), or when the phone is closed
   */
  next<T extends PhoneEvent['type']>(
    type: T,
    test?: (event: PhoneEventOf<T>) => boolean,
    timeoutMs?: number,
  ): Promise<PhoneEventOf<T>>;
  close(): void;
};

export function createEventHub(who: string): EventHub {
  const listeners = new Set<(event: PhoneEvent) => void>();
  const waits = new Set<(error: Error) => void>();
  return {
    emit(event) {
      for (const listener of [...listeners]) listener(event);
    },
    on(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    next(type, test = () => true, timeoutMs = 10_000) {
      return new Promise((resolve, reject) => {
        const stop = (): void => {
          listeners.delete(listen);
          waits.delete(fail);
          clearTimeout(timer);
        };
        const fail = (error: Error): void => {
          stop();
          reject(error);
        };
        const listen = (event: PhoneEvent): void => {
          if (event.type !== type) return;
          const found = event as PhoneEventOf<typeof type>;
          if (!test(found)) return;
          stop();
          resolve(found);
        };
        const timer = setTimeout(
          () => fail(new Error(`phone ${who}: no ${type} event as awaited within ${timeoutMs} ms`)),
          timeoutMs,
        );
        listeners.add(listen);
        waits.add(fail);
      });
    },
    close() {
      for (const fail of [...waits]) fail(new Error(`phone ${who} was closed while an event was awaited`));
      listeners.clear();
    },
  };
}

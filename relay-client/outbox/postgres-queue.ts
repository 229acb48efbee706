import type { Milliseconds } from '../../shared/clock.ts';
import type { Method, Now } from './ledger.ts';
import { unavailable } from './postgres-client.ts';

/** A call on its way to the server. */
export interface Call {
  method: Method;
  now: Now;
  args: readonly unknown[];
  /** When it was begun, by the clock that waits are measured by. */
  since: Milliseconds;
  /** Made in a transaction of its own, because one of those it shared one with has spoiled it. */
  alone: boolean;
  /** Nobody waits for the result. */
  note: boolean;
  resolve(result: never): void;
  reject(error: Error): void;
}

/** The calls that wait for their transaction, in order, and what becomes of them while the server is away. */
export interface CallQueue {
  readonly length: number;
  /** Whether anything but notes waits, which ride along with the next call. */
  wanted(): boolean;
  add(call: Call): void;
  putFirst(calls: readonly Call[]): void;
  /** Takes those that one transaction is to make. */
  takeBatch(): Call[];
  /** Puts a call off until the server is back, or refuses it. */
  later(call: Call, why: string): void;
  /** Does that with all. */
  putOff(why: string): void;
  /** Their transaction did not take place: what may wait is done first now, the rest is refused. */
  putBack(calls: readonly Call[]): void;
  /** Refuses those that have waited since before then. */
  giveUp(before: Milliseconds, why: string): void;
  refuseAll(error: Error): void;
}

/** Pushes that one transaction takes at most; bounds how long the first caller waits for the last. */
const BATCH_LIMIT = 1000;

/**
 * What comes from sessions waits for a server that went away, for it can be told once only. Everything else is refused
 * at once, and whoever asked may try again.
 */
const PATIENT: ReadonlySet<Method> = new Set<Method>(['clear', 'end', 'advance', 'fruitless']);

/**
 * @param where - the server, in errors
 * @param notes - the number of waiting calls from which on notes are dropped while the server is away
 */
export function createCallQueue(where: string, notes: number): CallQueue {
  const queue: Call[] = [];

  function later(call: Call, why: string): void {
    if (call.note ? queue.length < notes : PATIENT.has(call.method)) queue.push(call);
    else call.reject(unavailable(where, why));
  }

  return {
    get length() {
      return queue.length;
    },
    wanted: () => queue.some(({ note }) => !note),
    add: (call) => void queue.push(call),
    putFirst: (calls) => void queue.unshift(...calls),
    takeBatch() {
      const batch: Call[] = [];
      let size = 0;
      while (queue.length > 0 && size < BATCH_LIMIT) {
        const [next] = queue as [Call];
        if (next.alone && batch.length > 0) break;
        batch.push(next);
        queue.shift();
        size += sizeOf(next);
        if (next.alone) break;
      }
      return batch;
    },
    later,
    putOff(why) {
      for (const call of queue.splice(0)) later(call, why);
    },
    putBack(calls) {
      queue.unshift(...calls.filter(({ method, note }) => note || PATIENT.has(method)));
      for (const call of calls) {
        if (!call.note && !PATIENT.has(call.method))
          call.reject(unavailable(where, 'it went away before the commit'));
      }
    },
    giveUp(before, why) {
      for (const call of queue.splice(0)) {
        if (call.since > before || call.note) queue.push(call);
        else call.reject(unavailable(where, why));
      }
    },
    refuseAll(error) {
      for (const call of queue.splice(0)) call.reject(error);
    },
  };
}

function sizeOf({ method, args: [first] }: Call): number {
  return method === 'pushMany' && Array.isArray(first) ? Math.max(1, first.length) : 1;
}

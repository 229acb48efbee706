import type { Method, Now, Refusal } from './ledger.ts';
import type { KeptTime } from './store-time.ts';
import type { PackedChanges } from './sqlite-packing.ts';
import type { Incarnation, OutboxCounts, OutboxLimits, Sequence } from './outbox.ts';

/** What the worker is started with. */
export interface WorkerStart {
  directory: string;
  /** File of the keys that seal what is secret. */
  keyFile: string;
  limits: OutboxLimits;
  /** For a store that is fresh or restored. */
  incarnation: Incarnation;
  /** Whether a damaged store is salvaged. */
  acceptLoss: boolean;
  /** The size up to which a store is checked whole before it is used. */
  wholeCheckBytes: number;
  /** How often the caretaker counts after what was committed, in ms. */
  auditMs: number;
}

/** A call on its way: its number (0 = nobody waits for the answer), and the call. Those of `pushMany` are packed. */
export type CallMessage = [id: number, method: Method, now: Now, args: readonly unknown[]];

export type ToWorker =
  | { type: 'calls'; calls: CallMessage[] }
  | { type: 'backup'; id: number; path: string }
  | { type: 'close'; now: Now };

/** The answer to a call, after its commit. */
export type Answer = { id: number; ok: true; result: unknown } | { id: number; ok: false; refusal: Refusal };

export type FromWorker =
  | {
      type: 'opened';
      incarnation: Incarnation;
      time: KeptTime;
      sequence: Sequence;
      counts: OutboxCounts;
      renewed: 'fresh' | 'restored' | null;
      /** What a salvage came to, for the log. */
      loss: Record<string, unknown> | null;
    }
  | { type: 'refused'; refusal: Refusal }
  | { type: 'committed'; sequence: Sequence; answers: Answer[]; changes: PackedChanges }
  | { type: 'backedUp'; answer: Answer }
  /** The books are wrong; the store goes on. */
  | { type: 'violation'; what: string }
  | { type: 'fatal'; refusal: Refusal }
  | { type: 'closed' };

/** What the owner of the store asks of the thread that looks after it. */
export type Chore =
  | { type: 'checkpoint' }
  | { type: 'verify' }
  | { type: 'audit' }
  | { type: 'backup'; id: number; path: string };

export type ChoreDone =
  | {
      type: 'checkpoint';
      /** Pages in the log, carried over or not. */
      logPages: number;
      failure: { refusal: Refusal; fatal: boolean } | null;
    }
  | { type: 'verify'; refusal: Refusal | null }
  | { type: 'audit'; wrong: string | null }
  | { type: 'backup'; id: number; refusal: Refusal | null };

import type { Clock } from '../../shared/clock.ts';
import { isSallyportError, SallyportError } from '../../shared/errors.ts';
import { createFront } from './front.ts';
import type { Carrier } from './front-calls.ts';
import { createIncarnation } from './ids.ts';
import type { RandomBytes } from './ids.ts';
import { CHANGING, callLedger } from './ledger.ts';
import type { Arguments, Ledger, Method, Now } from './ledger.ts';
import { createModelLedger } from './model-ledger.ts';
import { DEFAULT_OUTBOX_LIMITS } from './outbox.ts';
import type { Outbox, OutboxLimits } from './outbox.ts';
import { closed, noRoom } from './refusals.ts';

/** What a simulated disk holds: every call that changed something, in order. Its store is what they come to. */
export interface ModelDisk {
  readonly calls: { method: Method; now: Now; args: readonly unknown[] }[];
  /** How many of `calls` a crash leaves. */
  synced: number;
  /** True makes the next opening start a new incarnation, as a restored backup does. */
  restored: boolean;
}

/** What a simulation does to a model outbox; may be changed at any time. */
export interface ModelFaults {
  /** How long a sync takes by the clock; 0 = until the next microtask. Default 0. */
  syncDelay: number;
  /** The next sync fails: `onFatal` is called, and every call rejects from then on. Default false. */
  failSync: boolean;
  /** There is no room: every call that changes something is refused with OUTBOX_STORAGE. Default false. */
  full: boolean;
}

export interface ModelOutboxOptions {
  clock: Clock;
  random: RandomBytes;
  limits?: Partial<OutboxLimits>;
  /** Kept and read; change it to inject a fault. */
  faults?: Partial<ModelFaults>;
  /** Opens what this disk holds; default: a fresh one. */
  disk?: ModelDisk;
  onFatal?: (error: Error) => void;
}

export interface ModelOutbox extends Outbox {
  readonly disk: ModelDisk;
  /**
   * Ends the outbox as a crash would: what was not synced is lost, except for the first `survivors` calls (a
   * kernel may have written them). Calls under way reject with CLOSED. Open another on `disk` to go on.
   */
  crash(survivors?: number): void;
}

export function createModelDisk(): ModelDisk {
  return { calls: [], synced: 0, restored: false };
}

/** A copy of what is safely on `disk`, to be opened as a restored backup. */
export function copyModelDisk(disk: ModelDisk): ModelDisk {
  return { calls: disk.calls.slice(0, disk.synced), synced: disk.synced, restored: true };
}

/** An outbox in memory: the oracle that engines are compared with, and the one that simulations use. */
export function createModelOutbox(options: ModelOutboxOptions): ModelOutbox {
  const { clock, random } = options;
  const limits = { ...DEFAULT_OUTBOX_LIMITS, ...options.limits };
  const faults = options.faults ?? {};
  const disk = options.disk ?? createModelDisk();
  const ledger = createModelLedger(limits);
  let waiting: { settle(): void; abandon(error: Error): void }[] = [];
  let syncing = false;
  let over: Error | null = null;

  disk.calls.length = disk.synced;
  for (const { method, now, args } of disk.calls) callLedger(ledger, method, now, args);
  const last = disk.calls.at(-1)?.now;
  const time = { storeTime: last?.at ?? 0, wallAhead: last?.ahead ?? 0 };
  const fresh = createIncarnation(random);
  if (disk.calls.length === 0 || disk.restored) {
    apply('renew', { at: time.storeTime, wall: Math.floor(clock.wall()), ahead: time.wallAhead }, [fresh]);
    disk.synced = disk.calls.length;
    disk.restored = false;
  }

  function apply(method: Method, now: Now, args: readonly unknown[]): unknown {
    if (CHANGING.has(method) && method !== 'touch' && faults.full === true)
      throw noRoom('memory', 'a fault asked for');
    const result = callLedger(ledger, method, now, args);
    if (CHANGING.has(method)) disk.calls.push({ method, now, args: structuredClone(args) });
    return structuredClone(result);
  }

  function stop(error: Error): void {
    over = error;
    const abandoned = waiting;
    waiting = [];
    for (const call of abandoned) call.abandon(error);
  }

  function scheduleSync(): void {
    if (syncing) return;
    syncing = true;
    const delay = faults.syncDelay ?? 0;
    if (delay > 0) clock.after(delay, sync);
    else queueMicrotask(sync);
  }

  function sync(): void {
    syncing = false;
    if (over !== null) return;
    if (faults.failSync === true) {
      const error = new SallyportError(
        'OUTBOX_STORAGE',
        'The outbox in memory failed to sync (a fault asked for).',
      );
      stop(error);
      options.onFatal?.(error);
      return;
    }
    disk.synced = disk.calls.length;
    const done = waiting;
    waiting = [];
    for (const call of done) call.settle();
    front.committed(ledger.sequence);
  }

  const carrier: Carrier = {
    call<M extends Method>(method: M, now: Now, args: Arguments<M>) {
      return new Promise<ReturnType<Ledger[M]>>((resolve, reject) => {
        if (over !== null) return reject(over);
        let settle: () => void;
        try {
          const result = apply(method, now, args) as ReturnType<Ledger[M]>;
          settle = () => resolve(result);
        } catch (error) {
          if (!isSallyportError(error)) throw error;
          settle = () => reject(error);
        }
        waiting.push({ settle, abandon: reject });
        scheduleSync();
      });
    },
    carryNote(now, args) {
      if (over === null && faults.full !== true) apply('note', now, args);
    },
    async close(now) {
      if (over !== null) return;
      await carrier.call('touch', now, []);
      over = closed();
    },
  };

  const front = createFront({
    carrier,
    opened: { incarnation: ledger.incarnation, time, sequence: ledger.sequence },
    clock,
    random,
    limits,
  });
  return Object.assign(front.outbox, {
    disk,
    crash(survivors = 0) {
      disk.synced = Math.min(disk.calls.length, disk.synced + survivors);
      stop(new SallyportError('CLOSED', 'The outbox crashed.'));
    },
  });
}

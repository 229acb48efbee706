import { resolve } from 'node:path';
import { Worker } from 'node:worker_threads';
import type { Clock, Milliseconds } from '../../shared/clock.ts';
import { describeError, isSallyportError, SallyportError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import { createFront } from './front.ts';
import type { Front } from './front.ts';
import type { Carrier } from './front-calls.ts';
import { createIncarnation } from './ids.ts';
import type { RandomBytes } from './ids.ts';
import type { Arguments, Ledger, Method, Now } from './ledger.ts';
import { DEFAULT_OUTBOX_LIMITS } from './outbox.ts';
import type { Outbox, OutboxLimits } from './outbox.ts';
import { closed, revive } from './refusals.ts';
import type { Answer, CallMessage, FromWorker, ToWorker, WorkerStart } from './sqlite-messages.ts';
import { packRequests, unpackAccepted, unpackChanges } from './sqlite-packing.ts';
import type { PackedAccepted } from './sqlite-packing.ts';
import { WHOLE_CHECK_BYTES } from './store-check.ts';
import { workerUrl } from '../../shared/worker-url.ts';

export interface SqliteOutboxOptions {
  /** The directory that holds the store; made (0700) if there is none. One process at a time. */
  path: string;
  /**
   * File of the keys that seal actions on the disk; made (0600) for a new outbox if there is none. Keep it out of
   * `path`, so that a copy of the outbox is worth nothing to a thief. Default: `path` with `.key` added.
   */
  keyFile?: string;
  clock: Clock;
  random: RandomBytes;
  log: Log;
  limits?: Partial<OutboxLimits>;
  /**
   * Default false: a damaged store is refused. True: it is put aside, and what is readable of it is kept; the log says what
   * is gone, and where the whole report is.
   */
  acceptLoss?: boolean;
  /** Bytes up to which a store is checked whole before it is used, a larger one beside its use; default 256 MiB. */
  wholeCheckBytes?: number;
  /**
   * Told once, when the disk failed under a commit or the store proved damaged: what was being written may or
   * may not be there. Every operation rejects from then on; the process should say so and die, because trying
   * a failed sync again proves nothing.
   */
  onFatal(error: Error): void;
  /** Told when accepted = ended + held does not hold, which is a fault of ours. The store goes on. */
  onViolation?: (what: string) => void;
  /** How often that is counted after, beside what each commit compares; default a minute. */
  auditMs?: Milliseconds;
}

const AUDIT_MS: Milliseconds = 60_000;

/** An outbox in a SQLite file. */
export interface SqliteOutbox extends Outbox {
  /**
   * Writes a whole copy of the store, as of one moment, to the file `path` (0600), replacing what is there.
   * Operations go on meanwhile. `restoreOutbox` puts it back; it then starts a new incarnation.
   *
   * @throws SallyportError FILE_UNWRITABLE, OUTBOX_STORAGE, CLOSED
   */
  backup(path: string): Promise<void>;
}

/**
 * Opens the outbox in a directory, in a thread of its own.
 *
 * @throws SallyportError FILE_UNWRITABLE, OUTBOX_LOCKED (another process has it), OUTBOX_DAMAGED (also: written by
 * a newer version), OUTBOX_STORAGE, each naming the directory; OUTBOX_KEY_MISSING, KEY_INVALID, FILE_UNREADABLE,
 * each naming the key file
 */
export async function openSqliteOutbox(options: SqliteOutboxOptions): Promise<SqliteOutbox> {
  const { path, clock, random, log } = options;
  const limits = { ...DEFAULT_OUTBOX_LIMITS, ...options.limits };
  const { keyFile = `${resolve(path)}.key` } = options;
  const start: WorkerStart = {
    directory: path,
    keyFile,
    limits,
    incarnation: createIncarnation(random),
    acceptLoss: options.acceptLoss ?? false,
    wholeCheckBytes: options.wholeCheckBytes ?? WHOLE_CHECK_BYTES,
    auditMs: options.auditMs ?? AUDIT_MS,
  };
  const began = clock.monotonic();
  const worker = new Worker(workerUrl(import.meta.url, './sqlite-worker'), {
    workerData: start,
    name: 'outbox',
  });
  const exited = new Promise<void>((resolve) => worker.once('exit', () => resolve()));
  const waiting = new Map<number, { resolve(result: never): void; reject(error: Error): void }>();
  let over: Error | null = null;
  let lastId = 0;
  let outgoing: CallMessage[] = [];
  let departing = false;
  let front: Front | null = null;

  const opened = await new Promise<Extract<FromWorker, { type: 'opened' }>>((resolve, reject) => {
    worker.on('message', (message: FromWorker) => {
      if (message.type === 'opened') resolve(message);
      else if (message.type === 'refused') reject(revive(message.refusal));
      else receive(message);
    });
    worker.on('error', (error) => {
      reject(lost(describeError(error)));
      fail(lost(describeError(error)));
    });
    worker.on('exit', () => {
      reject(lost('it ended'));
      fail(lost('it ended'));
    });
  });

  function lost(why: string): SallyportError {
    return new SallyportError(
      'OUTBOX_STORAGE',
      `The thread of the outbox in ${path} stopped (${why}). Start again; what was accepted is on disk.`,
    );
  }

  function receive(message: Exclude<FromWorker, { type: 'opened' | 'refused' }>): void {
    switch (message.type) {
      case 'committed':
        message.answers.forEach(settle);
        front?.committed(message.sequence, unpackChanges(message.changes));
        return;
      case 'backedUp':
        return settle(message.answer);
      case 'violation':
        log.error('the outbox does not add up', { path, what: message.what });
        return options.onViolation?.(message.what);
      case 'fatal':
        return fail(revive(message.refusal));
      case 'closed':
        return stop(closed());
      default:
        return message satisfies never;
    }
  }

  function settle(answer: Answer): void {
    const call = waiting.get(answer.id);
    waiting.delete(answer.id);
    if (answer.ok) call?.resolve(answer.result as never);
    else call?.reject(revive(answer.refusal));
  }

  function stop(error: Error): void {
    over ??= error;
    const abandoned = [...waiting.values()];
    waiting.clear();
    for (const call of abandoned) call.reject(error);
  }

  function fail(error: SallyportError): void {
    if (over !== null || front === null) return;
    over = error;
    log.error('outbox failed', { path, code: error.code, error: error.message });
    options.onFatal(error);
    stop(error);
  }

  function send(message: ToWorker): void {
    worker.postMessage(message);
  }

  /** Calls of one turn of the event loop leave together. */
  function depart(): void {
    departing = false;
    const calls = outgoing;
    outgoing = [];
    if (calls.length > 0 && over === null) send({ type: 'calls', calls });
  }

  function queue(call: CallMessage): void {
    outgoing.push(call);
    if (departing) return;
    departing = true;
    setImmediate(depart);
  }

  function ask<T>(begin: (id: number) => void): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      if (over !== null) return reject(over);
      waiting.set(++lastId, { resolve, reject });
      begin(lastId);
    });
  }

  const carrier: Carrier = {
    async call<M extends Method>(method: M, now: Now, args: Arguments<M>) {
      if (method !== 'pushMany') return ask<ReturnType<Ledger[M]>>((id) => queue([id, method, now, args]));
      const [requests] = args as unknown as Arguments<'pushMany'>;
      const packed = packRequests(requests);
      const results = await ask<PackedAccepted>((id) => queue([id, method, now, [packed]]));
      return unpackAccepted(results, requests, now) as ReturnType<Ledger[M]>;
    },
    carryNote: (now, args) => void outgoing.push([0, 'note', now, args]),
    async close(now) {
      // Only when its thread is gone has it let go of its files, also where it has failed.
      if (over !== null) return exited;
      depart();
      send({ type: 'close', now });
      await exited;
      if (!isSallyportError(over, 'CLOSED')) throw over ?? lost('it ended');
      log.info('outbox closed', { path });
    },
  };

  front = createFront({ carrier, opened, clock, random, limits });
  if (opened.loss !== null) {
    log.error('the outbox was damaged; what was readable of it is kept, the rest is gone', {
      path,
      ...opened.loss,
    });
  }
  if (opened.renewed === 'restored') {
    log.warn('outbox is not the file that was last opened here; a new incarnation begins', {
      path,
      incarnation: opened.incarnation,
    });
  }
  log.info('outbox opened', {
    path,
    incarnation: opened.incarnation,
    sequence: opened.sequence,
    held: opened.counts.held,
    ms: Math.round(clock.monotonic() - began),
  });

  return Object.assign(front.outbox, {
    backup: (file: string) =>
      ask<void>((id) => {
        depart();
        send({ type: 'backup', id, path: file });
      }),
  });
}

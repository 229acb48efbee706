import type { DatabaseSync } from 'node:sqlite';
import { parentPort, receiveMessageOnPort, Worker, workerData } from 'node:worker_threads';
import type { MessagePort } from 'node:worker_threads';
import { describeError, isSallyportError, SallyportError } from '../../shared/errors.ts';
import { callLedger } from './ledger.ts';
import type { Refusal } from './ledger.ts';
import type { RecordedChange } from './recent-changes.ts';
import { revive } from './refusals.ts';
import { countRequests, packAccepted, packChanges, unpackRequests } from './sqlite-packing.ts';
import type { PackedRequests } from './sqlite-packing.ts';
import { storageFailure } from './sqlite-errors.ts';
import { createSqliteLedger } from './sqlite-ledger.ts';
import type { SqliteLedger } from './sqlite-ledger.ts';
import type { Answer, CallMessage, Chore, ChoreDone } from './sqlite-messages.ts';
import type { FromWorker, ToWorker, WorkerStart } from './sqlite-messages.ts';
import { openSealer } from './sqlite-sealer.ts';
import { summarise } from './salvage.ts';
import { openStore } from './store-file.ts';
import type { OpenedStore } from './store-file.ts';
import { workerUrl } from '../../shared/worker-url.ts';

/*
 * The thread that owns the store. It takes whatever calls have arrived, makes them in one transaction, commits,
 * and only then answers: one sync of the disk serves all callers that waited for it.
 */

/** Pushes that one transaction takes at most; bounds how long the first caller waits for the last. */
const BATCH_LIMIT = 1000;

/** Changed rows after which the log is carried into the store, by the caretaker. */
const CHECKPOINT_ROWS = 2000;

/**
 * Pages in the log (64 MiB) beyond which we carry the rest over ourselves, between two commits: only when nothing
 * is left in it does the log start again from its beginning.
 */
const LOG_PAGES = 16_384;

/** Between two steps in which devices are read for searches; a step takes some milliseconds. */
const LEARN_PAUSE_MS = 20;

if (parentPort !== null) serve(parentPort, workerData as WorkerStart);

function serve(port: MessagePort, start: WorkerStart): void {
  const send = (message: FromWorker): void => port.postMessage(message);
  let store: OpenedStore | null = null;
  let db: DatabaseSync;
  let ledger: SqliteLedger;
  try {
    store = openStore(start.directory, start.incarnation, start.acceptLoss, start.wholeCheckBytes);
    db = store.db;
    ledger = createSqliteLedger(db, start.limits, openSealer(db, start.keyFile));
    const { incarnation, store_time: storeTime, wall_ahead: wallAhead, seq: sequence } = ledger.store;
    const counts = ledger.counts({ at: 0, wall: 0, ahead: 0 });
    const loss = store.loss === null ? null : summarise(store.loss);
    const time = { storeTime, wallAhead };
    send({ type: 'opened', incarnation, time, sequence, counts, renewed: store.renewed, loss });
  } catch (error) {
    store?.close();
    send({ type: 'refused', refusal: refusalOf(error) });
    port.close();
    return;
  }
  const { path, close } = store;

  const begin = db.prepare('BEGIN');
  const commit = db.prepare('COMMIT');
  const rollback = db.prepare('ROLLBACK');
  const inbox: ToWorker[] = [];
  /** Committed, and not told yet. */
  let changes: RecordedChange[] = [];
  /** Made when there is a chore to do. */
  let caretaker: Worker | null = null;
  let over = false;
  let checkpointing = false;
  let uncheckpointed = 0;
  let learning: NodeJS.Timeout | null = null;

  function work(): void {
    while (!over) {
      // Takes what has arrived without waiting for the event loop.
      for (let next = receiveMessageOnPort(port); next !== undefined; next = receiveMessageOnPort(port)) {
        inbox.push(next.message as ToWorker);
      }
      const message = inbox.shift();
      if (message === undefined) return;
      if (message.type === 'calls') makeCalls(message.calls);
      else if (message.type === 'backup') delegate(message);
      else shut(message);
    }
  }

  function makeCalls(calls: CallMessage[]): void {
    let size = sizeOf(calls);
    for (let next = inbox[0]; next?.type === 'calls' && size < BATCH_LIMIT; next = inbox[0]) {
      calls.push(...next.calls);
      size += sizeOf(next.calls);
      inbox.shift();
    }
    try {
      const answers = transact(calls).filter((answer) => answer.id !== 0);
      send({ type: 'committed', sequence: ledger.store.seq, answers, changes: packChanges(changes) });
      changes = [];
    } catch (error) {
      return fail(error);
    }
    learn();
    if (uncheckpointed < CHECKPOINT_ROWS || checkpointing) return;
    checkpointing = true;
    uncheckpointed = 0;
    delegate({ type: 'checkpoint' });
  }

  /**
   * Makes the calls in one transaction. A call that is refused changed nothing and spoils nothing; where
   * SQLite itself gives up (no room), the halves are tried apart, so that what fits is kept.
   */
  function transact(calls: CallMessage[]): Answer[] {
    try {
      begin.run();
      const answers = calls.map(makeCall);
      const { weight } = ledger;
      if (ledger.dirty) ledger.beforeCommit();
      commit.run();
      changes.push(...ledger.recorded);
      ledger.committed();
      const miscount = ledger.miscount();
      if (miscount !== null) send({ type: 'violation', what: miscount });
      uncheckpointed += weight;
      return answers;
    } catch (error) {
      const failure = storageFailure(error, start.directory);
      if (failure.fatal) throw error;
      if (db.isTransaction) rollback.run();
      ledger.rolledBack();
      const [only] = calls;
      if (calls.length === 1 && only !== undefined) {
        return [{ id: only[0], ok: false, refusal: refusalOf(failure.error) }];
      }
      const middle = calls.length >> 1;
      return [...transact(calls.slice(0, middle)), ...transact(calls.slice(middle))];
    }
  }

  function makeCall([id, method, now, args]: CallMessage): Answer {
    try {
      if (method !== 'pushMany') return { id, ok: true, result: callLedger(ledger, method, now, args) };
      const results = ledger.pushMany(now, unpackRequests(args[0] as PackedRequests));
      return { id, ok: true, result: packAccepted(results) };
    } catch (error) {
      if (!isSallyportError(error)) throw error;
      return { id, ok: false, refusal: refusalOf(error) };
    }
  }

  /** What a search has asked for is read beside the calls, which take most of the time if they want it. */
  function learn(): void {
    learning ??= setTimeout(() => {
      learning = null;
      if (over) return;
      try {
        if (ledger.learnDevices()) learn();
      } catch (error) {
        // Searches then go through the rows, as before.
        if (storageFailure(error, start.directory).fatal) fail(error);
      }
    }, LEARN_PAUSE_MS).unref();
  }

  function delegate(chore: Chore): void {
    if (caretaker === null) {
      caretaker = new Worker(workerUrl(import.meta.url, './sqlite-caretaker'), {
        workerData: { path },
        name: 'outbox-caretaker',
      });
      caretaker.on('message', choreDone);
      caretaker.on('error', fail);
    }
    caretaker.postMessage(chore);
  }

  function choreDone(done: ChoreDone): void {
    if (over) return;
    if (done.type === 'backup') {
      const { id, refusal } = done;
      const answer: Answer =
        refusal === null ? { id, ok: true, result: undefined } : { id, ok: false, refusal };
      return send({ type: 'backedUp', answer });
    }
    if (done.type === 'audit') {
      if (done.wrong !== null) send({ type: 'violation', what: done.wrong });
      return;
    }
    if (done.type === 'verify') {
      if (done.refusal !== null) fail(revive(done.refusal));
      return;
    }
    checkpointing = false;
    // Without room the log simply stays, and it is tried again later. But a sync that failed must not be tried
    // again: the kernel may have dropped what it couldn't write.
    if (done.failure?.fatal === true) return fail(revive(done.failure.refusal));
    if (done.logPages >= LOG_PAGES) checkpoint();
  }

  function checkpoint(): void {
    try {
      db.exec('PRAGMA wal_checkpoint(PASSIVE)');
    } catch (error) {
      if (storageFailure(error, start.directory).fatal) fail(error);
    }
  }

  function shut(message: Extract<ToWorker, { type: 'close' }>): void {
    try {
      transact([[0, 'touch', message.now, []]]);
    } catch (error) {
      return fail(error);
    }
    if (caretaker === null) return end();
    // The caretaker ends its chores first: a backup may be under way.
    caretaker.once('exit', end);
    caretaker.postMessage('end');
  }

  function end(): void {
    if (!over) checkpoint();
    if (over) return;
    over = true;
    close();
    send({ type: 'closed' });
    port.close();
  }

  function fail(error: unknown): void {
    if (over) return;
    over = true;
    send({
      type: 'fatal',
      refusal: refusalOf(isSallyportError(error) ? error : storageFailure(error, start.directory).error),
    });
    port.close();
    void caretaker?.terminate();
  }

  if (!store.checked) delegate({ type: 'verify' });
  let audited = ledger.store.seq;
  const audits = setInterval(() => {
    if (over || ledger.store.seq === audited) return;
    audited = ledger.store.seq;
    delegate({ type: 'audit' });
  }, start.auditMs);
  audits.unref();

  port.on('message', (message: ToWorker) => {
    inbox.push(message);
    work();
  });
}

function sizeOf(calls: CallMessage[]): number {
  return calls.reduce((sum, [, method, , [first]]) => {
    return sum + (method === 'pushMany' ? countRequests(first as PackedRequests) : 1);
  }, 0);
}

function refusalOf(error: unknown): Refusal {
  if (error instanceof SallyportError) return { code: error.code, message: error.message };
  return { code: 'OUTBOX_STORAGE', message: `The outbox failed: ${describeError(error)}.` };
}

import type { DatabaseSync } from 'node:sqlite';
import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import type { MessagePort } from 'node:worker_threads';
import { describeError, isSallyportError, SallyportError } from '../../shared/errors.ts';
import { callLedger } from './ledger.ts';
import type { Refusal } from './ledger.ts';
import { storageFailure } from './sqlite-errors.ts';
import { createSqliteLedger } from './sqlite-ledger.ts';
import type { SqliteLedger } from './sqlite-ledger.ts';
import type { Answer, CallMessage, FromWorker, ToWorker, WorkerStart } from './sqlite-messages.ts';
import { backUpStore, openStore } from './store-file.ts';

/*
 * The thread that owns the store. It takes whatever calls have arrived, makes them in one transaction, commits,
 * and only then answers: one sync of the disk serves all callers that waited for it.
 */

/** Pushes that one transaction takes at most; bounds how long the first caller waits for the last. */
const BATCH_LIMIT = 1000;

/** Changed rows after which the log is carried into the store: when there is nothing else to do, or at the latest. */
const CHECKPOINT_WHEN_IDLE = 200;
const CHECKPOINT_AT_LATEST = 20_000;

if (parentPort !== null) serve(parentPort, workerData as WorkerStart);

function serve(port: MessagePort, start: WorkerStart): void {
  const send = (message: FromWorker): void => port.postMessage(message);
  let db: DatabaseSync;
  let ledger: SqliteLedger;
  try {
    const opened = openStore(start.directory, start.incarnation);
    db = opened.db;
    ledger = createSqliteLedger(db, start.limits);
    const { incarnation, store_time: storeTime, seq: sequence } = ledger.store;
    const counts = ledger.counts({ at: 0, wall: 0 });
    send({ type: 'opened', incarnation, storeTime, sequence, counts, renewed: opened.renewed });
  } catch (error) {
    send({ type: 'refused', refusal: refusalOf(error) });
    port.close();
    return;
  }

  const begin = db.prepare('BEGIN');
  const commit = db.prepare('COMMIT');
  const rollback = db.prepare('ROLLBACK');
  const inbox: ToWorker[] = [];
  let paused = false;
  let uncheckpointed = 0;

  /** Takes what has arrived without waiting for the event loop. */
  function collect(): void {
    for (let next = receiveMessageOnPort(port); next !== undefined; next = receiveMessageOnPort(port)) {
      inbox.push(next.message as ToWorker);
    }
  }

  function work(): void {
    while (!paused) {
      collect();
      const message = inbox.shift();
      if (message === undefined) return;
      if (message.type === 'calls') makeCalls(message.calls);
      else if (message.type === 'backup') backUp(message.id, message.path);
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
      send({ type: 'committed', sequence: ledger.store.seq, answers });
      collect();
      const due = inbox.length === 0 ? CHECKPOINT_WHEN_IDLE : CHECKPOINT_AT_LATEST;
      if (uncheckpointed >= due) checkpoint();
    } catch (error) {
      fail(error);
    }
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
      ledger.committed();
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
      return { id, ok: true, result: callLedger(ledger, method, now, args) };
    } catch (error) {
      if (!isSallyportError(error)) throw error;
      return { id, ok: false, refusal: refusalOf(error) };
    }
  }

  /**
   * Carries the log into the store's file. SQLite would do it by itself, but keep quiet if a sync fails; and a
   * sync that failed must not be tried again, for the kernel may have dropped what it couldn't write.
   */
  function checkpoint(): void {
    try {
      db.exec('PRAGMA wal_checkpoint(PASSIVE)');
      uncheckpointed = 0;
    } catch (error) {
      // Without room the log simply stays; it is tried again after as many changes as before.
      if (storageFailure(error, start.directory).fatal) throw error;
      uncheckpointed = 0;
    }
  }

  function backUp(id: number, path: string): void {
    paused = true;
    backUpStore(db, path)
      .then(() => send({ type: 'backedUp', answer: { id, ok: true, result: undefined } }))
      .catch((error: unknown) =>
        send({ type: 'backedUp', answer: { id, ok: false, refusal: refusalOf(error) } }),
      )
      .finally(() => {
        paused = false;
        work();
      });
  }

  function shut(message: Extract<ToWorker, { type: 'close' }>): void {
    paused = true;
    try {
      transact([[0, 'touch', message.now, []]]);
      checkpoint();
      db.close();
      send({ type: 'closed' });
      port.close();
    } catch (error) {
      fail(error);
    }
  }

  function fail(error: unknown): void {
    paused = true;
    send({ type: 'fatal', refusal: refusalOf(storageFailure(error, start.directory).error) });
    port.close();
  }

  port.on('message', (message: ToWorker) => {
    inbox.push(message);
    work();
  });
}

function sizeOf(calls: CallMessage[]): number {
  return calls.reduce((sum, [, method, , [first]]) => {
    return sum + (method === 'pushMany' && Array.isArray(first) ? first.length : 1);
  }, 0);
}

function refusalOf(error: unknown): Refusal {
  if (error instanceof SallyportError) return { code: error.code, message: error.message };
  return { code: 'OUTBOX_STORAGE', message: `The outbox failed: ${describeError(error)}.` };
}

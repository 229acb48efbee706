import { dirname } from 'node:path';
import type { DatabaseSync } from 'node:sqlite';
import { parentPort, workerData } from 'node:worker_threads';
import type { MessagePort } from 'node:worker_threads';
import { SallyportError } from '../../shared/errors.ts';
import { damaged, storageFailure } from './sqlite-errors.ts';
import type { Chore, ChoreDone } from './sqlite-messages.ts';
import { backUpStore } from './store-backup.ts';
import { findDamage, findMiscount } from './store-check.ts';
import { connect } from './store-make.ts';

/*
 * The thread that looks after the store while its owner commits: it carries the log into the store's file, writes
 * backups, and counts after. All of it takes long and none of it hinders a commit.
 */

if (parentPort !== null) serve(parentPort, workerData as { path: string });

function serve(port: MessagePort, { path }: { path: string }): void {
  let db: DatabaseSync | null = null;

  async function perform(chore: Chore): Promise<ChoreDone> {
    db ??= connect(path);
    if (chore.type === 'verify') {
      const lines = asOfOneMoment(db, (moment) => findDamage(moment, true));
      if (lines.length > 0) throw damaged(dirname(path), lines.join('; '));
      return { type: 'verify', refusal: null };
    }
    if (chore.type === 'audit') {
      return { type: 'audit', wrong: asOfOneMoment(db, findMiscount)[0] ?? null };
    }
    if (chore.type === 'backup') {
      await backUpStore(db, chore.path);
      return { type: 'backup', id: chore.id, refusal: null };
    }
    const row = db.prepare('PRAGMA wal_checkpoint(PASSIVE)').get();
    return { type: 'checkpoint', logPages: Number(row?.['log'] ?? 0), failure: null };
  }

  function failed(chore: Chore, error: unknown): ChoreDone {
    const failure = error instanceof SallyportError ? { error, fatal: false } : storageFailure(error, path);
    const refusal = { code: failure.error.code, message: failure.error.message };
    if (chore.type === 'verify') return { type: 'verify', refusal };
    if (chore.type === 'audit') return { type: 'audit', wrong: refusal.message };
    if (chore.type === 'backup') return { type: 'backup', id: chore.id, refusal };
    return { type: 'checkpoint', logPages: 0, failure: { refusal, fatal: failure.fatal } };
  }

  let last = Promise.resolve();
  port.on('message', (chore: Chore | 'end') => {
    last = last.then(async () => {
      if (chore === 'end') {
        db?.close();
        port.close();
        return;
      }
      port.postMessage(await perform(chore).catch((error: unknown) => failed(chore, error)));
    });
  });
}

/** What is read by several statements while commits go on must be of one of them. */
function asOfOneMoment<T>(db: DatabaseSync, read: (db: DatabaseSync) => T): T {
  db.exec('BEGIN');
  try {
    return read(db);
  } finally {
    db.exec('ROLLBACK');
  }
}

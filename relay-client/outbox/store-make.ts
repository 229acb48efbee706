import { closeSync, openSync, rmSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import type { Incarnation } from './outbox.ts';
import { APPLICATION_ID, CONNECTION_PRAGMAS, SCHEMA, SCHEMA_VERSION } from './schema.ts';
import { readStore, writeStore } from './sqlite-statements.ts';

/** Another connection to an open store, for a thread of the same process. */
export function connect(path: string): DatabaseSync {
  const db = new DatabaseSync(path);
  try {
    db.exec(CONNECTION_PRAGMAS);
    return db;
  } catch (error) {
    db.close();
    throw error;
  }
}

/** Makes the file of an empty store, in the place of whatever is there. */
export function createEmptyStore(path: string, incarnation: Incarnation): void {
  for (const companion of ['', '-journal', '-wal', '-shm']) rmSync(path + companion, { force: true });
  closeSync(openSync(path, 'wx', 0o600));
  const db = new DatabaseSync(path);
  try {
    db.exec(`PRAGMA synchronous = FULL; BEGIN; ${SCHEMA}`);
    db.prepare('INSERT INTO store (one, incarnation, file) VALUES (1, ?, ?)').run(incarnation, '');
    writeStore(db, readStore(db));
    db.exec(`PRAGMA application_id = ${APPLICATION_ID}; PRAGMA user_version = ${SCHEMA_VERSION}; COMMIT`);
    db.exec('PRAGMA journal_mode = WAL');
  } finally {
    db.close();
  }
}

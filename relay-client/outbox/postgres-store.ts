import { existsSync } from 'node:fs';
import type { Clock } from '../../shared/clock.ts';
import { SallyportError } from '../../shared/errors.ts';
import { ensureKeyFile, readKeyFile } from './key-file.ts';
import type { Incarnation } from './outbox.ts';
import { failureOf, serverName } from './postgres-client.ts';
import type { PostgresConnection } from './postgres-client.ts';
import { CHANNEL, POSTGRES_SCHEMA, POSTGRES_VERSION, SCHEMA_NAME } from './postgres-schema.ts';
import { STATEMENTS } from './postgres-statements.ts';
import type { Books, Value } from './rules/rows.ts';
import { createSealer } from './sealer.ts';
import type { Sealer } from './sealer.ts';

/** What a database says of the outbox in it when a connection begins. */
export interface FoundStore {
  books: Books;
  /** Why it began a new incarnation at this opening; null = it goes on with its last one. */
  renewed: 'fresh' | 'restored' | null;
  /** The server's wall time, less this machine's monotonic time then. */
  wallBase: number;
  /** The last batch that `writer` has committed; 0 = none. */
  batch: number;
  /** What of the server's settings endangers what it is trusted with, in words. */
  dangers: string[];
}

/** How long an unfinished transaction may stand still; then the server ends it, for others wait for its lock. */
const IDLE_MS = 10_000;
/** How long a transaction waits for that of another relay. */
const LOCK_MS = 10_000;
const STATEMENT_MS = 30_000;
/** After so long a relay's last batch is forgotten. */
const WRITER_MEMORY_MS = 7 * 24 * 3_600_000;
/** Under which lock relays that start together make the tables once ("SaPo"). */
const ADVISORY_LOCK = 0x5361506f;

/**
 * Prepares a new connection, makes the tables in an empty database, and reads what is there while no other relay changes
 * it. So what a former connection of this relay had under way is over by then, one way or the other.
 *
 * A database that was restored from a dump, or whose server was set back or failed over, is another one than it was last
 * opened in: what it says may be older than what proxies have seen of it, so a new incarnation begins.
 *
 * @param make - whether an empty database gets our tables; else it is refused
 */
export async function openPostgresStore(
  connection: PostgresConnection,
  options: { url: URL; incarnation: Incarnation; writer: string; clock: Clock; make: boolean },
): Promise<FoundStore> {
  const where = serverName(options.url);
  const ask = <Row extends object>(text: string, ...values: Value[]): Promise<Row[]> =>
    connection.ask<Row>('', text, values);

  const askedAt = options.clock.monotonic();
  const [server] = await ask<{ standby: boolean; sync: string; fsync: string; pages: string; wall: number }>(
    `SELECT pg_is_in_recovery() AS standby, current_setting('synchronous_commit') AS sync,
      current_setting('fsync') AS fsync, current_setting('full_page_writes') AS pages,
      (extract(epoch FROM clock_timestamp()) * 1000)::float8 AS wall`,
  );
  if (server === undefined) throw new Error('the server answered nothing');
  const wallBase = server.wall - (askedAt + options.clock.monotonic()) / 2;
  if (server.standby) throw refused(where, 'it is a standby, which takes no changes; name the primary');
  const settings = [
    `SET lock_timeout = ${LOCK_MS}`,
    `SET statement_timeout = ${STATEMENT_MS}`,
    `SET idle_in_transaction_session_timeout = ${IDLE_MS}`,
    // Stronger ones, such as remote_apply, stay.
    ...(['off', 'local'].includes(server.sync) ? ['SET synchronous_commit = on'] : []),
    `SET search_path = ${SCHEMA_NAME}`,
  ];
  await connection.run(settings.join('; '));

  await connection.run('BEGIN ISOLATION LEVEL READ COMMITTED');
  await ask(`SELECT pg_advisory_xact_lock(${ADVISORY_LOCK})`);
  const [tables] = await ask<{ store: boolean; others: number }>(
    `SELECT to_regclass('${SCHEMA_NAME}.store') IS NOT NULL AS store,
      (SELECT count(*) FROM pg_tables WHERE schemaname = '${SCHEMA_NAME}') AS others`,
  );
  const fresh = tables?.store !== true;
  if (fresh) {
    if (!options.make) throw refused(where, 'there is no outbox in it');
    if ((tables?.others ?? 0) > 0)
      throw refused(where, `its schema ${SCHEMA_NAME} has tables that are not ours; name another database`);
    await makeTables(connection, where);
    await ask(
      'INSERT INTO store (one, version, incarnation, file) VALUES (1, $1, $2, $3)',
      POSTGRES_VERSION,
      options.incarnation,
      '',
    );
  }
  const [found] = await ask<{ version: number; file: string }>('SELECT version, file FROM store FOR UPDATE');
  if (found === undefined) throw refused(where, 'the row of its table store is gone; restore a dump');
  if (found.version > POSTGRES_VERSION) {
    throw refused(
      where,
      `it has format ${found.version}, and this version reads up to ${POSTGRES_VERSION}. It was left as it is; ` +
        'start the newer version that wrote it',
    );
  }
  const file = await databaseMark(ask);
  const known = found.file === file;
  if (!known) await ask('UPDATE store SET file = $1, incarnation = $2', file, options.incarnation);
  await ask('DELETE FROM writers WHERE wall < $1', Math.floor(options.clock.wall()) - WRITER_MEMORY_MS);
  const [own] = await ask<{ batch: number }>('SELECT batch FROM writers WHERE id = $1', options.writer);
  const [books] = await ask<Books>(STATEMENTS.readStore);
  await connection.run('COMMIT');
  await connection.run(`LISTEN ${CHANNEL}`);
  if (books === undefined) throw refused(where, 'the row of its table store is gone; restore a dump');
  const dangers = [
    ...(server.fsync === 'on' ? [] : ['fsync is off: what was accepted is lost when the machine stops']),
    ...(server.pages === 'on' ? [] : ['full_page_writes is off: a crash can tear pages']),
  ];
  return {
    books,
    renewed: fresh ? 'fresh' : known ? null : 'restored',
    wallBase,
    batch: own?.batch ?? 0,
    dangers,
  };
}

/**
 * Names the very database, so that another one is noticed: a dump makes new tables, a server that was set back in time or
 * failed over begins a new timeline.
 */
async function databaseMark(ask: <Row extends object>(text: string) => Promise<Row[]>): Promise<string> {
  const [row] = await ask<{ mark: string }>(
    `SELECT concat_ws(':', (SELECT system_identifier FROM pg_control_system()),
      substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8),
      (SELECT oid FROM pg_database WHERE datname = current_database()),
      'store'::regclass::oid, pg_relation_filenode('store')) AS mark`,
  );
  return row?.mark ?? '';
}

async function makeTables(connection: PostgresConnection, where: string): Promise<void> {
  try {
    await connection.run(`CREATE SCHEMA IF NOT EXISTS ${SCHEMA_NAME}; ${POSTGRES_SCHEMA}`);
  } catch (error) {
    const { kind, detail } = failureOf(error);
    if (kind !== 'refused') throw error;
    throw refused(
      where,
      `its tables cannot be made (${detail}). The role needs the right to: GRANT CREATE ON DATABASE … TO …`,
    );
  }
}

/**
 * The sealer of an outbox that several relays share: each has a copy of one key file. The first relay makes it, and its
 * newest key's name stands in the store, so that another key is refused before it seals anything.
 *
 * @throws SallyportError OUTBOX_KEY_MISSING, OUTBOX_DAMAGED, KEY_INVALID, FILE_UNREADABLE, FILE_UNWRITABLE
 */
export async function openPostgresSealer(
  connection: PostgresConnection,
  keyFile: string,
  where: string,
): Promise<Sealer> {
  const ask = <Row extends object>(text: string, ...values: Value[]): Promise<Row[]> =>
    connection.ask<Row>('', text, values);
  await connection.run('BEGIN ISOLATION LEVEL READ COMMITTED');
  const [store] = await ask<{ seal_key: string | null }>('SELECT seal_key FROM store FOR UPDATE');
  const marks = (await ask<{ mark: string }>(STATEMENTS.sealMarks)).map(({ mark }) => mark);
  const known = store?.seal_key ?? null;
  if (known !== null) marks.push(known);
  if (marks.length > 0 && !existsSync(keyFile)) {
    throw new SallyportError(
      'OUTBOX_KEY_MISSING',
      `The outbox at PostgreSQL ${where} was begun by another relay or with another key file, and ${keyFile} is not there. ` +
        'Every relay of a site needs a copy of the same key file; see "The key" in docs/several-relays.md.',
    );
  }
  ensureKeyFile(keyFile);
  const sealer = createSealer(readKeyFile(keyFile), keyFile);
  sealer.checkKeys(marks);
  // The beginning of whatever this relay seals names its newest key.
  if (known !== sealer.mark) await ask('UPDATE store SET seal_key = $1', sealer.mark);
  await connection.run('COMMIT');
  return sealer;
}

function refused(where: string, why: string): SallyportError {
  return new SallyportError('OUTBOX_DAMAGED', `The outbox at PostgreSQL ${where} cannot be used: ${why}.`);
}

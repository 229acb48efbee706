import { existsSync, mkdirSync, rmSync } from 'node:fs';
import { randomBytes } from 'node:crypto';
import { DatabaseSync } from 'node:sqlite';
import { dirname, join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { systemClock } from '../../shared/clock.ts';
import { isSallyportError, SallyportError } from '../../shared/errors.ts';
import { createIncarnation } from './ids.ts';
import type { Incarnation } from './outbox.ts';
import { connectPostgres, failureOf, serverName, unavailable } from './postgres-client.ts';
import type { PostgresConnection } from './postgres-client.ts';
import { openPostgresStore } from './postgres-store.ts';
import { BOOKS, HISTORY_COLUMNS, MESSAGE_COLUMNS } from './rules/rows.ts';
import { openSealer } from './sqlite-sealer.ts';
import { readStore } from './sqlite-statements.ts';
import { backUpOutbox } from './store-backup.ts';
import { withLock } from './store-file.ts';
import { STORE_FILE } from './store-place.ts';

/** What was brought over. */
export interface Migration {
  /** The database, without user and password. */
  target: string;
  rows: Record<Table, number>;
  held: number;
  accepted: number;
  sequence: number;
  /** A new one: proxies are told everything anew. */
  incarnation: Incarnation;
}

/** Tables and their columns in order of which they are read; the first one is unique. */
const TABLES = {
  devices: ['device', 'plain', 'generation', 'pending', 'dead', 'session_wall', 'outcome'],
  messages: MESSAGE_COLUMNS,
  campaigns: ['name', 'settings'],
  history: HISTORY_COLUMNS,
} as const;

type Table = keyof typeof TABLES;
type Row = Record<string, string | number | null>;

/** Rows, and characters of them, that go to the server at a time; the text of one message may be as long. */
const PART_ROWS = 1_000;
const PART_CHARACTERS = 4 * 2 ** 20;

/**
 * Brings the SQLite outbox in `directory` into an empty PostgreSQL database, in one transaction, and compares every row
 * before it commits: afterwards all of it is there, or nothing. The outbox in the directory stays as it is.
 *
 * @param onProgress - told the share done, from 0 to 1, and what is being done
 * @throws SallyportError OUTBOX_LOCKED while a relay runs on it, FILE_UNREADABLE where there is none, OUTBOX_DAMAGED,
 * OUTBOX_UNAVAILABLE, OUTBOX_KEY_MISSING, MIGRATION_REFUSED where the database holds an outbox already
 */
export async function migrateOutbox(
  options: { directory: string; keyFile: string; to: URL },
  onProgress: (share: number, text: string) => void,
): Promise<Migration> {
  const { directory, keyFile, to } = options;
  const target = serverName(to);
  if (!existsSync(join(directory, STORE_FILE)))
    throw new SallyportError('FILE_UNREADABLE', `There is no outbox in ${directory} to be migrated.`);
  const lock = withLock(directory, (taken) => taken);
  // Of a copy of its own, which may be brought to the present format: the outbox itself stays as it is.
  const draft = join(dirname(directory), `.migrating-${randomBytes(6).toString('hex')}`);
  let source: DatabaseSync | null = null;
  let connection: PostgresConnection | null = null;
  try {
    mkdirSync(draft, { mode: 0o700 });
    onProgress(0, 'checking the outbox');
    const copy = await backUpOutbox(directory, join(draft, STORE_FILE));
    source = new DatabaseSync(copy.path, { readOnly: true });
    const sealer = openSealer(source, keyFile);
    connection = await connectPostgres({
      url: to,
      applicationName: 'sallyport-relay migrate',
      onLost: () => undefined,
      onNotification: () => undefined,
    });
    return await transfer(source, connection, { to, target, sealMark: sealer.mark, onProgress });
  } catch (error) {
    if (isSallyportError(error)) throw error;
    const { kind, detail } = failureOf(error);
    if (kind === 'lost') throw unavailable(target, detail);
    throw new SallyportError(
      'OUTBOX_STORAGE',
      `PostgreSQL ${target} refused it: ${detail}. Nothing was changed.`,
    );
  } finally {
    source?.close();
    connection?.destroy();
    rmSync(draft, { recursive: true, force: true });
    lock.close();
  }
}

async function transfer(
  source: DatabaseSync,
  connection: PostgresConnection,
  options: { to: URL; target: string; sealMark: string; onProgress: (share: number, text: string) => void },
): Promise<Migration> {
  const { to, target, onProgress } = options;
  const incarnation = createIncarnation(randomBytes);
  const writer = 'migrate';
  await openPostgresStore(connection, { url: to, incarnation, writer, clock: systemClock, make: true });
  await connection.run('BEGIN ISOLATION LEVEL READ COMMITTED');
  const [there] = await connection.ask<{ seq: number; devices: number }>(
    '',
    'SELECT seq, devices FROM store FOR UPDATE',
    [],
  );
  if (there === undefined || there.seq > 0 || there.devices > 0) {
    throw new SallyportError(
      'MIGRATION_REFUSED',
      `The database ${target} holds an outbox already, at change ${there?.seq ?? 0}. Nothing was changed; name an empty ` +
        'database, or drop its schema sallyport if that outbox is not needed.',
    );
  }
  const rows = {} as Record<Table, number>;
  for (const table of names) {
    const { count } = source.prepare(`SELECT count(*) AS count FROM ${table}`).get() as { count: number };
    rows[table] = count;
  }
  const all = 2 * Object.values(rows).reduce((sum, count) => sum + count, 0);
  let done = 0;
  const advance = (count: number, what: string): void => {
    done += count;
    onProgress(all === 0 ? 1 : done / all, what);
  };
  for (const table of names) {
    for (const part of parts(source, table)) {
      const text = JSON.stringify(part);
      if (text.includes('\\u0000')) throw unfit(table, part);
      const columns = TABLES[table].join(', ');
      await connection.ask(
        '',
        `INSERT INTO ${table} (${columns}) SELECT ${columns} FROM json_populate_recordset(null::${table}, $1)`,
        [text],
      );
      advance(part.length, `copying ${table}`);
    }
  }
  const store = readStore(source);
  const books = { ...store, incarnation };
  await connection.ask(
    '',
    `UPDATE store SET ${BOOKS.map((name, i) => `${name} = $${i + 1}`).join(', ')}, seal_key = $${BOOKS.length + 1}`,
    [...BOOKS.map((name) => books[name]), options.sealMark],
  );
  await connection.run(
    "SELECT setval(pg_get_serial_sequence('messages', 'n'), (SELECT coalesce(max(n), 0) + 1 FROM messages), false)",
  );
  for (const table of names) {
    await compare(source, connection, table, target, (count) => advance(count, `comparing ${table}`));
  }
  if ((await connection.run('COMMIT')) !== 'COMMIT')
    throw new Error('the server rolled the transaction back');
  await connection.run('ANALYZE devices, messages, history');
  return {
    target,
    rows,
    held: store.held,
    accepted: store.accepted,
    sequence: store.seq,
    incarnation,
  };
}

const names = Object.keys(TABLES) as Table[];

/** The rows of a table in the order of their first column. */
function* parts(source: DatabaseSync, table: Table): Generator<Row[]> {
  const columns = TABLES[table];
  const rows = source.prepare(`SELECT ${columns.join(', ')} FROM ${table} ORDER BY ${columns[0]}`).iterate();
  let part: Row[] = [];
  let characters = 0;
  for (const row of rows as Iterable<Row>) {
    part.push({ ...row });
    for (const value of Object.values(row)) if (typeof value === 'string') characters += value.length;
    if (part.length < PART_ROWS && characters < PART_CHARACTERS) continue;
    yield part;
    [part, characters] = [[], 0];
  }
  if (part.length > 0) yield part;
}

/** Reads everything back. @throws SallyportError INTERNAL where a row is not what it was */
async function compare(
  source: DatabaseSync,
  connection: PostgresConnection,
  table: Table,
  target: string,
  onPart: (rows: number) => void,
): Promise<void> {
  const columns = TABLES[table];
  const [first] = columns;
  let after: string | number | null = null;
  for (const expected of parts(source, table)) {
    const text: string = `SELECT ${columns.join(', ')} FROM ${table} ${after === null ? '' : `WHERE ${first} > $2`} ORDER BY ${first} LIMIT $1`;
    const found: Row[] = await connection.ask<Row>('', text, [
      expected.length,
      ...(after === null ? [] : [after]),
    ]);
    expected.forEach((row, i) => {
      if (!isDeepStrictEqual({ ...found[i] }, row)) throw differs(table, first, row[first] ?? '', target);
    });
    after = expected.at(-1)?.[first] ?? null;
    onPart(expected.length);
  }
  const [rest] = await connection.ask<{ count: number }>('', `SELECT count(*) AS count FROM ${table}`, []);
  const { count } = source.prepare(`SELECT count(*) AS count FROM ${table}`).get() as { count: number };
  if (rest?.count !== count) throw differs(table, 'count', count, target);
}

function differs(table: string, column: string, value: string | number, target: string): SallyportError {
  return new SallyportError(
    'INTERNAL',
    `What was copied to ${target} is not what the outbox holds: table ${table}, ${column} ${value}. Nothing was kept there.`,
  );
}

/** PostgreSQL has no character 0 in texts; none of ours has had any use for it. */
function unfit(table: string, part: Row[]): SallyportError {
  const row = part.find((each) => JSON.stringify(each).includes('\\u0000'));
  const id = String(Object.values(row ?? {})[0] ?? '');
  return new SallyportError(
    'MIGRATION_REFUSED',
    `Table ${table} of the outbox has a character 0 in the row ${id}, which PostgreSQL cannot hold. Nothing was changed.`,
  );
}

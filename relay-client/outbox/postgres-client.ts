import pg from 'pg';
import { describeError, SallyportError } from '../../shared/errors.ts';
import type { Value } from './rules/rows.ts';

/*
 * The one door to `pg`. A connection is used until anything goes wrong with it and then thrown away: what an error leaves
 * behind on it (an aborted transaction, a statement half prepared) is nobody's business any more.
 */

/** A connection to a PostgreSQL server. What is asked goes out at once, in order, without waiting for earlier answers. */
export interface PostgresConnection {
  /** Runs a statement that is prepared under its name. @throws whatever {@link failureOf} understands */
  ask<Row extends object>(name: string, text: string, values: readonly Value[]): Promise<Row[]>;
  /** Runs a text without parameters, of one statement or more. Resolves to the last one's command, such as `COMMIT`. */
  run(text: string): Promise<string>;
  /** Closes it in an orderly way. */
  end(): Promise<void>;
  /** Closes it at once; what was asked rejects. */
  destroy(): void;
}

export interface ConnectOptions {
  url: URL;
  /** What the server shows of this connection. */
  applicationName: string;
  /** Told once when the connection is over, unless it was closed from here. */
  onLost(why: string): void;
  onNotification(payload: string): void;
}

/** How long a server may take to answer a dialled connection. */
const CONNECT_MS = 5_000;

/** Dials a server. What it throws never holds the URL's password. */
export async function connectPostgres(options: ConnectOptions): Promise<PostgresConnection> {
  let over = false;
  const client = new pg.Client({
    connectionString: options.url.href,
    application_name: options.applicationName,
    connectionTimeoutMillis: CONNECT_MS,
    keepAlive: true,
    keepAliveInitialDelayMillis: 10_000,
    pipeline: true,
    types: { getTypeParser },
  });
  const lost = (why: string): void => {
    if (over) return;
    over = true;
    options.onLost(why);
  };
  client.on('error', (error) => lost(describeError(error)));
  client.on('end', () => lost('the server closed the connection'));
  client.on('notification', ({ payload }) => {
    if (!over) options.onNotification(payload ?? '');
  });
  try {
    await client.connect();
  } catch (error) {
    over = true;
    await client.end().catch(() => undefined);
    throw error;
  }
  return {
    async ask<Row extends object>(name: string, text: string, values: readonly Value[]) {
      return (await client.query<Row & pg.QueryResultRow>({ name, text, values: [...values] })).rows;
    },
    async run(text) {
      const result = (await client.query(text)) as pg.QueryResult | pg.QueryResult[];
      return [result].flat().at(-1)?.command ?? '';
    },
    async end() {
      over = true;
      await client.end();
    },
    destroy() {
      over = true;
      client.on('error', () => undefined);
      (client as unknown as { connection: { stream: { destroy(): void } } }).connection.stream.destroy();
    },
  };
}

/**
 * How the driver would go about a server: the host (a path = a socket file), and its TLS. It is asked rather than guessed,
 * since it mixes `sslmode`, `ssl`, `uselibpqcompat` and PGSSLMODE by rules of its own.
 */
export function postgresTls(url: URL): { host: string; tls: 'none' | 'unverified' | 'verified' } {
  const { host, ssl } = new pg.Client({ connectionString: url.href }) as unknown as {
    host: string;
    ssl: boolean | { rejectUnauthorized?: boolean };
  };
  if (ssl === false) return { host, tls: 'none' };
  return { host, tls: ssl !== true && ssl.rejectUnauthorized === false ? 'unverified' : 'verified' };
}

const INT8 = 20;

/** Whole numbers of 8 bytes as numbers: all of ours are below 2^53. */
function getTypeParser(oid: number): (text: string) => unknown {
  const others = pg.types.getTypeParser(oid, 'text') as (text: string) => unknown;
  return oid === INT8 ? Number : others;
}

/**
 * What an error of a connection means. `lost`: the server or the way to it; whatever was not committed did not happen, and
 * later it may work again. `wait`: somebody else holds what is needed. `full`: no room on the server's disk. `refused`:
 * the server will not have it, whenever it is asked.
 */
export interface PostgresFailure {
  kind: 'lost' | 'wait' | 'full' | 'refused';
  detail: string;
}

/** SQLSTATEs (postgresql.org/docs/current/errcodes-appendix.html) that mean something to us; by class where two letters. */
const KINDS: Readonly<Record<string, PostgresFailure['kind']>> = {
  '08': 'lost',
  '57P01': 'lost', // admin_shutdown
  '57P02': 'lost', // crash_shutdown
  '57P03': 'lost', // cannot_connect_now
  '57P05': 'lost', // idle_session_timeout
  '25P03': 'lost', // idle_in_transaction_session_timeout
  '25006': 'lost', // read_only_sql_transaction: a standby
  '53300': 'lost', // too_many_connections
  '55P03': 'wait', // lock_not_available
  '40': 'wait', // deadlock, serialisation
  '57014': 'wait', // query_canceled: a timeout
  '53100': 'full', // disk_full
};

export function failureOf(error: unknown): PostgresFailure {
  const detail = describeError(error);
  const state = sqlState(error);
  // A fault of ours is none of the connection's, and would be met again on the next one.
  const ours = error instanceof TypeError || error instanceof RangeError || error instanceof SyntaxError;
  if (state === null) return { kind: ours ? 'refused' : 'lost', detail };
  return { kind: KINDS[state] ?? KINDS[state.slice(0, 2)] ?? 'refused', detail };
}

/** The SQLSTATE that the server named; null = it is not an answer of the server. */
export function sqlState(error: unknown): string | null {
  return error instanceof pg.DatabaseError ? (error.code ?? null) : null;
}

/** A server's name for people: without user, password and parameters. */
export function serverName({ host, pathname }: URL): string {
  return `${host === '' ? 'this machine' : host}${pathname}`;
}

export function unavailable(where: string, detail: string): SallyportError {
  return new SallyportError(
    'OUTBOX_UNAVAILABLE',
    `The outbox at PostgreSQL ${where} cannot be reached now (${detail}). Nothing was changed; try again in a moment.`,
  );
}

export function uncertain(where: string): SallyportError {
  return new SallyportError(
    'OUTBOX_UNCERTAIN',
    `PostgreSQL ${where} went away in the middle of a commit and has not come back: whether it took place is not known. ` +
      'Try again with the same key, which does nothing twice.',
  );
}

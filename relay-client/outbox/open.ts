import { mkdirSync } from 'node:fs';
import type { Outbox } from './outbox.ts';
import { openSqliteOutbox } from './sqlite.ts';
import type { SqliteOutboxOptions } from './sqlite.ts';
import { unwritable } from './sqlite-errors.ts';

/** How a relay's outbox is opened, whichever engine keeps it. */
export interface OutboxOptions extends SqliteOutboxOptions {
  /** The database that relays of the site share; null = SQLite in `path`. Of `path` then only what is this relay's own is kept. */
  postgres: URL | null;
  /** The relay's name. */
  relay: string;
}

/** @throws what {@link openSqliteOutbox} and `openPostgresOutbox` throw */
export async function openOutbox(options: OutboxOptions): Promise<Outbox> {
  const { postgres, path, keyFile = `${path}.key`, ...common } = options;
  if (postgres === null) return openSqliteOutbox({ path, keyFile, ...common });
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
  } catch (cause) {
    throw unwritable(path, cause);
  }
  // Loaded late: most relays have no use for it.
  const { openPostgresOutbox } = await import('./postgres.ts');
  return openPostgresOutbox({ url: postgres, keyFile, ...common });
}

import type { DatabaseSync, SQLOutputValue } from 'node:sqlite';

export type Row = Record<string, SQLOutputValue>;

/** Rows from one number to another, both included, of which at least one is not readable. */
export interface Unreadable {
  from: number;
  to: number;
  why: string;
}

export interface Read {
  /** Rows that could be read, but were not as they were written. */
  changed: number;
  unreadable: Unreadable[];
}

/** Rows asked for at once, so long as all goes well. */
const STEP = 4096;

/** Where nobody knows how many rows there are. */
const MOST_ROWS = 16 * 2 ** 20;

/** Statements that one table may cost: with a page gone high up in the tree each row would be tried alone. */
const MOST_TRIES = 200_000;

/** Reads the tables of a damaged database around what is damaged. */
export function createReader(db: DatabaseSync | null) {
  /**
   * The rows of a table with a number as its key. Where a range can't be read, its halves are tried.
   *
   * @param last - the highest key that there can be; null = unknown
   * @param take - is handed each row; says whether it was as it should be
   */
  function rows(
    table: 'messages' | 'history',
    key: string,
    last: number | null,
    take: (row: Row) => boolean,
  ): Read {
    const read: Read = { changed: 0, unreadable: [] };
    if (db === null) return read;
    let tries = 0;
    const readRange = (from: number, to: number): void => {
      tries++;
      let found: Row[];
      try {
        found = db
          .prepare(`SELECT * FROM ${table} WHERE ${key} BETWEEN ? AND ? ORDER BY ${key}`)
          .all(from, to);
      } catch (error) {
        if (from === to || tries > MOST_TRIES) {
          addUnreadable(read.unreadable, from, to, String((error as Error).message));
          return;
        }
        const middle = Math.floor((from + to) / 2);
        readRange(from, middle);
        readRange(middle + 1, to);
        return;
      }
      for (const row of found) if (!take(row)) read.changed++;
    };
    const end = highest(table, key) ?? last ?? MOST_ROWS;
    for (let from = lowest(table, key) ?? 0; from <= end; from += STEP) {
      readRange(from, Math.min(end, from + STEP - 1));
    }
    return read;
  }

  const edge = (sql: string): number | null => {
    try {
      const value = Object.values(db?.prepare(sql).get() ?? {})[0];
      return typeof value === 'number' ? value : null;
    } catch {
      return null;
    }
  };
  const highest = (table: string, key: string): number | null => edge(`SELECT max(${key}) FROM ${table}`);
  const lowest = (table: string, key: string): number | null => edge(`SELECT min(${key}) FROM ${table}`);

  /** Devices from either end up to what can't be read: the rest is known from their messages. */
  function devices(intact: (row: Row) => boolean): Read & { rows: Row[] } {
    const read = { rows: [] as Row[], changed: 0, unreadable: [] as Unreadable[] };
    if (db === null) return read;
    const seen = new Set<unknown>();
    for (const direction of ['ASC', 'DESC']) {
      try {
        for (const row of db.prepare(`SELECT * FROM devices ORDER BY device ${direction}`).iterate()) {
          if (seen.has(row['device'])) continue;
          seen.add(row['device']);
          if (intact(row)) read.rows.push(row);
          else read.changed++;
        }
        return read;
      } catch (error) {
        read.unreadable.push({ from: 0, to: 0, why: String((error as Error).message) });
      }
    }
    return read;
  }

  return { rows, devices };
}

function addUnreadable(list: Unreadable[], from: number, to: number, why: string): void {
  const last = list.at(-1);
  if (last !== undefined && last.to === from - 1) last.to = to;
  else list.push({ from, to, why });
}

import type { StatementName } from './postgres-statements.ts';
import type { Value } from './rules/rows.ts';

/*
 * Many rows in one statement. What a batch writes is gathered by kind, and goes out before anything is read: a statement
 * for each row would cost the server, and us, ten times as much.
 */

/** A parameter's column and its type, in the order of the statement that writes one row. */
type Columns = readonly (readonly [name: string, type: string])[];

interface Bulk {
  columns: Columns;
  /** Around the rows, which are called `r`. */
  text: (rows: string) => string;
}

const MESSAGE_END: Columns = [
  ['ended_wall', 'bigint'],
  ['ended_by', 'text'],
  ['forget_at', 'bigint'],
];

/** In the order in which they go out: no one of a kind needs one of a later kind. */
const BULKS = {
  addDevice: {
    columns: [
      ['device', 'text'],
      ['plain', 'text'],
      ['generation', 'bigint'],
      ['pending', 'bigint'],
    ],
    text: (rows) =>
      `INSERT INTO devices (device, plain, generation, pending, dead) SELECT device, plain, generation, pending, 0 FROM ${rows}`,
  },
  pushDevice: {
    columns: [
      ['pending', 'bigint'],
      ['device', 'text'],
    ],
    text: (rows) =>
      `UPDATE devices AS d SET generation = d.generation + s.pushes, pending = d.pending + s.pending FROM
        (SELECT device, count(*) AS pushes, sum(pending)::bigint AS pending FROM ${rows} GROUP BY device) AS s
        WHERE d.device = s.device COLLATE "C"`,
  },
  addMessage: {
    columns: [
      ['id', 'text'],
      ['device', 'text'],
      ['generation', 'bigint'],
      ['kind', 'text'],
      ['accepted_wall', 'bigint'],
      ['ttl', 'bigint'],
      ['due_at', 'bigint'],
      ['expires_at', 'bigint'],
      ['key', 'text'],
      ['content', 'text'],
      ['campaign', 'text'],
      ['bytes', 'bigint'],
      ['actions', 'text'],
      ['parked_due', 'bigint'],
    ],
    text: (rows) =>
      `INSERT INTO messages (held, state, id, device, generation, kind, accepted_wall, ttl, due_at, expires_at, key, content,
        campaign, bytes, actions, parked_due) SELECT 1, 'held', r.* FROM ${rows}`,
  },
  end: {
    columns: [
      ['state', 'text'],
      ...MESSAGE_END,
      ['results', 'text'],
      ['result_bytes', 'bigint'],
      ['failed', 'smallint'],
      ['n', 'bigint'],
    ],
    text: (rows) =>
      `UPDATE messages AS m SET held = 0, state = r.state, ended_wall = r.ended_wall, ended_by = r.ended_by,
        forget_at = r.forget_at, actions = NULL, results = r.results, result_bytes = r.result_bytes, failed = r.failed
        FROM ${rows} WHERE m.n = r.n`,
  },
  countDevice: {
    columns: [
      ['pending', 'bigint'],
      ['dead', 'bigint'],
      ['device', 'text'],
    ],
    text: (rows) =>
      `UPDATE devices AS d SET pending = d.pending + s.pending, dead = d.dead + s.dead FROM
        (SELECT device, sum(pending)::bigint AS pending, sum(dead)::bigint AS dead FROM ${rows} GROUP BY device) AS s
        WHERE d.device = s.device COLLATE "C"`,
  },
  addHistory: {
    columns: [
      ['seq', 'bigint'],
      ['wall', 'bigint'],
      ['device', 'text'],
      ['message', 'text'],
      ['generation', 'bigint'],
      ['event', 'text'],
      ['what', 'text'],
      ['facts', 'text'],
    ],
    text: (rows) => `INSERT INTO history SELECT r.* FROM ${rows}`,
  },
} as const satisfies Partial<Record<StatementName, Bulk>>;

type BulkName = keyof typeof BULKS;

const TEXTS = Object.fromEntries(
  Object.entries(BULKS).map(([name, { columns, text }]) => {
    const list = columns.map(([column, type]) => `${column} ${type}`).join(', ');
    return [name, text(`json_to_recordset($1::json) AS r(${list})`)];
  }),
) as Record<BulkName, string>;

/** Gathers what can go out together. */
export interface Gathered {
  /** Takes a row's values; false where its statement has to go out by itself. */
  take(statement: StatementName, values: readonly Value[]): boolean;
  /** Sends what was taken. */
  flush(): void;
  /** Lets go of what was taken. */
  clear(): void;
}

/**
 * @param one - sends the statement of one row
 * @param many - sends a statement of many rows, named `name`, with one parameter
 */
export function createGathered(
  one: (statement: StatementName, values: readonly Value[]) => void,
  many: (name: string, text: string, rows: string) => void,
): Gathered {
  const taken = new Map<BulkName, (readonly Value[])[]>();
  return {
    take(statement, values) {
      if (!Object.hasOwn(BULKS, statement)) return false;
      const name = statement as BulkName;
      const rows = taken.get(name);
      if (rows === undefined) taken.set(name, [values]);
      else rows.push(values);
      return true;
    },
    flush() {
      if (taken.size === 0) return;
      for (const name of Object.keys(BULKS) as BulkName[]) {
        const rows = taken.get(name) ?? [];
        const [only] = rows;
        if (rows.length === 1 && only !== undefined) one(name, only);
        else if (rows.length > 1)
          many(`${name}Many`, TEXTS[name], JSON.stringify(asObjects(BULKS[name].columns, rows)));
      }
      taken.clear();
    },
    clear: () => taken.clear(),
  };
}

function asObjects(columns: Columns, rows: readonly (readonly Value[])[]): Record<string, Value>[] {
  return rows.map((values) => Object.fromEntries(columns.map(([name], i) => [name, values[i] ?? null])));
}

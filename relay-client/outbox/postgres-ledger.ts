import type { DeviceId } from '../../shared/device-id.ts';
import { SallyportError } from '../../shared/errors.ts';
import type { Ledger, Method, Now, PushRequest } from './ledger.ts';
import type { Accepted, OutboxLimits } from './outbox.ts';
import type { StatementName } from './postgres-statements.ts';
import type { RecordedChange } from './recent-changes.ts';
import { supersedes } from './rules/pushing.ts';
import type { Found } from './rules/pushing.ts';
import { BOOKS, FRESH_COLUMNS, HISTORY_COLUMNS } from './rules/rows.ts';
import type { Books, DeviceRow, MessageRow, Value } from './rules/rows.ts';
import { createLedgerRules } from './rules/rules.ts';
import { doLater, runningCalls } from './rules/work.ts';
import type { Work } from './rules/work.ts';
import type { Sealer } from './sealer.ts';

/** A {@link Ledger} whose store answers later. */
export type AsyncLedger = {
  [M in Method]: (...args: Parameters<Ledger[M]>) => Promise<ReturnType<Ledger[M]>>;
};

/** A transaction, as a ledger sees it. */
export interface LedgerStore {
  read<Row extends object>(statement: StatementName, ...values: Value[]): Promise<Row[]>;
  /** Goes out at once and in order; whoever commits waits for it. */
  write(statement: StatementName, ...values: Value[]): void;
}

/**
 * A ledger in PostgreSQL. Its calls are made one after another inside a transaction that its owner begins, with the
 * store's row locked where anything may change, and commits.
 */
export interface PostgresLedger extends AsyncLedger {
  readonly books: Readonly<Books>;
  /** Whether a call since `begin` changed something. */
  readonly dirty: boolean;
  /**
   * Asks what the first of these pushes depend on, before the store's row has come: the server answers both in one round trip,
   * in order.
   */
  lookUpFirst(requests: readonly PushRequest[]): Promise<Found[]>;
  /**
   * Makes pushes in order; an error stands in the place of one that is refused.
   *
   * @param first - what `lookUpFirst` found for these pushes, since the row was locked; left out = it is asked for
   */
  pushAll(items: readonly PushItem[], first?: Promise<Found[]>): Promise<(Accepted | SallyportError)[]>;
  /** A transaction has begun, and this is what its store's row says. */
  begin(books: Books): void;
  /** What calls since `begin` have recorded. */
  readonly recorded: readonly RecordedChange[];
  /** How accepted = ended + held was broken since `begin`; null = it was not. */
  miscount(): string | null;
  /** Writes the counters and trims the history; to be called before COMMIT when dirty. */
  beforeCommit(): void;
}

export interface PushItem {
  now: Now;
  request: PushRequest;
}

/** @param sealer - seals actions and results on their way to the server, and opens them on their way back */
export function createPostgresLedger(
  { read, write }: LedgerStore,
  limits: OutboxLimits,
  sealer: Sealer,
): PostgresLedger {
  const rules = createLedgerRules(
    {
      write,
      addHistory: (row) => write('addHistory', ...HISTORY_COLUMNS.map((name) => row[name])),
      addMessage: (row) => write('addMessage', ...FRESH_COLUMNS.map((name) => row[name])),
      changeMessage: (statement, row, ...values) => write(statement, ...values, row.n),
    },
    limits,
    sealer,
    // Until the first transaction begins.
    Object.fromEntries(BOOKS.map((name) => [name, 0])) as unknown as Books,
  );
  const { keeping } = rules;

  const run = <Result>(work: Work<Result>): Promise<Result> =>
    doLater(work, ({ statement, values }) => read(statement, ...values));

  /** What is there that a push depends on: asked for together, it is one way to the server and back. */
  async function lookUp(request: PushRequest): Promise<Found> {
    const { device, key } = request;
    const [[known], [owner], held] = await Promise.all([
      key === null ? [] : read<MessageRow>('messageByKey', device, key),
      read<DeviceRow>('device', device),
      supersedes(request) ? read<MessageRow>('heldOfDevice', device) : [],
    ]);
    return { known, owner, held };
  }

  /** The same of several pushes, no two of them to one device. */
  async function lookUpAll(requests: readonly PushRequest[]): Promise<Found[]> {
    const [only] = requests;
    // By the statements of one row, which cost the server less.
    if (only !== undefined && requests.length === 1) return [await lookUp(only)];
    const named = requests.filter(({ key }) => key !== null).map(({ device, key }) => ({ device, key }));
    const superseding = requests.filter(supersedes).map(({ device }) => device);
    const [known, owners, held] = await Promise.all([
      named.length === 0 ? [] : read<MessageRow>('messagesByKeys', JSON.stringify(named)),
      read<DeviceRow>('devicesIn', JSON.stringify(requests.map(({ device }) => device))),
      superseding.length === 0 ? [] : read<MessageRow>('heldOfDevices', JSON.stringify(superseding)),
    ]);
    const knownOf = new Map(known.map((row) => [row.device, row]));
    const ownerOf = new Map(owners.map((row) => [row.device, row]));
    const heldOfEach = Map.groupBy(held, (row) => row.device);
    return requests.map(({ device }) => ({
      known: knownOf.get(device),
      owner: ownerOf.get(device),
      held: heldOfEach.get(device) ?? [],
    }));
  }

  /** How many of the pushes, the first ones, are to different devices. */
  function apart(requests: readonly PushRequest[]): number {
    const devices = new Set<DeviceId>();
    for (const { device } of requests) {
      if (devices.has(device)) break;
      devices.add(device);
    }
    return devices.size;
  }

  /** Pushes in order; those to different devices are looked up together. */
  async function pushAll(
    items: readonly PushItem[],
    early?: Promise<Found[]>,
  ): Promise<(Accepted | SallyportError)[]> {
    const results: (Accepted | SallyportError)[] = [];
    const requests = items.map(({ request }) => request);
    for (let first = 0; first < items.length;) {
      const end = first + apart(requests.slice(first));
      const part = items.slice(first, end);
      const found = await (first === 0 && early !== undefined
        ? early
        : lookUpAll(requests.slice(first, end)));
      for (const [i, { now, request }] of part.entries()) {
        try {
          results.push(await run(rules.accept(now, request, found[i] as Found)));
        } catch (error) {
          if (!(error instanceof SallyportError)) throw error;
          results.push(error);
        }
      }
      first = end;
    }
    return results;
  }

  return {
    ...runningCalls<AsyncLedger>(rules.calls, run),
    get books() {
      return keeping.books;
    },
    get dirty() {
      return keeping.weight > 0;
    },
    get recorded() {
      return keeping.recorded;
    },
    begin(found) {
      keeping.begin({ ...found });
      // What was broken before isn't told again.
      keeping.miscount();
    },
    miscount: () => keeping.miscount(),
    beforeCommit() {
      write('saveStore', ...BOOKS.map((name) => keeping.books[name]));
      keeping.trim();
    },
    lookUpFirst: (requests) => lookUpAll(requests.slice(0, apart(requests))),
    pushAll,
    async push(now, request) {
      const [result] = await pushAll([{ now, request }]);
      if (result instanceof SallyportError) throw result;
      return result as Accepted;
    },
    async pushMany(now, requests) {
      const results = await pushAll(requests.map((request) => ({ now, request })));
      return results.map((result) =>
        result instanceof SallyportError ? { code: result.code, message: result.message } : result,
      );
    },
  };
}

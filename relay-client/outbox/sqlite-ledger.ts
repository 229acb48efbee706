import type { DatabaseSync } from 'node:sqlite';
import type { DeviceId } from '../../shared/device-id.ts';
import { SallyportError } from '../../shared/errors.ts';
import type { Ledger, Now, PushRequest, Refusal } from './ledger.ts';
import type { Accepted, OutboxLimits } from './outbox.ts';
import type { RecordedChange } from './recent-changes.ts';
import { messageSum, storeSum, sumOf } from './row-sums.ts';
import { supersedes } from './rules/pushing.ts';
import type { Found } from './rules/pushing.ts';
import { FRESH_COLUMNS, HISTORY_COLUMNS } from './rules/rows.ts';
import type { DeviceRow, MessageRow, StoreRow } from './rules/rows.ts';
import { createLedgerRules } from './rules/rules.ts';
import { doNow, runningCalls } from './rules/work.ts';
import type { Question } from './rules/work.ts';
import type { Sealer } from './sealer.ts';
import { createSqliteSearch } from './sqlite-search.ts';
import { prepareStatements, readStore } from './sqlite-statements.ts';

/** A ledger in SQLite. Its calls are made inside a transaction that its owner begins and commits. */
export interface SqliteLedger extends Ledger {
  readonly store: Readonly<StoreRow>;
  /** Whether a call since the last commit changed something. */
  readonly dirty: boolean;
  /** Changed rows since the last commit, roughly: what a checkpoint will have to carry. */
  readonly weight: number;
  /** What was recorded since the last commit, for those who follow. */
  readonly recorded: readonly RecordedChange[];
  /** How accepted = ended + held was broken since the last commit; null = it was not. */
  miscount(): string | null;
  /** Writes the counters and trims the history; call it before COMMIT when dirty. */
  beforeCommit(): void;
  /** Starts counting anew; call it after COMMIT. */
  committed(): void;
  /** Takes the counters from the disk again; call it after ROLLBACK. */
  rolledBack(): void;
  /**
   * Reads some devices for the searches to come, between two transactions, once somebody has searched. True = there are
   * more to read.
   */
  learnDevices(): boolean;
}

/** @param sealer - seals actions and results on their way to the disk, and opens them on their way back */
export function createSqliteLedger(db: DatabaseSync, limits: OutboxLimits, sealer: Sealer): SqliteLedger {
  const sql = prepareStatements(db);
  const search = createSqliteSearch({
    page: (after, limit) => sql.pageDevices.all(after, limit) as { device: DeviceId }[],
    device: (device) => sql.device.get(device) as DeviceRow | undefined,
  });
  let store = readStore(db);

  // Every row is written with its sum, which comes first.
  const rules = createLedgerRules(
    {
      write(statement, ...values) {
        sql[statement].run(...values);
        if (statement === 'addDevice') search.added(values[0] as DeviceId);
      },
      addHistory(row) {
        const values = HISTORY_COLUMNS.map((name) => row[name]);
        sql.addHistory.run(sumOf(values), ...values);
      },
      addMessage: (row) =>
        void sql.addMessage.run(messageSum(row), ...FRESH_COLUMNS.map((name) => row[name])),
      changeMessage: (statement, row, ...values) =>
        void sql[statement].run(messageSum(row), ...values, row.n),
    },
    limits,
    sealer,
    store,
  );
  const { keeping } = rules;

  function answer({ statement, values }: Question): object[] {
    if (statement !== 'heldPage') return sql[statement].all(...values);
    // In two steps, each along an index: many may expire in the same millisecond.
    const [expiresAt, n, limit] = values as [number, number, number];
    const alike = sql.heldAlike.all(expiresAt, n, limit);
    return alike.length === limit ? alike : [...alike, ...sql.heldLater.all(expiresAt, limit - alike.length)];
  }

  /** No more than the push depends on, one thing after another. */
  function lookUp(request: PushRequest): Found {
    const { device, key } = request;
    const known =
      key === null ? undefined : (sql.messageByKey.get(device, key) as unknown as MessageRow | undefined);
    const owner = sql.device.get(device) as unknown as DeviceRow | undefined;
    const ending = supersedes(request) && (owner?.pending ?? 0) > 0;
    return { known, owner, held: ending ? (sql.heldOfDevice.all(device) as unknown as MessageRow[]) : [] };
  }

  function push(now: Now, request: PushRequest): Accepted {
    return doNow(rules.accept(now, request, lookUp(request)), answer);
  }

  function pushOrRefuse(now: Now, request: PushRequest): Accepted | Refusal {
    try {
      return push(now, request);
    } catch (error) {
      if (!(error instanceof SallyportError)) throw error;
      return { code: error.code, message: error.message };
    }
  }

  const calls = runningCalls<Ledger>(rules.calls, (work) => doNow(work, answer));

  return {
    ...calls,
    push,
    pushMany: (now, requests) => requests.map((request) => pushOrRefuse(now, request)),
    scanDevices: (now, query) => search.scan(query) ?? calls.scanDevices(now, query),
    rankDevices: (now, query) => search.rank(query) ?? calls.rankDevices(now, query),
    learnDevices: search.learn,
    get store() {
      return store;
    },
    get dirty() {
      return keeping.weight > 0;
    },
    get weight() {
      return keeping.weight;
    },
    get recorded() {
      return keeping.recorded;
    },
    miscount: () => keeping.miscount(),
    beforeCommit() {
      store.sum = storeSum(store);
      const { one: _one, ...values } = store;
      sql.saveStore.run(...Object.values(values));
      keeping.trim();
    },
    committed() {
      keeping.begin(store);
      search.committed();
    },
    rolledBack() {
      store = readStore(db);
      keeping.begin(store);
      search.rolledBack();
      rules.lookAgain();
    },
  };
}

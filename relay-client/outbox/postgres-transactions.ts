import type { Clock, Milliseconds } from '../../shared/clock.ts';
import { isSallyportError, SallyportError } from '../../shared/errors.ts';
import type { Now, PushRequest } from './ledger.ts';
import type { Sequence } from './outbox.ts';
import { createGathered } from './postgres-bulk.ts';
import type { PostgresConnection } from './postgres-client.ts';
import type { LedgerStore, PostgresLedger } from './postgres-ledger.ts';
import type { Call } from './postgres-queue.ts';
import { CHANNEL } from './postgres-schema.ts';
import { STATEMENTS } from './postgres-statements.ts';
import type { StatementName } from './postgres-statements.ts';
import type { Found } from './rules/pushing.ts';
import type { Books, Value } from './rules/rows.ts';

/** How long one transaction may take before its connection is given up. */
const TRANSACTION_MS: Milliseconds = 25_000;

/** A commit was asked for, and no answer came: it may have taken place. */
export class Doubt extends Error {
  readonly batch: number;
  /** Tell the callers what came of their calls, if it did. */
  readonly answers: (() => void)[];

  constructor(batch: number, answers: (() => void)[], cause: unknown) {
    super('the commit was not answered', { cause });
    this.batch = batch;
    this.answers = answers;
  }
}

/** Makes calls of a ledger in transactions, one at a time. */
export interface Transactions {
  /** What the ledger reads and writes by, while one runs. */
  readonly store: LedgerStore;
  /**
   * Makes calls in one transaction; the answers are to be given once it returns. A call that the ledger refuses changed
   * nothing and spoils nothing.
   *
   * @returns also the sequence behind which it recorded what it changed
   * @throws {@link Doubt}, or whatever the server or the connection says; then nothing was changed
   */
  run(
    connection: PostgresConnection,
    ledger: PostgresLedger,
    calls: readonly Call[],
    changing: boolean,
  ): Promise<{ answers: (() => void)[]; after: Sequence }>;
}

export function createTransactions(options: { clock: Clock; writer: string; relay: string }): Transactions {
  const { clock } = options;
  let current: PostgresConnection | null = null;
  let pending: Promise<unknown>[] = [];
  /** What went wrong first; whatever follows in the transaction goes wrong because of it. */
  let spoiled: unknown = null;
  let batches = 0;

  const connected = (): PostgresConnection => {
    if (current === null) throw new Error('no transaction runs');
    return current;
  };
  const ask = <Row extends object>(name: StatementName, values: readonly Value[]): Promise<Row[]> =>
    connected().ask<Row>(name, STATEMENTS[name], values);

  /** Not waited for: the commit that follows is. */
  const note = (asked: Promise<unknown>): void => {
    asked.catch((error: unknown) => (spoiled ??= error));
    pending.push(asked);
  };

  const gathered = createGathered(
    (name, values) => note(ask(name, values)),
    (name, text, rows) => note(connected().ask(name, text, [rows])),
  );

  const store: LedgerStore = {
    async read(name, ...values) {
      gathered.flush();
      return ask(name, values);
    },
    write(name, ...values) {
      if (gathered.take(name, values)) return;
      gathered.flush();
      note(ask(name, values));
    },
  };

  async function transact(
    connection: PostgresConnection,
    ledger: PostgresLedger,
    calls: readonly Call[],
    changing: boolean,
  ): Promise<{ answers: (() => void)[]; after: Sequence }> {
    note(
      connection.run(
        changing
          ? 'BEGIN ISOLATION LEVEL READ COMMITTED'
          : 'BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY',
      ),
    );
    const locked = ask<Books>(changing ? 'lockStore' : 'readStore', []);
    const runs = runsOf(calls);
    const [pushes = []] = runs;
    const early = pushes[0]?.method === 'push' ? ledger.lookUpFirst(pushes.map(requestOf)) : undefined;
    // Where the lock fails nobody waits for what was asked behind it.
    early?.catch(() => undefined);
    const [books] = await locked;
    if (books === undefined) throw new Error('the row of the table store is gone');
    ledger.begin(books);
    const answers: (() => void)[] = [];
    for (const run of runs) {
      answers.push(...(await makeCalls(ledger, run, books.store_time, run === pushes ? early : undefined)));
    }
    if (ledger.dirty) {
      const batch = ++batches;
      ledger.beforeCommit();
      store.write('keepBatch', options.writer, options.relay, batch, Math.floor(clock.wall()));
      if (ledger.books.seq !== books.seq || ledger.books.incarnation !== books.incarnation) {
        store.write('notify', CHANNEL, String(ledger.books.seq));
      }
      gathered.flush();
      const committed = connection.run('COMMIT');
      note(committed);
      try {
        await Promise.all(pending);
      } catch (error) {
        throw new Doubt(batch, answers, spoiled ?? error);
      }
      // The server answers ROLLBACK to the commit of a transaction in which something failed.
      if ((await committed) !== 'COMMIT') throw new Error('the server rolled the transaction back');
    } else {
      note(connection.run('COMMIT'));
      await Promise.all(pending);
    }
    return { answers, after: books.seq };
  }

  return {
    store,
    async run(connection, ledger, calls, changing) {
      current = connection;
      pending = [];
      spoiled = null;
      gathered.clear();
      const late = clock.after(TRANSACTION_MS, () => connection.destroy());
      try {
        return await transact(connection, ledger, calls, changing);
      } catch (error) {
        throw error instanceof Doubt ? error : (spoiled ?? error);
      } finally {
        late.cancel();
        current = null;
      }
    },
  };
}

/** Pushes that follow on one another go together, and every other call by itself. */
function runsOf(calls: readonly Call[]): Call[][] {
  const runs: Call[][] = [];
  for (const call of calls) {
    const last = runs.at(-1);
    if (call.method === 'push' && last?.[0]?.method === 'push') last.push(call);
    else runs.push([call]);
  }
  return runs;
}

/** @returns how the callers hear what came of it */
async function makeCalls(
  ledger: PostgresLedger,
  calls: Call[],
  storeTime: Milliseconds,
  early: Promise<Found[]> | undefined,
): Promise<(() => void)[]> {
  const [first] = calls;
  if (first === undefined) return [];
  if (first.method !== 'push') return [await makeCall(ledger, first, storeTime)];
  const results = await ledger.pushAll(
    calls.map((call) => ({ now: later(call.now, storeTime), request: requestOf(call) })),
    early,
  );
  return calls.map((call, i) => () => {
    const result = results[i];
    if (result instanceof SallyportError) call.reject(result);
    else call.resolve(result as never);
  });
}

const requestOf = ({ args }: Call): PushRequest => args[0] as PushRequest;

/** Relays' times agree but for a little; time in the store never goes back. */
const later = (now: Now, storeTime: Milliseconds): Now => ({ ...now, at: Math.max(now.at, storeTime) });

/** @returns how the caller hears what came of it */
async function makeCall(ledger: PostgresLedger, call: Call, storeTime: Milliseconds): Promise<() => void> {
  const now = later(call.now, storeTime);
  try {
    const method = ledger[call.method] as (now: Now, ...args: readonly unknown[]) => Promise<unknown>;
    const result = await method.call(ledger, now, ...call.args);
    return () => call.resolve(result as never);
  } catch (error) {
    if (!isSallyportError(error)) throw error;
    return () => call.reject(error);
  }
}

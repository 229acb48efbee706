import type { Ledger, Method } from '../ledger.ts';
import type { Value } from './rows.ts';
import type { Reading } from './statements.ts';

/** A statement whose rows are wanted. */
export interface Question<Row extends object = object> {
  statement: Reading;
  values: readonly Value[];
  /** Never there: it says of which type the rows are. */
  row?: Row;
}

/**
 * What a call does, written once for a store that answers at once and for one that answers later: wherever it cannot go on
 * without rows it gives its questions, all that can be asked together, and is given the rows of each in turn.
 */
export type Work<Result> = Generator<readonly Question[], Result, readonly object[][]>;

/** The calls that are rules as a whole. What a push depends on each store looks up in its own way. */
export type RuledMethod = Exclude<Method, 'push' | 'pushMany'>;

/** A ledger whose calls wait to be done. */
export type LedgerWork = {
  [M in RuledMethod]: (...args: Parameters<Ledger[M]>) => Work<ReturnType<Ledger[M]>>;
};

type RowsOf<Questions> = { [I in keyof Questions]: Questions[I] extends Question<infer Row> ? Row[] : never };

export function question<Row extends object>(statement: Reading, ...values: Value[]): Question<Row> {
  return { statement, values };
}

/** Asks one question. */
export function* ask<Row extends object>(statement: Reading, ...values: Value[]): Work<Row[]> {
  const [rows] = yield [{ statement, values }];
  return rows as Row[];
}

/** Asks for the first row. */
export function* askFirst<Row extends object>(statement: Reading, ...values: Value[]): Work<Row | undefined> {
  return (yield* ask<Row>(statement, ...values))[0];
}

/** Asks several questions, none of which depends on the answer to another. */
export function* askTogether<const Questions extends readonly Question[]>(
  ...questions: Questions
): Work<RowsOf<Questions>> {
  return (yield questions) as RowsOf<Questions>;
}

/** Does work over a store that answers at once. */
export function doNow<Result>(work: Work<Result>, answer: (question: Question) => object[]): Result {
  let step = work.next([]);
  while (step.done !== true) step = work.next(step.value.map(answer));
  return step.value;
}

/** Does work over a store that answers later. */
export async function doLater<Result>(
  work: Work<Result>,
  answer: (question: Question) => Promise<object[]>,
): Promise<Result> {
  let step = work.next([]);
  while (step.done !== true) step = work.next(await Promise.all(step.value.map(answer)));
  return step.value;
}

/** Turns a ledger whose calls wait to be done into one that has `run` do them. */
export function runningCalls<Running extends Record<RuledMethod, unknown>>(
  calls: LedgerWork,
  run: (work: Work<unknown>) => unknown,
): Pick<Running, RuledMethod> {
  const running = Object.entries(calls).map(([method, call]) => {
    const begin = call as (...args: unknown[]) => Work<unknown>;
    return [method, (...args: unknown[]) => run(begin(...args))];
  });
  return Object.fromEntries(running) as Pick<Running, RuledMethod>;
}

import { createHash } from 'node:crypto';
import type { Log } from '../../shared/log.ts';
import { silentLog } from '../../shared/log.ts';
import { createJudges } from './checker/judges.ts';
import type { Fact, Violation } from './checker/facts.ts';
import { createScheduler } from './engine/scheduler.ts';
import type { Turns } from './engine/turns.ts';
import { planOf } from './world/plan.ts';
import type { Plan } from './world/plan.ts';
import { startStorm } from './world/storm.ts';
import { createWorld, startWorld } from './world/world.ts';

/** How long every pending phone may take to be called and done with, once all is well. */
export const CALM_MS = 600_000;
/** After that, for the last frames and commits to arrive. */
const REST_MS = 5_000;

/** What came of one seed. */
export interface Outcome {
  seed: number;
  plan: Plan;
  violations: Violation[];
  facts: number;
  simulatedMs: number;
  /** Of everything that happened; equal for equal runs. */
  digest: string;
}

export interface RunOptions {
  seed: number;
  turns: Turns;
  /** Told of everything, line by line. */
  trace?: (line: string) => void;
  /** Whether to reckon the digest; costs time. */
  digest?: boolean;
}

/** Runs one seed from its beginning to calm. Never rejects for what the product does: that is a violation. */
export async function runSeed({ seed, turns, trace, digest = false }: RunOptions): Promise<Outcome> {
  const { plan, dice } = planOf(seed);
  const scheduler = createScheduler(turns);
  const violations: Violation[] = [];
  const sum = createHash('sha256');
  let facts = 0;

  const breach = (promise: string, why: string): void => {
    // The first few say it all; what follows is mostly the same again.
    if (violations.length < 20) violations.push({ promise, why: `at ${stamp()}: ${why}` });
    trace?.(`${stamp()} !!! ${promise} ${why}`);
  };
  const stamp = (): string => (scheduler.now() / 1_000).toFixed(3).padStart(9);
  const judges = createJudges(plan);
  const tell = (fact: Fact): void => {
    facts += 1;
    if (trace !== undefined || digest) {
      const line = `${stamp()} ${describe(fact)}`;
      trace?.(line);
      if (digest) sum.update(line);
    }
    for (const judge of judges) judge.take(fact, scheduler.now(), breach);
  };

  const uncaught = (error: unknown): void => {
    breach('crash', error instanceof Error ? (error.stack ?? error.message) : String(error));
  };
  process.on('unhandledRejection', uncaught);
  try {
    const log = trace === undefined ? silentLog : tracingLog((line) => trace(`${stamp()}     ${line}`));
    const world = createWorld(plan, dice.split(), scheduler, { tell, breach, log });
    startWorld(world, dice.split());
    const storm = startStorm(world, dice.split());
    await scheduler.run(scheduler.now() + plan.stormMs);
    // A night may have put the end off.
    storm.end();
    world.beCalm();
    await scheduler.run(scheduler.now() + 15_000);
    world.client.pushToAll();
    const settled = (): boolean => judges.every((judge) => judge.settled?.() ?? true);
    await scheduler.run(scheduler.now() + 1_000);
    await scheduler.run(scheduler.now() + CALM_MS, settled);
    await scheduler.run(scheduler.now() + REST_MS);
    for (const judge of judges) judge.end?.(scheduler.now(), breach);
  } catch (error) {
    uncaught(error);
  } finally {
    process.off('unhandledRejection', uncaught);
  }
  return { seed, plan, violations, facts, simulatedMs: scheduler.now(), digest: sum.digest('hex') };
}

function describe({ what, ...rest }: Fact): string {
  const short = (value: object): object =>
    Object.fromEntries(
      Object.entries(value).map(([name, each]: [string, unknown]) => [
        name,
        Buffer.isBuffer(each) ? `${each.length} bytes` : each,
      ]),
    );
  return `${what} ${JSON.stringify(short('answer' in rest ? { ...rest, answer: short(rest.answer) } : rest))}`;
}

function tracingLog(write: (line: string) => void, own: object = {}): Log {
  const at =
    (level: string) =>
    (msg: string, fields: object = {}): void =>
      write(`${level} ${msg} ${JSON.stringify({ ...own, ...fields })}`);
  return {
    debug: at('debug'),
    info: at('info'),
    warn: at('warn'),
    error: at('error'),
    child: (fields) => tracingLog(write, { ...own, ...fields }),
  };
}

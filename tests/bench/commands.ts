/** What an operator waits for: commands of `sallyport-relay`, from the launcher to the end of the process. */
import { startGate } from '../fixtures/gate.ts';
import type { Owner } from '../fixtures/gate.ts';
import { runProgram } from '../fixtures/program.ts';
import { absoluteRow, median } from './rows.ts';
import type { BenchOptions, BenchRow } from './rows.ts';

const BENCH = 'commands';
/** Runs of which a round is the median. */
const RUNS = 20;
/** Runs of a short look. */
const FEW_RUNS = 7;
const WAIT = { most: 300 };

export async function run(owner: Owner, options: BenchOptions): Promise<BenchRow[]> {
  const name = 'sallyport-relay status';
  if (!options.wanted(BENCH, name)) return [];
  const gate = await startGate(owner, { logLevel: 'info' });
  const runs = options.seconds >= 1 ? RUNS : FEW_RUNS;
  const status = async (): Promise<number> => {
    const before = performance.now();
    const { code, stderr } = await runProgram('sallyport-relay', ['status', '--config', gate.relayConfig]);
    const took = performance.now() - before;
    if (code !== 0) throw new Error(`status ended with ${code}: ${stderr}`);
    return took;
  };
  const rounds: number[] = [];
  // The first round warms up and is not counted.
  for (let round = 0; round <= options.rounds; round++) {
    options.progress(`round ${round} of ${options.rounds}`);
    const took: number[] = [];
    for (let i = 0; i < runs; i++) took.push(await status());
    if (round > 0) rounds.push(median(took));
  }
  return [
    absoluteRow({
      bench: BENCH,
      name,
      unit: 'ms',
      ours: rounds,
      goal: WAIT,
      note: `median of ${runs} runs a round, in a checkout, from the launcher's start to the end of the process; a linked relay answers`,
    }),
  ];
}

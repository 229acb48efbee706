import t from 'tap';
import { loadSimulation } from '../load.ts';

/** Seeds that one test file runs; there are several, so that they run side by side. */
const SEEDS = 125;

/** Runs a part of the seeds that every change must pass, and says which promise which seed breaks. */
export function testSeeds(part: number): void {
  const from = part * SEEDS + 1;
  const to = from + SEEDS - 1;
  t.test(`every promise holds in the runs of seeds ${from} to ${to}`, async (t) => {
    const { runSeed, stop } = await loadSimulation();
    // Nobody reads the traces of the many errors that a run makes.
    Error.stackTraceLimit = 0;
    const broken: string[] = [];
    for (let seed = from; seed <= to; seed++) {
      const { violations } = await runSeed({ seed });
      for (const { promise, why } of violations) broken.push(`seed ${seed}: ${promise}: ${why}`);
    }
    stop();
    Error.stackTraceLimit = 10;
    t.same(broken, [], 'see one by: npm run simulate -- --seed N');
  });
}

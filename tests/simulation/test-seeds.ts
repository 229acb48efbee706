import t from 'tap';
import { loadSimulation } from './load.ts';

/**
 * Runs seeds that every change must pass, and says which promise which seed breaks. `npm test` runs the first of them, the
 * files of tests/long the others; there are many files, so that they run side by side and none of
 * them needs much memory: a run leaves megabytes behind in its process.
 */
export function testSeeds(from: number, to: number): void {
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

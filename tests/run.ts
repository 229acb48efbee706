/**
 * Runs test files side by side and ends with the line `N passed, N failed`, `, N skipped` where any are.
 *
 *   npm test                         every *.test.ts below tests/unit, tests/simulation, tests/system and tests/browser
 *   npm test -- tests/unit/shared    files or directories, relative to the package's root
 *   npm run test:long                those below tests/long, which take minutes; `npm run check` runs them too
 *
 * Each file is a process of its own, run by Node itself (tap's own runner adds three module loaders and about
 * a second per file). A file that needs a quiet machine says so in a comment line `// runs alone: reason`
 * near its top; such files run after the others, one at a time.
 *
 * NO_SKIP=1    a skip or a todo counts as a failure, unless the kernel forbids what the test is made of
 *              (tests/fixtures/kernel.ts finds that out)
 * TEST_JOBS    files run side by side; default 3: one of them of those that mostly compute, as long as there are any,
 *              the others of tests/system and tests/long, which mostly wait
 *
 * Exit code 0 when at least one test ran and none failed, else 1; 2 for an option, of which there are none.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { readArguments } from '../bin/arguments.ts';
import { findTestFiles } from './runner/find.ts';
import { runTestFile, type FileResult } from './runner/file.ts';
import { reportFile, reportTotals } from './runner/report.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const suites = ['tests/unit', 'tests/simulation', 'tests/system', 'tests/browser'];
const defaultJobs = 3;
const HELP = `npm test [-- FILE|DIRECTORY …]

Runs all tests, or those at and below these paths. Last line: N passed, N failed[, N skipped].
The environment: NO_SKIP=1 counts a skip as a failure; TEST_JOBS=N, so many files side by side.
`;
/** Files that mostly wait for the programs that they start. */
const waiting = /\/tests\/(system|long)\/[^/]+$/;
/** Names the directories of `t.testdir()`, so that two runs in one checkout do not share them. */
const runName = `run-${process.pid}`;

const print = (text: string): void => void process.stdout.write(`${text}\n`);
const runsAlone = (file: string): boolean =>
  /^\/\/ runs alone: \S/m.test(readFileSync(file, 'utf8').slice(0, 2000));

async function main(args: string[]): Promise<number> {
  const strict = process.env['NO_SKIP'] === '1';
  const jobs = Math.max(1, Number(process.env['TEST_JOBS']) || defaultJobs);
  const { files, missing } = findTestFiles(root, args.length > 0 ? args : suites, args.length > 0);

  const stop = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => stop.abort());

  const results: FileResult[] = [];
  const runAll = async (queue: string[], width: number): Promise<void> => {
    const waits = queue.filter((file) => waiting.test(file));
    const computes = queue.filter((file) => !waiting.test(file));
    const worker = async (_: unknown, n: number): Promise<void> => {
      const [first, second] = n === 0 ? [computes, waits] : [waits, computes];
      const next = (): string | undefined => first.shift() ?? second.shift();
      for (let file = next(); file !== undefined && !stop.signal.aborted; file = next()) {
        const result = await runTestFile(file, { root, runName, signal: stop.signal });
        results.push(result);
        print(reportFile(result, strict));
      }
    };
    await Promise.all(Array.from({ length: width }).map(worker));
  };
  const alone = files.filter(runsAlone);
  await runAll(
    files.filter((file) => !alone.includes(file)),
    jobs,
  );
  await runAll([...alone], 1);

  const { text, failed, ran } = reportTotals(results, { strict, missing });
  if (stop.signal.aborted) print('stopped before the end');
  print(text);
  return failed > 0 || ran === 0 || stop.signal.aborted ? 1 : 0;
}

const { positionals } = readArguments(() => parseArgs({ allowPositionals: true }), HELP);
process.exitCode = await main(positionals.map((path) => join(path)));

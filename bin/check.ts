/**
 * Everything that must hold before a change goes in: types, lint, format, tests, those that take longer, the Debian packages,
 * installed, and the container images, built and run (three minutes, more on a busy machine). All steps run, so that one run
 * names all that is wrong; the last line counts all test runs, `N passed, N failed`. Exit code 0 if all held.
 */
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { readArguments } from './arguments.ts';

const root = fileURLToPath(new URL('..', import.meta.url));

interface Step {
  name: string;
  args: string[];
  env?: NodeJS.ProcessEnv;
}

const steps: Step[] = [
  { name: 'types', args: ['node_modules/typescript/bin/tsc', '-p', '.'] },
  { name: 'types of the pages', args: ['node_modules/typescript/bin/tsc', '-p', 'relay-client/dashboard'] },
  { name: 'lint', args: ['node_modules/eslint/bin/eslint.js', '.'] },
  { name: 'format', args: ['node_modules/prettier/bin/prettier.cjs', '--check', '--log-level=warn', '.'] },
  { name: 'tests', args: ['tests/run.ts'] },
  { name: 'long tests', args: ['tests/run.ts', 'tests/long'], env: { TEST_FILE_S: '600' } },
  { name: 'packages', args: ['tests/run.ts', 'tests/packages'], env: { TEST_FILE_S: '600' } },
  { name: 'images', args: ['tests/run.ts', 'tests/packages/images.ts'], env: { TEST_FILE_S: '1200' } },
];
const totalsLine = /^\d+ passed, \d+ failed(, \d+ skipped)?$/;

interface StepResult {
  name: string;
  ok: boolean;
  seconds: string;
  /** A test run's last line, held back so that it can end our own output too. */
  totals: string | undefined;
}

function runStep({ name, args, env }: Step): Promise<StepResult> {
  process.stdout.write(`\n== ${name}\n`);
  const startedAt = performance.now();
  return new Promise((resolve) => {
    const child = spawn(process.execPath, args, {
      cwd: root,
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...process.env, ...env },
    });
    const forward = (signal: NodeJS.Signals): void => void child.kill(signal);
    process.once('SIGTERM', forward).once('SIGINT', forward);
    let rest = '';
    let totals: string | undefined;
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      const lines = (rest + chunk).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) {
        if (totals !== undefined) process.stdout.write(`${totals}\n`);
        totals = totalsLine.test(line) ? line : undefined;
        if (totals === undefined) process.stdout.write(`${line}\n`);
      }
    });
    child.once('close', (code) => {
      if (rest !== '') process.stdout.write(`${rest}\n`);
      process.off('SIGTERM', forward).off('SIGINT', forward);
      const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
      resolve({ name, ok: code === 0, seconds, totals });
    });
  });
}

readArguments(
  () => parseArgs({}),
  `npm run check\n\nRuns ${steps.map(({ name }) => name).join(', ')}. It takes no options.\n`,
);
const results: StepResult[] = [];
for (const step of steps) results.push(await runStep(step));

process.stdout.write('\n== summary\n');
for (const { name, ok, seconds } of results)
  process.stdout.write(`${ok ? 'ok  ' : 'FAIL'} ${name} (${seconds} s)\n`);
const failing = results.filter(({ ok }) => !ok).map(({ name }) => name);
process.stdout.write(failing.length === 0 ? 'all steps hold\n' : `failing: ${failing.join(', ')}\n`);
const counted = results
  .flatMap(({ totals }) => totals ?? [])
  .map((totals) => totals.match(/\d+/g)!.map(Number));
const [passed, failed, skipped] = [0, 1, 2].map((i) =>
  counted.reduce((sum, counts) => sum + (counts[i] ?? 0), 0),
);
if (counted.length > 0)
  process.stdout.write(`${passed} passed, ${failed} failed${skipped === 0 ? '' : `, ${skipped} skipped`}\n`);
process.exitCode = failing.length === 0 ? 0 : 1;

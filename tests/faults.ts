/**
 * Runs the tests of real faults, tests/long/faults-*.test.ts, one at a time.
 *
 *   npm run faults                   as `npm run test:long` runs them, about four minutes
 *   npm run faults -- --long         every point and the whole numbers: 20 cuts, 100 flaps, 5 000 phones; about an hour
 *   npm run faults -- --long kill    only files whose names have `kill` in them
 *
 * What each of them does and proves is in docs/faults.md.
 */
import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { spawn } from 'node:child_process';
import { parseArgs } from 'node:util';
import { readArguments } from '../bin/arguments.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const names = readdirSync(new URL('long', import.meta.url)).filter((name) =>
  /^faults-.*\.test\.ts$/.test(name),
);
const HELP = `npm run faults -- [--long] [WORD …]

Runs the tests of real faults, or those with one of the words in their names.

  --long   every point and the whole numbers: about an hour for all of them

There are ${names.map((name) => name.slice('faults-'.length, -'.test.ts'.length)).join(', ')}.
`;
const { values, positionals: words } = readArguments(() => {
  const read = parseArgs({
    options: { long: { type: 'boolean', default: false } },
    allowPositionals: true,
  });
  const vain = read.positionals.find((word) => names.every((name) => !name.includes(word)));
  if (vain !== undefined) throw new Error(`no test of faults has ${vain} in its name`);
  return read;
}, HELP);
const files = names
  .filter((name) => words.length === 0 || words.some((word) => name.includes(word)))
  .map((name) => `tests/long/${name}`);

/** A file with all its points may take so long. */
const LONG_S = '1800';
const long = values.long ? { FAULTS_LONG: '1', TEST_FILE_S: LONG_S } : {};
const env = { ...process.env, TEST_JOBS: '1', ...long };
const run = spawn('sh', ['bin/launch.sh', 'tests/run', ...files], { cwd: root, env, stdio: 'inherit' });
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => run.kill(signal));
run.once('exit', (code) => process.exit(code ?? 1));

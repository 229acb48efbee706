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

const root = fileURLToPath(new URL('..', import.meta.url));
const args = process.argv.slice(2);
const words = args.filter((arg) => arg !== '--long');
const unknown = words.find((word) => word.startsWith('-'));
if (unknown !== undefined) {
  process.stderr.write(`faults: unknown option ${unknown}; there is --long\n`);
  process.exit(2);
}

const files = readdirSync(new URL('long', import.meta.url))
  .filter((name) => /^faults-.*\.test\.ts$/.test(name))
  .filter((name) => words.length === 0 || words.some((word) => name.includes(word)))
  .map((name) => `tests/long/${name}`);
if (files.length === 0) {
  process.stderr.write(`faults: no file has ${words.join(' or ')} in its name\n`);
  process.exit(2);
}

/** A file with all its points may take so long. */
const LONG_S = '1800';
const long = args.includes('--long') ? { FAULTS_LONG: '1', TEST_FILE_S: LONG_S } : {};
const env = { ...process.env, TEST_JOBS: '1', ...long };
const run = spawn('sh', ['bin/launch.sh', 'tests/run', ...files], { cwd: root, env, stdio: 'inherit' });
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => run.kill(signal));
run.once('exit', (code) => process.exit(code ?? 1));

import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { commandsOf, readDocument, ROOT } from '../../fixtures/documents.ts';
import { createShell } from '../../fixtures/shell.ts';

const page = readDocument('docs/threat-model.md');

/** Tests named in the rows of tables that say what somebody cannot do: the file, then the test's name. */
const named = [...page.matchAll(/^\| it cannot[^\n]*\n\|[-|]+\n((?:\|[^\n]*\n)+)/gm)]
  .flatMap(([, rows = '']) => rows.trim().split('\n'))
  .map((row) => /\| `(tests\/\S+\.test\.ts)` ([^|]+) \|$/.exec(row)?.slice(1) ?? [row, '']);

t.test('everything that the threat model says cannot be done names a test that there is', async (t) => {
  t.ok(named.length >= 25, `${named.length} rows`);
  for (const [file = '', name = ''] of named) {
    t.ok(name !== '' && existsSync(join(ROOT, file)), `${file} is there`);
    const text = readFileSync(join(ROOT, file), 'utf8');
    // Quoted as the name of a test, at the beginning of a call.
    t.ok(
      new RegExp(`test\\(\\s*'${name.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&')}'`).test(text),
      `${file}: ${name}`,
    );
  }
});

t.test('the commands by which the threat model is tried run, a little of each', async (t) => {
  const shell = createShell({ home: t.testdir(), cwd: ROOT });
  const fuzz = await shell.run(commandsOf('docs/threat-model.md', 'npm run fuzz'));
  t.equal(fuzz.code, 0, fuzz.stderr);
  t.match(fuzz.stdout, /\nseed 20261128, 0 findings, /);
  // Which times differ on a busy machine is chance, and makes its exit code.
  const oracle = await shell.run(commandsOf('docs/threat-model.md', 'npm run oracle'));
  t.match(oracle.stdout, /\nrun 1 of 1: 20000 polls, 10000 devices, /);
});

t.test('SECURITY.md leads to the threat model', async (t) => {
  t.ok(readDocument('SECURITY.md').includes('](docs/threat-model.md)'));
});

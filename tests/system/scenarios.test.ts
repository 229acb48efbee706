import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { stringify } from 'yaml';
import { commandsOf, ROOT } from '../fixtures/documents.ts';
import { startGate } from '../fixtures/gate.ts';
import { runProgram } from '../fixtures/program.ts';
import { createShell } from '../fixtures/shell.ts';

const FOLDER = new URL('../../docs/examples/scenarios/', import.meta.url);

/** The gate that each example asks for; the poll address is told to phones by their service where `taught`. */
const EXAMPLES: Record<string, { taught?: true }> = {
  'morning.yaml': {},
  'forgetful.yaml': { taught: true },
};

/** How an example is played, as its first lines say. */
function commandOf(name: string): string {
  const text = readFileSync(new URL(name, FOLDER), 'utf8');
  const [, command = ''] = /^# {3}(sallyport-phones [^]*?[^\\])\n/m.exec(text) ?? [];
  return command.replaceAll(/\\\n# */g, '');
}

t.test('the page plays the first example as that itself says', async (t) => {
  t.equal(commandsOf('docs/scenarios.md', 'sallyport-phones scenario').trim(), commandOf('morning.yaml'));
});

t.test('every example is tried', async (t) => {
  t.strictSame(readdirSync(FOLDER).sort(), Object.keys(EXAMPLES).sort());
});

for (const [name, { taught }] of Object.entries(EXAMPLES)) {
  t.test(`docs/examples/scenarios/${name} comes out as it should`, async (t) => {
    const startUpItems: Record<string, string> = { realm: 'example' };
    const gate = await startGate(t, { service: { startUpItems } });
    if (taught) startUpItems['dcmp-url'] = gate.pollUrl;
    const PATH = `${join(ROOT, 'bin')}:${process.env['PATH']}`;
    const shell = createShell({ home: gate.dir, cwd: fileURLToPath(FOLDER), env: { PATH } });
    const command = commandOf(name)
      .replace('proxy.example:8080', new URL(gate.pollUrl).host)
      .replace('proxy.example:18443', gate.doors['wpi'] ?? '')
      .replace('127.0.0.1:9470', new URL(gate.api).host);
    const { code, stdout, stderr } = await shell.run(command);
    t.equal(code, 0, `${stdout}${stderr}`);
    t.match(stdout, /\nall \d+ steps came out as they should\n$/);
  });
}

t.test('a gate whose relay is gone fails a scenario, step by step', async (t) => {
  const gate = await startGate(t);
  await gate.relay.stop();
  const file = join(
    t.testdir({
      'gone.yaml': stringify({
        groups: { one: {} },
        steps: [
          { start: 'one' },
          { expect: { of: 'one', sessions: { completed: 1 }, within_s: 0 } },
          { push: 'one' },
          { poll: 'one' },
          { expect: { of: 'one', last_poll: 202, within_s: 0 } },
        ],
      }),
    }),
    'gone.yaml',
  );
  const where = ['--service', gate.phoneService, '--api', gate.api, '--poll', gate.pollUrl];
  const { code, stdout } = await runProgram('sallyport-phones', ['scenario', file, '--json', ...where]);
  t.equal(code, 1);
  const lines = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  t.match(lines, [
    { what: 'start one', failures: [] },
    { failures: ['one: sessions completed: expected 1, got 0'] },
    { what: 'push one', failures: [/ECONNREFUSED/] },
    { what: 'poll one', failures: [] },
    { failures: [/expected last_poll 202, got 200/] },
    { msg: 'done', failed: 3, left: 0 },
  ]);
});

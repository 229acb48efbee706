import { spawnSync } from 'node:child_process';
import type { Command } from 'commander';
import t from 'tap';
import type { Test } from 'tap';
import { PROXY_EXAMPLES } from '../../../proxy/cli/examples.ts';
import { createProxyProgram } from '../../../proxy/cli/program.ts';
import { RELAY_EXAMPLES } from '../../../relay-client/cli/examples.ts';
import { createRelayProgram } from '../../../relay-client/cli/program.ts';
import { verbsOf } from '../../../shared/cli-shape.ts';
import { completionScript, SHELLS } from '../../../shared/completion.ts';
import { nearestWord } from '../../../shared/suggest.ts';
import { runProgram } from '../../fixtures/program.ts';

const nothing = (): void => undefined;
const paint = (_colour: unknown, text: string): string => text;
const programs = {
  'sallyport-relay': {
    examples: RELAY_EXAMPLES,
    create: () =>
      createRelayProgram({
        out: nothing,
        err: nothing,
        painted: nothing,
        paint,
        terminal: false,
        env: {},
        signal: new AbortController().signal,
        exit: nothing,
      }),
  },
  'sallyport-proxy': {
    examples: PROXY_EXAMPLES,
    create: () => createProxyProgram({ out: nothing, err: nothing, paint }),
  },
};
/** Commands that print nothing but a log, a script, or the list of those below them. */
const NO_JSON = ['run', 'campaign', 'completion', ''];

for (const [name, { create, examples }] of Object.entries(programs)) {
  t.test(`${name}: every verb's help teaches by examples that can be parsed`, async (t) => {
    const verbs = verbsOf(create());
    t.same(Object.keys(examples).toSorted(), verbs.map(({ path }) => path).toSorted());
    for (const { path } of verbs) {
      const command = findCommand(create(), path);
      let help = '';
      command.configureOutput({ writeOut: (text) => void (help += text) });
      command.outputHelp();
      t.ok(command.description().length > 10, `${path} is described`);
      for (const option of command.options) t.ok(option.description.length > 5, `${path} ${option.flags}`);
      if (!NO_JSON.includes(path))
        t.ok(
          command.options.some(({ long }) => long === '--json'),
          `${path} --json`,
        );
      t.match(help, /^Examples:$/m, path);
      for (const example of examples[path] ?? []) {
        t.ok(help.includes(`  ${name} ${example}\n`), example);
        await parses(t, create(), example);
      }
    }
  });

  t.test(`${name}: completion offers every verb and option, in each shell`, async (t) => {
    const program = create();
    for (const shell of SHELLS) {
      const script = completionScript(shell, program);
      for (const { path, command } of verbsOf(program)) {
        t.ok(
          path.split(' ').every((word) => script.includes(word)),
          `${shell} ${path}`,
        );
        for (const { long = '' } of command.options)
          t.ok(script.includes(shell === 'fish' ? `-l ${long.slice(2)}` : long), `${shell} ${path} ${long}`);
      }
    }
  });

  t.test(`${name}: bash completes by the script`, async (t) => {
    const script = completionScript('bash', create());
    const complete = (...words: string[]): string[] => {
      const line = `${script}
COMP_WORDS=(${[name, ...words].map((word) => `'${word}'`).join(' ')}); COMP_CWORD=${words.length}
_${name.replaceAll('-', '_')}; printf '%s\\n' "\${COMPREPLY[@]}"`;
      const { stdout, stderr, status } = spawnSync('bash', ['--norc', '-c', line], { encoding: 'utf8' });
      t.equal(status, 0, stderr);
      return stdout.split('\n').filter((word) => word !== '');
    };
    t.same(complete('doc'), ['doctor']);
    t.same(complete('doctor', '--js'), ['--json']);
    t.same(complete('run', '--log-level', 'de'), ['debug']);

    t.ok(
      complete('check', '--config', '/etc/host').includes('/etc/hostname'),
      'files where a file is wanted',
    );
    t.same(complete('nonsense', ''), []);
    if (name === 'sallyport-relay') {
      t.same(complete('campaign', 'pa'), ['pause']);
      t.same(complete('campaign', 'pause', '--ap'), ['--api']);
      t.same(complete('devices', '--state', ''), ['pending', 'idle', 'dead']);
      t.same(complete('push', '--ttl', ''), [], 'nothing can be known of a length of time');
    }
  });

  t.test(`${name}: what was mistyped is told what was probably meant`, async (t) => {
    const verb = await runProgram(name as keyof typeof programs, ['heatlh']);
    t.equal(verb.code, 2);
    t.match(verb.stderr, /unknown command 'heatlh'\n\(Did you mean health\?\)/);
    const option = await runProgram(name as keyof typeof programs, ['check', '--confg', 'x']);
    t.equal(option.code, 2);
    t.match(option.stderr, /unknown option '--confg'\n\(Did you mean --config\?\)/);
    t.notMatch((await runProgram(name as keyof typeof programs, ['frobnicate'])).stderr, /Did you mean/);
  });
}

t.test('the nearest word', async (t) => {
  const words = ['status', 'restart', 'restore', 'why'];
  t.equal(nearestWord('statsu', words), 'status');
  t.equal(nearestWord('restar', words), 'restart');
  t.equal(nearestWord('wyh', words), 'why');
  t.equal(nearestWord('banana', words), null);
  t.equal(nearestWord('x', []), null);
});

function findCommand(program: Command, path: string): Command {
  return path
    .split(' ')
    .filter((word) => word !== '')
    .reduce((command, word) => command.commands.find((each) => each.name() === word)!, program);
}

/** Parses an example without doing anything. */
async function parses(t: Test, program: Command, example: string): Promise<void> {
  const still = (command: Command): void => {
    command.exitOverride().configureOutput({ writeOut: nothing, writeErr: nothing });
    if (command.commands.length === 0) command.action(nothing);
    command.commands.forEach(still);
  };
  still(program);
  try {
    await program.parseAsync(example.split(' '), { from: 'user' });
    t.pass(example);
  } catch (error) {
    // Help was asked for: that is how the library ends then.
    t.match(error, { code: 'commander.helpDisplayed' }, example);
  }
}

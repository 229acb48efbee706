import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import t from 'tap';
import { createLogOutput } from '../../../shared/log-output.ts';
import { createLog } from '../../../shared/log.ts';
import { programPath } from '../../fixtures/program.ts';
import type { ProgramName } from '../../fixtures/program.ts';

/** Commands that print without anything running, each by a way of its own. */
const COMMANDS: [ProgramName, ...string[]][] = [
  ['sallyport-proxy', 'completion', 'bash'],
  ['sallyport-relay', 'completion', 'bash'],
  ['sallyport-phones', '--help'],
];

/** Runs it with a standard output of the test's own. */
async function run([name, ...args]: (typeof COMMANDS)[number], stdout: number | 'pipe') {
  const child = spawn(programPath(name), args, { stdio: ['ignore', stdout, 'pipe'] });
  // A reader that is gone before the first word.
  child.stdout?.destroy();
  let errors = '';
  child.stderr?.on('data', (part) => (errors += String(part)));
  const [code] = (await once(child, 'close')) as [number];
  return { code, errors };
}

t.test('a reader that goes away is no failure of a command', async (t) => {
  for (const command of COMMANDS) t.same(await run(command, 'pipe'), { code: 0, errors: '' }, command[0]);
});

t.test('output that a full disk does not take is one', async (t) => {
  const full = openSync('/dev/full', 'w');
  t.teardown(() => closeSync(full));
  for (const command of COMMANDS) {
    const { code, errors } = await run(command, full);
    t.equal(code, 1, command[0]);
    t.match(errors, /^\S+: standard output cannot be written: ENOSPC[^\n]*\n$/);
  }
});

/** An output that takes so many bytes at a time, or fails. */
function makeOutput() {
  let text = '';
  let takes: number | string = Infinity;
  const log = createLog(
    'info',
    createLogOutput((bytes) => {
      if (typeof takes === 'string') throw Object.assign(new Error(takes), { code: takes });
      const taken = bytes.subarray(0, takes);
      text += Buffer.from(taken).toString();
      // What it did not take now, it does not take later either.
      if (taken.length < bytes.length) takes = 'ENOSPC';
      return taken.length;
    }),
  );
  return {
    log,
    set: (next: number | string) => (takes = next),
    lines: () =>
      text
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line) as Record<string, unknown>),
  };
}

t.test('log lines that nobody takes are dropped, counted, and never torn', async (t) => {
  for (const why of ['ENOSPC', 'EIO', 'EPIPE', 'EAGAIN']) {
    const { log, set, lines } = makeOutput();
    log.info('first');
    set(why);
    log.info('second');
    log.warn('third');
    set(10);
    log.info('fourth');
    set(Infinity);
    log.info('fifth');
    log.info('sixth');
    t.match(
      lines(),
      [
        { msg: 'first' },
        { level: 'warn', lines: 2, msg: /missing/ },
        { lines: 1 },
        { msg: 'fifth' },
        { msg: 'sixth' },
      ],
      why,
    );
  }
});

t.test('a line of which a part was taken is ended before the next', async (t) => {
  const { log, set, lines } = makeOutput();
  set(30);
  log.info('torn');
  log.info('lost');
  set(Infinity);
  log.info('last');
  t.match(lines(), [{ msg: 'torn' }, { lines: 1, msg: /missing/ }, { msg: 'last' }]);
});

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import t from 'tap';
import type { Test } from 'tap';

const PROGRAM = new URL('../../../shared/program.ts', import.meta.url).href;
const LOG = new URL('../../../shared/log.ts', import.meta.url).href;

/** A program whose parts are `body`: an object with `reload` and `close`. */
function start(t: Test, body: string) {
  const source = `
    const { runUntilSignal } = await import('${PROGRAM}');
    const { createLog } = await import('${LOG}');
    const alive = setInterval(() => {}, 1000);
    const say = (msg) => console.log(JSON.stringify({ msg }));
    const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
    const ended = runUntilSignal(${body}, createLog('info'));
    say('ready');
    process.exit(await ended);
  `;
  const child = spawn(process.execPath, ['--input-type=module', '-e', source], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.teardown(() => child.kill('SIGKILL'));
  const lines: string[] = [];
  const waiting = new Set<() => void>();
  createInterface({ input: child.stdout }).on('line', (line) => {
    lines.push((JSON.parse(line) as { msg: string }).msg);
    waiting.forEach((look) => look());
  });
  const said = (msg: string, times = 1): Promise<void> =>
    new Promise((resolve) => {
      const look = (): void => {
        if (lines.filter((line) => line.startsWith(msg)).length < times) return;
        waiting.delete(look);
        resolve();
      };
      waiting.add(look);
      look();
    });
  // At its exit the last lines may still be on their way.
  const exited = once(child, 'close').then(([code]) => code as number);
  return { said, lines, exited, signal: (name: NodeJS.Signals) => child.kill(name) };
}

t.test('SIGTERM and SIGINT close and exit 0', async (t) => {
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    const program = start(t, `{ reload: async () => ({}), close: async () => say('closed') }`);
    await program.said('ready');
    program.signal(signal);
    t.equal(await program.exited, 0);
    t.same(program.lines, ['ready', 'ending', 'closed', 'ended']);
  }
});

t.test('a close that fails exits 1', async (t) => {
  const program = start(t, `{ reload: async () => ({}), close: async () => { throw new Error('stuck') } }`);
  await program.said('ready');
  program.signal('SIGTERM');
  t.equal(await program.exited, 1);
  t.ok(program.lines.includes('ending failed'));
});

t.test('reloads run one after another, fail by themselves, and stop once the program ends', async (t) => {
  const program = start(
    t,
    `{
      async reload() {
        say('begin');
        await pause(100);
        say('done');
        if (globalThis.twice) throw new Error('broken config');
        globalThis.twice = true;
        return {};
      },
      close: () => pause(300),
    }`,
  );
  await program.said('ready');
  program.signal('SIGHUP');
  await program.said('begin');
  program.signal('SIGHUP');
  await program.said('reload failed');
  program.signal('SIGTERM');
  await program.said('ending');
  program.signal('SIGHUP');
  t.equal(await program.exited, 0);
  t.same(program.lines, [
    'ready',
    'begin',
    'done',
    'reloaded',
    'begin',
    'done',
    'reload failed; what could not be used stays as it was',
    'ending',
    'ended',
  ]);
});

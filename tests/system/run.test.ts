import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { until } from '../fixtures/until.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** Runs the runner on files of tests/fixtures/runner. */
function run(
  names: string[],
  env: Record<string, string> = {},
): { code: number | null; text: string; last: string } {
  const args = ['tests/run.ts', ...names.map((name) => `tests/fixtures/runner/${name}.test.ts`)];
  const { NO_SKIP: _, ...clean } = process.env;
  const { status, stdout } = spawnSync(process.execPath, args, {
    cwd: root,
    encoding: 'utf8',
    env: { ...clean, ...env },
  });
  return { code: status, text: stdout, last: stdout.trimEnd().split('\n').at(-1) ?? '' };
}

/** A killed process that nobody has waited for yet still has a number, but runs no more. */
function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    const stat = `/proc/${pid}/stat`;
    return !(existsSync(stat) && /\) Z /.test(readFileSync(stat, 'utf8')));
  } catch {
    return false;
  }
}

t.test('the last line counts what passed, and the exit code is 0', async (t) => {
  const { code, last } = run(['passing']);
  t.equal(last, '3 passed, 0 failed');
  t.equal(code, 0);
});

t.test('skips are counted and named with their reason, and pass', async (t) => {
  const { code, text, last } = run(['passing', 'skipping']);
  t.equal(last, '5 passed, 0 failed, 3 skipped');
  t.match(text, 'skipped  tests/fixtures/runner/skipping.test.ts: needs a moon # no moon here');
  t.equal(code, 0);
});

t.test('NO_SKIP=1 makes each skip a failure that keeps its reason', async (t) => {
  const { code, text, last } = run(['skipping'], { NO_SKIP: '1' });
  t.equal(last, '2 passed, 3 failed');
  t.match(text, 'failed   tests/fixtures/runner/skipping.test.ts: needs a moon # skipped: no moon here');
  t.equal(code, 1);
});

const elsewhere = process.platform === 'linux' ? false : 'namespaces need Linux';
t.test(
  'what the kernel forbids is skipped all the same, with what it said',
  { skip: elsewhere },
  async (t) => {
    const { code, text, last } = run(['forbidden'], { NO_SKIP: '1' });
    t.equal(last, '1 passed, 0 failed, 1 skipped');
    t.match(text, 'needs a mount # the kernel forbids mounts: mount: permission denied');
    t.equal(code, 0);
  },
);

t.test('each failure is told with its difference, and the exit code is 1', async (t) => {
  const { code, text, last } = run(['failing']);
  t.equal(last, '1 passed, 3 failed');
  t.match(text, '-{"a":2}');
  t.match(text, '+{"a":1}');
  t.match(text, 'thrown on purpose');
  t.match(text, 'test count(1) != plan(2)');
  t.equal(code, 1);
});

t.test('a file that crashes after its tests is a failure, with what it wrote to stderr', async (t) => {
  const { code, text, last } = run(['crashing']);
  t.equal(last, '1 passed, 1 failed');
  t.match(text, 'exit code 7');
  t.match(text, 'about to crash');
  t.equal(code, 1);
});

t.test('a file in which no test ran is a failure', async (t) => {
  const { code, last } = run(['empty']);
  t.equal(last, '0 passed, 1 failed');
  t.equal(code, 1);
});

t.test('a file that is not there is a failure', async (t) => {
  const { code, text, last } = run(['passing', 'nowhere']);
  t.equal(last, '3 passed, 1 failed');
  t.match(text, 'nowhere.test.ts: no test file there');
  t.equal(code, 1);
});

t.test('each command of the repository refuses what it does not know, with its help', async (t) => {
  const { scripts } = JSON.parse(readFileSync(`${root}package.json`, 'utf8')) as {
    scripts: Record<string, string>;
  };
  const ours = Object.entries(scripts).filter(
    // The pages are built by the programs that need them, and by hand with nothing to say.
    ([name, line]) => /launch\.sh (tests|bin|deploy)\//.test(line) && name !== 'build:dashboard',
  );
  const refuses = async ([name, line]: [string, string]): Promise<void> => {
    const child = spawn('sh', ['-c', `${line} --nope`], { cwd: root, stdio: ['ignore', 'ignore', 'pipe'] });
    let stderr = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
    const [code] = (await once(child, 'close')) as [number];
    t.equal(code, 2, `${name}: ${stderr}`);
    t.match(stderr, /--nope/, name);
    t.match(stderr, /npm (run|test|start)/, `${name} tells its help`);
  };
  t.ok(ours.length >= 16, 'they were found');
  const queue = [...ours];
  await Promise.all(
    [1, 2, 3].map(async () => {
      for (let next = queue.shift(); next !== undefined; next = queue.shift()) await refuses(next);
    }),
  );
});

t.test('a process that a test left behind ends with its file', async (t) => {
  const { text } = run(['leaking']);
  const pid = Number(/left behind (\d+)/.exec(text)?.[1]);
  t.ok(pid > 0, 'the fixture named its process');
  // Killed it is; a busy machine may let it end a moment later.
  await until('it has ended', () => !isRunning(pid));
});

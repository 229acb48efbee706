import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { PLANTED_BUGS } from './bugs.ts';

const program = fileURLToPath(new URL('../main.ts', import.meta.url));

/** Test files among which the bugs are shared, so that they run side by side. */
const PARTS = 4;

/** Runs the simulation and resolves to all that it prints. */
async function simulate(...args: string[]): Promise<{ code: number | null; text: string }> {
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', program, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let text = '';
  child.stdout.on('data', (chunk: Buffer) => (text += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (text += chunk.toString()));
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, text };
}

/** Tests a part of the bugs. Each needs a process of its own: the product is loaded with the bug in it. */
export function testBugs(part: number): void {
  for (const [name, { promise, seeds }] of Object.entries(PLANTED_BUGS).filter(
    (_, i) => i % PARTS === part,
  )) {
    t.test(`${name} is found as a breach of ${promise} within ${seeds} seeds`, async (t) => {
      const { code, text } = await simulate('--bug', name);
      t.equal(code, 0, text);
      t.match(text, new RegExp(`^seed \\d+: ${promise}: .*\\n(?:.*\\n)*found at seed \\d+\\n$`, 'm'));
    });
  }
}

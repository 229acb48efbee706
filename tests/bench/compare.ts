/** This checkout beside another revision: the same harness, the same rows, in turn. */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { BenchRow } from './rows.ts';
import { isMeasured, median, spreadOf } from './rows.ts';
import { columns } from './table.ts';

const ROOT = new URL('../..', import.meta.url).pathname;
/**
 * Beyond the noise: this checkout came out slower in every single round, and by more than a twentieth in the middle one. Of
 * six rounds of two equal revisions, one in 64 has the first half of that, and hardly any the other.
 */
const LEAST_LOSS = 0.05;
const LEAST_ROUNDS = 5;

/** What came of one row: above 1 = this checkout is faster. */
export interface Compared {
  name: string;
  ratio: number;
  spread: [number, number];
  slower: boolean;
}

/** Judges the paired rounds of a row. @param ratios - of this checkout to the other, above 1 = this one is faster */
export function judge(name: string, ratios: readonly number[]): Compared {
  const ratio = median(ratios);
  const spread = spreadOf(ratios);
  const slower = ratios.length >= LEAST_ROUNDS && spread[1] < 1 && ratio < 1 - LEAST_LOSS;
  return { name, ratio, spread, slower };
}

/**
 * Measures `revision` and this checkout, uncommitted changes included, in turn.
 *
 * @returns the exit code: 1 where this checkout is slower beyond the noise
 * @throws Error when there is no such revision, or a row cannot be measured
 */
export async function compareWith(
  revision: string,
  options: { rounds: number; only: string; progress: (text: string) => void },
): Promise<number> {
  if (options.rounds < LEAST_ROUNDS) {
    throw new Error(`${options.rounds} rounds cannot tell a loss from noise; ${LEAST_ROUNDS} can`);
  }
  const other = checkOut(revision);
  try {
    const ratios = new Map<string, number[]>();
    for (let round = 0; round < options.rounds; round++) {
      options.progress(`round ${round + 1} of ${options.rounds}`);
      const trees = round % 2 === 0 ? [ROOT, other] : [other, ROOT];
      const rows = new Map<string, BenchRow[]>();
      for (const tree of trees) rows.set(tree, await measureIn(tree, options.only));
      for (const ours of rows.get(ROOT) ?? []) {
        const theirs = rows.get(other)?.find(({ bench, name }) => bench === ours.bench && name === ours.name);
        if (theirs === undefined || !isMeasured(ours)) continue;
        const name = `${ours.bench}: ${ours.name}`;
        ratios.set(name, [...(ratios.get(name) ?? []), gain(ours, theirs)]);
      }
    }
    const compared = [...ratios].map(([name, each]) => judge(name, each));
    const lines = compared.map(({ name, ratio, spread, slower }) => [
      ...[name, ratio.toFixed(3), `${spread[0].toFixed(3)}–${spread[1].toFixed(3)}`],
      slower ? 'slower' : '',
    ]);
    process.stdout.write(`${columns([['row', `to ${revision}`, 'spread', ''], ...lines])}\n`);
    return compared.some(({ slower }) => slower) ? 1 : 0;
  } finally {
    rmSync(other, { recursive: true, force: true });
  }
}

/** How much better ours is: rates as they are, times and memory the other way round. */
function gain(ours: BenchRow, theirs: BenchRow): number {
  return /\/s$/.test(ours.unit) ? ours.ours / theirs.ours : theirs.ours / ours.ours;
}

/** The revision's product with this checkout's benchmarks, in a directory of its own. */
function checkOut(revision: string): string {
  const git = (...args: string[]): Buffer =>
    execFileSync('git', args, { cwd: ROOT, maxBuffer: 2 ** 30, stdio: ['ignore', 'pipe', 'pipe'] });
  const commit = git('rev-parse', '--verify', `${revision}^{commit}`).toString('utf8').trim();
  const dir = mkdtempSync(join(tmpdir(), 'bench-compare-'));
  execFileSync('tar', ['-x', '-C', dir], { input: git('archive', commit) });
  for (const part of ['tests/bench', 'tests/fixtures', 'tests/phones']) {
    rmSync(join(dir, part), { recursive: true, force: true });
    cpSync(join(ROOT, part), join(dir, part), { recursive: true });
  }
  const lock = (tree: string): string => readFileSync(join(tree, 'package-lock.json'), 'utf8');
  // With other dependencies its launcher installs them.
  if (lock(dir) === lock(ROOT) && existsSync(join(ROOT, 'node_modules'))) {
    symlinkSync(join(ROOT, 'node_modules'), join(dir, 'node_modules'));
  }
  return `${dir}/`;
}

async function measureIn(tree: string, only: string): Promise<BenchRow[]> {
  const file = join(mkdtempSync(join(tmpdir(), 'bench-round-')), 'figures.json');
  const args = ['--quick', '--rounds', '1', '--guard', '--only', only, '--json', file];
  const child = spawn('sh', [join(tree, 'bin/launch.sh'), 'tests/bench/run', ...args], {
    cwd: tree,
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let said = '';
  child.stderr.on('data', (chunk: Buffer) => (said = `${said}${chunk.toString('utf8')}`.slice(-2_000)));
  const [code] = (await once(child, 'close')) as [number | null];
  try {
    if (code !== 0) throw new Error(`the benchmarks in ${tree} ended with ${code}:\n${said}`);
    const { rows } = JSON.parse(readFileSync(file, 'utf8')) as { rows: BenchRow[] };
    return rows;
  } finally {
    rmSync(join(file, '..'), { recursive: true, force: true });
  }
}

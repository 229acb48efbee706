import type { Owner } from '../fixtures/gate.ts';
import type { BenchOptions, BenchRow } from './rows.ts';

type Bench = (owner: Owner, options: BenchOptions) => Promise<BenchRow[]>;

/** All benchmarks by name, in the order in which they are run and told. */
const BENCHES: Record<string, () => Promise<{ run: Bench }>> = {
  polls: () => import('./polls.ts'),
  known: () => import('./known.ts'),
  workers: () => import('./workers.ts'),
  tunnel: () => import('./tunnel.ts'),
  accept: () => import('./accept.ts'),
  control: () => import('./control.ts'),
  sites: () => import('./sites.ts'),
  'bulk-push': () => import('./bulk.ts'),
  resync: () => import('./resync.ts'),
  courier: () => import('./courier.ts'),
  campaign: () => import('./campaign.ts'),
  commands: () => import('./commands.ts'),
};

export const BENCH_NAMES = Object.keys(BENCHES);

/** Measures what `options` want of all benchmarks. What cannot be measured is told in `failures`, the rest goes on. */
export async function measureRows(
  options: Omit<BenchOptions, 'progress'> & { progress: (bench: string, text: string) => void },
): Promise<{ rows: BenchRow[]; failures: string[] }> {
  const rows: BenchRow[] = [];
  const failures: string[] = [];
  for (const [bench, load] of Object.entries(BENCHES)) {
    try {
      const { run } = await load();
      const progress = (text: string): void => options.progress(bench, text);
      rows.push(...(await owning((owner) => run(owner, { ...options, progress }))));
    } catch (error) {
      failures.push(`${bench}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  return { rows, failures };
}

/** Does something, and afterwards, whatever came of it, cleans up what it registered, the last first. */
export async function owning<T>(task: (owner: Owner) => Promise<T>): Promise<T> {
  const tasks: (() => unknown)[] = [];
  try {
    return await task({ teardown: (each) => tasks.unshift(each) });
  } finally {
    for (const each of tasks) await each();
  }
}

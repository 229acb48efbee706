import { execFileSync } from 'node:child_process';
import { availableParallelism } from 'node:os';

/** The command in front of a program that keeps it on these cores; empty where the machine has no others. */
export function pinned(cores: readonly number[]): string[] {
  if (availableParallelism() <= cores.length && cores.length > 1) return [];
  if (availableParallelism() < 2) return [];
  requireTools({ taskset: 'util-linux' });
  return ['taskset', '-c', cores.join(',')];
}

/**
 * The same for a program that watches others: it goes before them on its cores, where the system allows that, so that its own waiting
 * for a processor is no part of what it sees.
 */
export function ahead(cores: readonly number[]): string[] {
  const before = ['chrt', '--fifo', '1'];
  try {
    execFileSync('chrt', [...before.slice(1), 'true'], { stdio: 'ignore' });
  } catch {
    return pinned(cores);
  }
  return [...before, ...pinned(cores)];
}

/** Whether a program is on the PATH. */
export function hasTool(name: string): boolean {
  try {
    execFileSync('sh', ['-c', `command -v ${name}`], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

/**
 * @param tools - each with the Debian package that it comes in
 * @throws Error naming every tool that is missing
 */
export function requireTools(tools: Record<string, string>): void {
  const missing = Object.keys(tools).filter((tool) => !hasTool(tool));
  if (missing.length === 0) return;
  const packages = [...new Set(missing.map((tool) => tools[tool]))].join(' ');
  throw new Error(`missing: ${missing.join(', ')} (Debian: apt install ${packages})`);
}

import { readFileSync } from 'node:fs';
import { ok, warn } from './finding.ts';
import type { Look } from './finding.ts';

/** How many files this process may open at most, by /proc; null where that cannot be told. */
export function descriptorLimit(limits = '/proc/self/limits'): number | null {
  let text: string;
  try {
    text = readFileSync(limits, 'utf8');
  } catch {
    // Only Linux has it, and elsewhere nothing is asked of it.
    return null;
  }
  const [, hard = ''] = /^Max open files\s+\S+\s+(\S+)/m.exec(text) ?? [];
  if (hard === 'unlimited') return Infinity;
  // Node raises its soft limit to the hard one when it starts.
  return /^\d+$/.test(hard) ? Number(hard) : null;
}

/**
 * Says whether a limit of open files is enough.
 *
 * @param limit - null = not known
 * @param needed - for everything that the limits in the config allow at once
 * @param whose - of which process it is: `the running relay`
 */
export function judgeDescriptors(whose: string, limit: number | null, needed: number, sum: string): Look {
  if (limit === null) return ok(whose, 'its limit of open files is not known on this system');
  if (limit >= needed) return ok(whose, `may open ${limit} files, and needs at most ${needed} (${sum})`);
  return warn(
    whose,
    `may open ${limit} files; with every limit reached it would need ${needed} (${sum})`,
    `raise it (LimitNOFILE=${needed} in the unit, or ulimit -n ${needed}), or lower the limits in the config`,
  );
}

import type { Milliseconds } from '../clock.ts';
import { describeError } from '../errors.ts';
import { fail } from './finding.ts';
import type { Finding, Look } from './finding.ts';

/** One check. It does not depend on others: what it needs that is not there, it says. */
export interface Check {
  /** One word. */
  name: string;
  /** Aborted when its time is over; then nobody waits for it any more. */
  look(signal: AbortSignal): Promise<readonly Look[]> | readonly Look[];
  /** Default {@link CHECK_MS}. */
  withinMs?: Milliseconds;
}

/** How long one check may take, unless it says otherwise. */
export const CHECK_MS: Milliseconds = 15_000;

/** Makes the checks one after the other, whatever comes of each, and tells every finding as it is made. */
export async function diagnose(
  checks: readonly Check[],
  tell: (finding: Finding) => void = () => undefined,
): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const check of checks) {
    for (const look of await outcome(check)) {
      const finding = { check: check.name, ...look };
      findings.push(finding);
      tell(finding);
    }
  }
  return findings;
}

async function outcome({ name, look, withinMs = CHECK_MS }: Check): Promise<readonly Look[]> {
  const over = new AbortController();
  const { promise: late, resolve } = Promise.withResolvers<Look[]>();
  const timer = setTimeout(() => {
    const seconds = withinMs / 1_000;
    resolve([
      fail(name, `the check took longer than ${seconds} s`, 'see what is slow: disk, DNS or network'),
    ]);
    over.abort();
  }, withinMs);
  try {
    return await Promise.race([(async () => look(over.signal))(), late]);
  } catch (error) {
    return [
      fail(name, `the check itself failed: ${describeError(error)}`, 'mend what it names, then try again'),
    ];
  } finally {
    clearTimeout(timer);
  }
}

import type { FileResult } from './file.ts';
import { indent, type Outcome } from './tap-tree.ts';

interface Counts {
  passed: number;
  failed: number;
  skipped: number;
}

/** How a reason begins that no installed tool can take away; only tests/fixtures/kernel.ts gives such, after trying. */
export const FORBIDDEN = 'the kernel forbids ';

/** Turns skips into failures when they are not allowed. */
function judged(outcomes: readonly Outcome[], strict: boolean): Outcome[] {
  if (!strict) return [...outcomes];
  return outcomes.map((o) =>
    o.kind === 'skipped' && !o.detail.startsWith(FORBIDDEN)
      ? { ...o, kind: 'failed', detail: `skipped: ${o.detail}` }
      : o,
  );
}

function count(outcomes: readonly Outcome[]): Counts {
  const counts: Counts = { passed: 0, failed: 0, skipped: 0 };
  for (const { kind } of outcomes) counts[kind]++;
  return counts;
}

const line = ({ passed, failed, skipped }: Counts): string =>
  `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`;

const title = (file: string, outcome: Outcome): string =>
  outcome.name === '' ? file : `${file}: ${outcome.name}`;

/**
 * One line for a file that passed, more for one that did not: each failure and skip by name, then what the
 * file wrote to stderr if it failed.
 */
export function reportFile(result: FileResult, strict: boolean): string {
  const outcomes = judged(result.outcomes, strict);
  const counts = count(outcomes);
  const seconds = (result.durationMs / 1000).toFixed(1);
  const lines = [`${counts.failed > 0 ? 'FAIL' : 'ok  '} ${result.name} (${line(counts)}, ${seconds} s)`];
  for (const outcome of outcomes) {
    if (outcome.kind !== 'failed') continue;
    lines.push(`     failed: ${outcome.name || 'the file itself'}`, indent(outcome.detail, '       '));
  }
  if (counts.failed > 0 && result.stderr.trim() !== '') {
    lines.push('     stderr:', indent(result.stderr.trimEnd(), '       '));
  }
  return lines.join('\n');
}

/**
 * The end of the report: all skips with their reasons, all failures by name, and the totals alone on the last
 * line. A path without tests counts as a failure.
 */
export function reportTotals(
  results: readonly FileResult[],
  { strict, missing }: { strict: boolean; missing: readonly string[] },
): { text: string; failed: number; ran: number } {
  const lines: string[] = [''];
  const all: Outcome[] = [];
  for (const { name, outcomes } of results) {
    for (const outcome of judged(outcomes, strict)) {
      all.push(outcome);
      if (outcome.kind === 'skipped') lines.push(`skipped  ${title(name, outcome)} # ${outcome.detail}`);
      // The first line of a skip's detail is its reason; a failure's detail was printed with its file.
      if (outcome.kind === 'failed') {
        lines.push(
          `failed   ${title(name, outcome)}${outcome.detail.startsWith('skipped: ') ? ` # ${outcome.detail}` : ''}`,
        );
      }
    }
  }
  for (const path of missing) lines.push(`failed   ${path}: no test file there`);
  const counts = count(all);
  counts.failed += missing.length;
  lines.push(line(counts));
  return { text: lines.join('\n'), failed: counts.failed, ran: counts.passed + counts.failed };
}

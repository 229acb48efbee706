import type { Colour, Paint } from '../paint.ts';
import { visible } from '../visible.ts';
import type { Finding, Level } from './finding.ts';

const COLOURS: Record<Level, Colour> = { ok: 'green', warn: 'yellow', fail: 'red' };
/** Width of the longest check's name, so that lines that are told one by one stand in columns. */
const NAME_WIDTH = 12;

/** One line for a person: `fail  clock  …: what was seen → what to do`. */
export function findingLine({ check, about, level, says, fix, elsewhere }: Finding, paint: Paint): string {
  const told = visible(`${about}: ${says}`);
  const mend = fix === null ? '' : ` → ${visible(fix)}`;
  const there = elsewhere === null ? '' : ` ${paint('dim', `(${visible(elsewhere)})`)}`;
  return `${paint(COLOURS[level], level.padEnd(4))}  ${check.padEnd(NAME_WIDTH)}  ${told}${mend}${there}`;
}

/** The last line: how many of each. */
export function summaryLine(findings: readonly Finding[]): string {
  const count = (level: Level): number => findings.filter((finding) => finding.level === level).length;
  return `${count('ok')} ok, ${count('warn')} to look at, ${count('fail')} failed`;
}

/** Whether nothing failed. */
export const isHealthy = (findings: readonly Finding[]): boolean =>
  findings.every(({ level }) => level !== 'fail');

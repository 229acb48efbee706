import { isMeasured } from './rows.ts';
import type { BenchRow } from './rows.ts';

const HEAD = ['bench', 'row', 'ours', 'peer', 'ratio', 'spread', 'goal', 'met'];

/** A figure as people read it: three digits, thousands apart. */
export function shown(value: number): string {
  if (Math.abs(value) >= 1_000) return Math.round(value).toLocaleString('en');
  if (value !== 0 && Math.abs(value) < 0.001) return value.toExponential(1);
  return String(Number(value.toPrecision(3)));
}

/** A row's cells in the order of the table, without its benchmark. */
export function cellsOf(row: BenchRow): string[] {
  if (!isMeasured(row)) return [row.name, `not measured: ${row.note}`, '', '', '', '', ''];
  const { peer, absent, ratio, spread, goal, unit } = row;
  const ofPeer = absent !== null ? 'not installed' : peer === null ? '' : shown(peer.value);
  return [
    row.name,
    `${shown(row.ours)} ${unit}`,
    peer === null ? '' : `${ofPeer} ${absent === null ? '' : '('}${peer.name}${absent === null ? '' : ')'}`,
    ratio === null ? '' : ratio.toFixed(2),
    spread[0] === spread[1] ? '' : `${shown(spread[0])}–${shown(spread[1])}`,
    goalOf(goal, unit),
    row.met === null ? '' : row.met ? 'yes' : 'no',
  ];
}

function goalOf(goal: BenchRow['goal'], unit: string): string {
  if (goal === null) return '';
  if ('ratio' in goal) return `≥ ${goal.ratio} ×`;
  return 'most' in goal ? `≤ ${shown(goal.most)} ${unit}` : `≥ ${shown(goal.least)} ${unit}`;
}

/** Rows as a table for terminals. */
export function asText(rows: readonly BenchRow[]): string {
  return columns([HEAD, ...rows.map((row) => [row.bench, ...cellsOf(row)])]);
}

/** Lines of cells, each column as wide as it has to be. */
export function columns(lines: readonly (readonly string[])[]): string {
  const widths = (lines[0] ?? []).map((_, i) => Math.max(...lines.map((line) => line[i]?.length ?? 0)));
  return lines
    .map((line) =>
      line
        .map((cell, i) => cell.padEnd(widths[i] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

/** Lines of cells as a table of Markdown, the first line its head. */
export function asMarkdown([head = [], ...lines]: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  return [line(head), `|${'---|'.repeat(head.length)}`, ...lines.map(line)].join('\n');
}

import { visible } from './visible.ts';

/** Lays rows out in columns as wide as they need, two spaces apart; null shows as a dash. */
export function table(
  head: readonly string[],
  rows: readonly (readonly (string | number | null)[])[],
): string {
  const cells = [head, ...rows].map((row) =>
    row.map((cell) => (cell === null ? '-' : visible(String(cell)))),
  );
  const widths = head.map((_, column) =>
    cells.reduce((widest, row) => Math.max(widest, row[column]?.length ?? 0), 0),
  );
  return cells
    .map(
      (row) =>
        `${row
          .map((cell, i) => cell.padEnd(widths[i] ?? 0))
          .join('  ')
          .trimEnd()}\n`,
    )
    .join('');
}

/** Names and values, one pair a line. */
export function pairs(list: readonly (readonly [string, string | number | null])[]): string {
  const width = Math.max(...list.map(([name]) => name.length));
  return list.map(([name, value]) => `${name.padEnd(width)}  ${visible(String(value ?? '-'))}\n`).join('');
}

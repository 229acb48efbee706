import { crc32 } from 'node:zlib';
import { CONTENT_COLUMNS } from './rules/rows.ts';
import type { MessageRow, StoreRow, Value } from './rules/rows.ts';

/*
 * Sums over rows. SQLite's own check finds pages that are not well formed; a value in which the disk turned a bit
 * around passes it. A message must not be offered to another phone than the one that it was accepted for.
 */

/** The sum of a row's values, in the order of its columns. Any change of up to 32 neighbouring bits changes it. */
export function sumOf(values: readonly Value[]): number {
  return crc32(JSON.stringify(values));
}

/** Over all but its number, which the sum is needed before. */
export function messageSum(row: MessageRow): number {
  return sumOf(CONTENT_COLUMNS.map((name) => row[name]));
}

/** `file` is left out: it is written apart, by whoever puts the file in its place. */
export function storeSum(row: StoreRow): number {
  const { file: _file, sum: _sum, ...rest } = row;
  return sumOf(Object.values(rest));
}

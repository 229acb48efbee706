import { crc32 } from 'node:zlib';
import type { MessageRow, StoreRow } from './sqlite-rows.ts';

/*
 * Sums over rows. SQLite's own check finds pages that are not well formed; a value in which the disk turned a bit
 * around passes it. A message must not be offered to another phone than the one that it was accepted for.
 */

type Value = string | number | null;

/** The sum of a row's values, in the order of its columns. Any change of up to 32 neighbouring bits changes it. */
export function sumOf(values: readonly Value[]): number {
  return crc32(JSON.stringify(values));
}

/** A message's columns that its sum is over, in order: all but its number, which the sum is needed before. */
export const SUMMED_MESSAGE_COLUMNS = [
  'id',
  'device',
  'held',
  'generation',
  'kind',
  'state',
  'accepted_wall',
  'ended_wall',
  'ended_by',
  'ttl',
  'due_at',
  'expires_at',
  'forget_at',
  'fruitless',
  'key',
  'content',
  'campaign',
  'bytes',
  'actions',
  'results',
  'result_bytes',
  'awaited_until',
  'parked_due',
  'failed',
] as const satisfies (keyof MessageRow)[];

/** An entry of the history is summed whole. */
export const SUMMED_HISTORY_COLUMNS = [
  'seq',
  'wall',
  'device',
  'message',
  'generation',
  'event',
  'what',
  'facts',
] as const;

export function messageSum(row: MessageRow): number {
  return sumOf(SUMMED_MESSAGE_COLUMNS.map((name) => row[name]));
}

/** `file` is left out: it is written apart, by whoever puts the file in its place. */
export function storeSum(row: StoreRow): number {
  const { file: _file, sum: _sum, ...rest } = row;
  return sumOf(Object.values(rest));
}

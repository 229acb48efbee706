import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import type { GrowthStep } from './growth.ts';
import type { Machine } from './machine.ts';
import type { BenchRow } from './rows.ts';

/** A row that the pages tell, with where and when it was measured. */
export type KeptRow = BenchRow & { machine: Machine };

/** The figures that the pages are made of, as they were measured last. */
export interface Figures {
  rows: KeptRow[];
  growth: { machine: Machine; steps: GrowthStep[] } | null;
}

const FILE = new URL('figures/kept.json', import.meta.url);

export function readFigures(): Figures {
  return JSON.parse(readFileSync(FILE, 'utf8')) as Figures;
}

export function writeFigures(figures: Figures): void {
  writeJson(FILE.pathname, figures);
}

export function writeJson(path: string, value: unknown): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, `${JSON.stringify(value, null, 1)}\n`);
}

const keyOf = ({ bench, name, peer }: BenchRow): string => [bench, name, peer?.name ?? ''].join('\n');

/**
 * Puts rows in the place of those of the same names. New ones go behind the last one of their benchmark.
 *
 * @param order - all benchmarks' names, in the order of the pages
 */
export function mergeRows(
  kept: readonly KeptRow[],
  rows: readonly BenchRow[],
  machine: Machine,
  order: readonly string[],
): KeptRow[] {
  const fresh = new Map(rows.map((row) => [keyOf(row), { ...row, machine }]));
  const merged = kept.map((row) => {
    const again = fresh.get(keyOf(row));
    fresh.delete(keyOf(row));
    return again ?? row;
  });
  merged.push(...fresh.values());
  return order.flatMap((bench) => merged.filter((row) => row.bench === bench));
}

/** One line of the benchmark's table. */
export interface BenchRow {
  /** Which benchmark it belongs to, as `--only` names it. */
  bench: string;
  name: string;
  unit: string;
  /** Median of the rounds; NaN where nothing was measured. */
  ours: number;
  /** What it is held against, measured in the same rounds; null where the goal is an absolute one. */
  peer: { name: string; value: number } | null;
  /** Median of the rounds' ratios; above 1 = ours is the better one. Null without a peer. */
  ratio: number | null;
  /** Least and greatest of the rounds' ratios, or of ours where there is no peer. */
  spread: [number, number];
  goal: Goal | null;
  /** Whether the goal is reached; null without one. */
  met: boolean | null;
  /** Why there is no figure of the peer although there should be; null = there is, or should not be. */
  absent: string | null;
  /** What was measured, a figure a round; `peer` is empty without one. */
  raw: { ours: number[]; peer: number[] };
  /** Further figures of the same rounds, medians. */
  beside: Record<string, number>;
  note: string;
}

/** A ratio of at least this, or a figure of at most or at least this, in the row's unit. */
export type Goal = { ratio: number } | { most: number } | { least: number };

/** What every benchmark is given. */
export interface BenchOptions {
  /** Times that all contenders of a row are measured in turn. */
  rounds: number;
  /** Length of one measurement. */
  seconds: number;
  /** Whether a row is to be measured. */
  wanted: (bench: string, row: string) => boolean;
  /** Whether to measure peers, too; without them rows are of ours alone, and go quicker. */
  peers: boolean;
  /** Told what is going on, for whoever waits. */
  progress: (text: string) => void;
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? NaN) + upper) / 2;
}

export const spreadOf = (values: readonly number[]): [number, number] => [
  Math.min(...values),
  Math.max(...values),
];

/**
 * Measures contenders in turn, round after round, beginning with another one in each: what else the machine does falls
 * on all alike. A round before the first warms everything up and is not counted.
 *
 * @returns per contender one figure a round
 */
export async function inTurn<Name extends string, Figure>(
  names: readonly Name[],
  rounds: number,
  measure: (name: Name) => Promise<Figure>,
): Promise<Record<Name, Figure[]>> {
  const figures = Object.fromEntries(names.map((name) => [name, []])) as unknown as Record<Name, Figure[]>;
  for (const name of names) await measure(name);
  for (let round = 0; round < rounds; round++) {
    const first = round % names.length;
    for (const name of [...names.slice(first), ...names.slice(0, first)]) {
      figures[name].push(await measure(name));
    }
  }
  return figures;
}

/** A row of ours against a peer, of the same rounds; without the peer where that was not measured. */
export function pairedRow(of: {
  bench: string;
  name: string;
  unit: string;
  ours: readonly number[];
  peer: { name: string; values: readonly number[] } | null;
  /** Whether more is better; false = less is. */
  more: boolean;
  goal: Goal | null;
  beside?: Record<string, number>;
  note: string;
}): BenchRow {
  const { peer: against } = of;
  if (against === null) return absoluteRow({ ...of, goal: null });
  const ratios = of.ours.map((ours, round) => {
    const peer = against.values[round] ?? NaN;
    return of.more ? ours / peer : peer / ours;
  });
  const ratio = median(ratios);
  const ours = median(of.ours);
  return {
    bench: of.bench,
    name: of.name,
    unit: of.unit,
    ours,
    peer: { name: against.name, value: median(against.values) },
    ratio,
    spread: spreadOf(ratios),
    goal: of.goal,
    met: meets(of.goal, ours, ratio),
    absent: null,
    raw: { ours: [...of.ours], peer: [...against.values] },
    beside: of.beside ?? {},
    note: of.note,
  };
}

/** A row that is held against a number. */
export function absoluteRow(of: {
  bench: string;
  name: string;
  unit: string;
  ours: readonly number[];
  goal: Exclude<Goal, { ratio: number }> | null;
  beside?: Record<string, number>;
  note: string;
}): BenchRow {
  const ours = median(of.ours);
  return {
    bench: of.bench,
    name: of.name,
    unit: of.unit,
    ours,
    peer: null,
    ratio: null,
    spread: spreadOf(of.ours),
    goal: of.goal,
    met: meets(of.goal, ours, null),
    absent: null,
    raw: { ours: [...of.ours], peer: [] },
    beside: of.beside ?? {},
    note: of.note,
  };
}

/** A row whose peer is not there to be measured. @param of - `absent`: why, and how to get it */
export function absentRow(of: {
  bench: string;
  name: string;
  unit: string;
  ours: readonly number[];
  peer: string;
  absent: string;
  note: string;
}): BenchRow {
  const row = absoluteRow({ ...of, goal: null });
  return { ...row, peer: { name: of.peer, value: NaN }, absent: of.absent };
}

/** A row of which nothing could be measured here. @param of - `why`, and how to get what is missing */
export function skippedRow(of: { bench: string; name: string; unit: string; why: string }): BenchRow {
  return { ...absoluteRow({ ...of, ours: [], goal: null, note: of.why }), spread: [NaN, NaN] };
}

/** Whether there is anything to tell of a row. */
export const isMeasured = ({ raw }: BenchRow): boolean => raw.ours.length > 0;

function meets(goal: Goal | null, ours: number, ratio: number | null): boolean | null {
  if (goal === null) return null;
  if ('ratio' in goal) return (ratio ?? 0) >= goal.ratio;
  return 'most' in goal ? ours <= goal.most : ours >= goal.least;
}

/** The word that was probably meant; null = none is near. */
export function nearestWord(word: string, words: readonly string[]): string | null {
  const ranked = words
    .map((each) => ({ each, distance: distance(word, each) }))
    .toSorted((a, b) => a.distance - b.distance);
  const [best] = ranked;
  // A third of it may be wrong: beyond that it is another word.
  return best !== undefined && best.distance <= Math.max(1, Math.floor(best.each.length / 3))
    ? best.each
    : null;
}

/** How many letters must be put in, taken out, replaced or swapped with their neighbour (optimal string alignment). */
function distance(from: string, to: string): number {
  const rows = [Array.from({ length: to.length + 1 }, (_, j) => j)];
  for (let i = 1; i <= from.length; i++) {
    const row = [i];
    for (let j = 1; j <= to.length; j++) {
      const above = rows[i - 1]!;
      const cost = from[i - 1] === to[j - 1] ? 0 : 1;
      let least = Math.min(above[j]! + 1, row[j - 1]! + 1, above[j - 1]! + cost);
      const swapped = i > 1 && j > 1 && from[i - 1] === to[j - 2] && from[i - 2] === to[j - 1];
      if (swapped) least = Math.min(least, rows[i - 2]![j - 2]! + 1);
      row.push(least);
    }
    rows.push(row);
  }
  return rows[from.length]![to.length]!;
}

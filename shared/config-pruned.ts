/** A config's values, of which what is wrong is taken away. */
export interface Pruned {
  values(): unknown;
  /**
   * Takes away what is at these paths, and where nothing is there, so that it is missing, what it is missing in; false = that
   * would be everything.
   */
  leaveOut(paths: readonly (readonly (string | number)[])[]): boolean;
  /** Paths of what is gone or has its stand-in, as in the beginning. */
  leftOut(): string[];
}

type Values = Record<string | number, unknown>;

/** @param standIns - what takes the place of fields at the top that must be there */
export function createPruned(written: unknown, standIns: Readonly<Record<string, unknown>>): Pruned {
  const whole = structuredClone(written);
  const gone = new Set<string>();
  /** Where the entries of a list stood in the beginning. */
  const places = new Map<unknown[], number[]>();
  const placesOf = (list: unknown[]): number[] => {
    const found = places.get(list) ?? [...list.keys()];
    places.set(list, found);
    return found;
  };

  /** The innermost thing on the way to `path` that is there: what holds it, and under which name or number. */
  function find(
    path: readonly (string | number)[],
  ): { holder: Values; part: string | number; shown: string } | null {
    const shown: (string | number)[] = [];
    let found: { holder: Values; part: string | number; shown: string } | null = null;
    let at: unknown = whole;
    for (const part of path) {
      if (typeof at !== 'object' || at === null || !(part in at)) return found;
      shown.push(Array.isArray(at) ? (placesOf(at)[Number(part)] ?? part) : part);
      found = { holder: at as Values, part, shown: showPath(shown) };
      at = (at as Values)[part];
    }
    return found;
  }

  return {
    values: () => whole,
    leaveOut(paths) {
      const found = paths.map((path) => ({ path, at: find(path) }));
      const lists = new Map<unknown[], Set<number>>();
      for (const { path, at } of found) {
        const [top] = path;
        if (at === null) {
          if (typeof top !== 'string' || !(top in standIns) || typeof whole !== 'object' || whole === null)
            return false;
          (whole as Values)[top] = standIns[top];
          gone.add(top);
          continue;
        }
        gone.add(at.shown);
        if (Array.isArray(at.holder)) {
          lists.set(at.holder, (lists.get(at.holder) ?? new Set()).add(Number(at.part)));
        } else delete at.holder[at.part];
      }
      // At last, so that the numbers in the paths stay right until then.
      for (const [list, numbers] of lists) {
        for (const i of [...numbers].sort((a, b) => b - a)) {
          list.splice(i, 1);
          placesOf(list).splice(i, 1);
        }
      }
      return true;
    },
    leftOut: () => [...gone].filter((path) => ![...gone].some((other) => isIn(path, other))).sort(),
  };
}

/** Whether one path leads into what the other names. */
const isIn = (path: string, other: string): boolean =>
  path.length > other.length && path.startsWith(other) && /^[.[]/.test(path.slice(other.length));

/** As people write a path: `doors[1].listen`. */
export function showPath(path: readonly (string | number)[]): string {
  return path
    .map((part, i) => (typeof part === 'number' ? `[${part}]` : i === 0 ? part : `.${part}`))
    .join('');
}

import { searchNeedle, withoutSeparators } from './device-search.ts';

/**
 * The ids of all devices as a few long texts, which are searched some hundred times faster than as many rows. It knows of
 * no state: whoever finds devices here looks them up.
 */
export interface DeviceIndex {
  add(device: string): void;
  /**
   * Devices of which `q` is a part, as {@link deviceMatcher} has it, each once, in no order; null = more than `most`.
   */
  find(q: string, most: number): string[] | null;
}

/** Lines of one text. What is added last is no text yet: it is joined for each search. */
const CHUNK = 4_096;

/** A line is the id without separators, then the id as it is: what is found in either is found in its line. */
const lineOf = (device: string): string => `${withoutSeparators(device)}\t${device}\n`;

export function createDeviceIndex(): DeviceIndex {
  const chunks: string[] = [];
  let tail: string[] = [];
  return {
    add(device) {
      tail.push(lineOf(device));
      if (tail.length < CHUNK) return;
      chunks.push(tail.join(''));
      tail = [];
    },
    find(q, most) {
      const { text: needle } = searchNeedle(q);
      const found = new Set<string>();
      // No id has them, and a line must not be left.
      if (/[\t\n]/.test(needle)) return [];
      for (const text of [...chunks, tail.join('')]) {
        for (let at = text.indexOf(needle); at !== -1;) {
          const end = text.indexOf('\n', at);
          // An empty needle is also behind the last line.
          if (end === -1) break;
          const begin = text.lastIndexOf('\n', at - 1) + 1;
          found.add(text.slice(text.indexOf('\t', begin) + 1, end));
          if (found.size > most) return null;
          at = text.indexOf(needle, end + 1);
        }
      }
      return [...found];
    },
  };
}

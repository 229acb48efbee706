/** A number from 0 to 1, below 1. */
export type Random = () => number;

export const pick = <T>(random: Random, list: readonly T[]): T => list[Math.floor(random() * list.length)]!;

/** Up to `most` small changes: pieces put in, bytes left out, changed or doubled. Texts are Latin-1. */
export function mutate(random: Random, text: string, pieces: readonly string[], most = 4): string {
  let changed = text;
  for (let changes = Math.floor(random() * (most + 1)); changes > 0; changes--) {
    const at = Math.floor(random() * (changed.length + 1));
    switch (Math.floor(random() * 4)) {
      case 0:
        changed = changed.slice(0, at) + pick(random, pieces) + changed.slice(at);
        break;
      case 1:
        changed = changed.slice(0, at) + changed.slice(at + 1 + Math.floor(random() * 4));
        break;
      case 2:
        changed =
          changed.slice(0, at) + String.fromCharCode(Math.floor(random() * 256)) + changed.slice(at + 1);
        break;
      default:
        changed = changed.slice(0, at) + changed.slice(Math.max(0, at - Math.floor(random() * 16)));
    }
  }
  return changed;
}

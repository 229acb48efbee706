import { itemBytes } from '../../shared/wpi/build.ts';
import type { NewItem } from '../../shared/wpi/build.ts';

/**
 * Items that must travel in one document (Developer's Guide p. 71): those of one index, such as all that makes up one
 * function key. An item without an index stands alone. Groups come in the order of their first items.
 */
export function groupItems<T extends { index?: string | number }>(items: readonly T[]): T[][] {
  const groups: T[][] = [];
  const byIndex = new Map<string, T[]>();
  for (const item of items) {
    const index = item.index === undefined ? undefined : String(item.index);
    const group = index === undefined ? undefined : byIndex.get(index);
    if (group !== undefined) {
      group.push(item);
      continue;
    }
    const fresh = [item];
    groups.push(fresh);
    if (index !== undefined) byIndex.set(index, fresh);
  }
  return groups;
}

/**
 * Splits items into documents of at most `maxItems` items and `bytes` bytes, groups kept together. Only a group that by
 * itself has more than `maxItems` is divided: the phone would take none of it otherwise.
 *
 * @param maxItems - null = any number
 * @param bytes - room for items in one document; a group that needs more gets a document of its own
 */
export function splitItems<T extends NewItem>(
  items: readonly T[],
  maxItems: number | null,
  bytes: number,
): T[][] {
  // A phone that takes none at all can still be asked with one, and says itself what it makes of it.
  const most = maxItems === null ? Infinity : Math.max(1, maxItems);
  const documents: T[][] = [];
  let current: T[] = [];
  let used = 0;
  for (const group of groupItems(items).flatMap((each) => divide(each, most))) {
    const size = group.reduce((sum, item) => sum + itemBytes(item), 0);
    if (current.length > 0 && (current.length + group.length > most || used + size > bytes)) {
      documents.push(current);
      current = [];
      used = 0;
    }
    current.push(...group);
    used += size;
  }
  if (current.length > 0) documents.push(current);
  return documents;
}

function divide<T>(group: T[], most: number): T[][] {
  if (group.length <= most) return [group];
  return Array.from({ length: Math.ceil(group.length / most) }, (_, i) =>
    group.slice(i * most, (i + 1) * most),
  );
}

import { registerHooks } from 'node:module';
import type { PlantedBug } from './bugs.ts';

const root = new URL('../../../', import.meta.url);

/**
 * Plants a bug in the product as this process will load it; the files stay as they are. To be called before anything of
 * the product is imported.
 *
 * @throws Error when a module is loaded in which the place is not found exactly once: the product has changed
 */
export function plant({ changes }: PlantedBug): void {
  const byUrl = new Map<string, PlantedBug['changes']>();
  for (const change of changes) {
    const url = new URL(change.file, root).href;
    byUrl.set(url, [...(byUrl.get(url) ?? []), change]);
  }
  registerHooks({
    load(url, context, next) {
      const loaded = next(url, context);
      const here = byUrl.get(url);
      if (here === undefined) return loaded;
      const { source: read } = loaded;
      let source = typeof read === 'string' ? read : new TextDecoder().decode(read ?? undefined);
      for (const { file, find, put } of here) {
        const parts = source.split(find);
        if (parts.length !== 2) {
          throw new Error(
            `the bug cannot be planted in ${file}: its place is there ${parts.length - 1} times`,
          );
        }
        source = parts.join(put);
      }
      return { ...loaded, source };
    },
  });
}

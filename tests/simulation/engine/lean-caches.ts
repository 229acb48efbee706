import { registerHooks } from 'node:module';

/**
 * lru-cache takes room for all that it may ever hold as soon as it is made. A run starts relays by the dozen, and would
 * spend half of its time on that. Told a greatest size instead of a greatest number, it grows as it is filled, and
 * behaves the same.
 */
const LEAN = `
import { LRUCache as Whole } from 'lru-cache?whole';
export class LRUCache extends Whole {
  constructor({ max, ...options }) {
    super({ ...options, maxSize: max, sizeCalculation: () => 1 });
  }
}
`;

/** To be called before anything of the product is imported. */
export function useLeanCaches(): void {
  registerHooks({
    resolve(specifier, context, next) {
      if (specifier === 'lru-cache?whole')
        return next('lru-cache', { ...context, parentURL: import.meta.url });
      if (specifier === 'lru-cache') return { url: 'simulation:lru-cache', shortCircuit: true };
      return next(specifier, context);
    },
    load(url, context, next) {
      if (url !== 'simulation:lru-cache') return next(url, context);
      return { format: 'module', source: LEAN, shortCircuit: true };
    },
  });
}

/**
 * Where the code of a worker thread lives. In a checkout Node runs `poll-worker.ts`; in the installed package
 * the compiler has made `poll-worker.js` of it, but it rewrites only imports, not the text inside `new URL()`.
 *
 * @param base the caller's `import.meta.url`; its own ending tells which of the two this is.
 * @param name the worker's module, relative and without an ending: `./poll-worker`.
 */
export function workerUrl(base: string, name: `./${string}` | `../${string}`): URL {
  return new URL(name + (base.endsWith('.ts') ? '.ts' : '.js'), base);
}

import { readdirSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';

/** What {@link findTestFiles} found: absolute file names, sorted, each once; and what was asked for in vain. */
export interface FoundFiles {
  files: string[];
  missing: string[];
}

/**
 * The `*.test.ts` files at or below `paths` (relative to `root`). A path that yields none is `missing` when
 * `strict`, and passed over otherwise: a suite may be empty, a file named by hand may not.
 */
export function findTestFiles(root: string, paths: readonly string[], strict: boolean): FoundFiles {
  const files = new Set<string>();
  const missing: string[] = [];
  for (const path of paths) {
    const found = testFilesAt(resolve(root, path));
    if (found.length === 0 && strict) missing.push(path);
    for (const file of found) files.add(file);
  }
  return { files: [...files].sort(), missing };
}

function testFilesAt(path: string): string[] {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat === undefined) return [];
  if (stat.isFile()) return [path];
  return readdirSync(path, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.test.ts') && !name.split('/').includes('node_modules'))
    .map((name) => join(path, name));
}

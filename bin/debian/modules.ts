import { readFileSync } from 'node:fs';
import { isBuiltin } from 'node:module';
import { join, posix } from 'node:path';
import ts from 'typescript';

/** What one program takes from its own code and from packages, found by following its imports. */
export interface Needed {
  /** Compiled files, relative to the compiled tree, sorted. */
  files: string[];
  /** Places in `node_modules`, relative to the checkout, sorted. */
  packages: string[];
}

/**
 * @param root - the checkout
 * @param dist - the compiled tree
 * @param entries - compiled files to start from; those that are not JavaScript need nothing but themselves
 * @throws Error when a package is imported that package-lock.json does not have
 */
export function findNeeded(root: string, dist: string, entries: readonly string[]): Needed {
  const files = new Set<string>();
  const imported = new Set<string>();
  const follow = (file: string): void => {
    if (files.has(file)) return;
    files.add(file);
    if (!file.endsWith('.js')) return;
    for (const { fileName } of ts.preProcessFile(readFileSync(join(dist, file), 'utf8'), true, true)
      .importedFiles) {
      if (fileName.startsWith('.')) follow(posix.join(posix.dirname(file), fileName));
      else if (!isBuiltin(fileName)) imported.add(packageOf(fileName));
    }
  };
  entries.forEach(follow);
  return { files: [...files].sort(), packages: closure(root, imported) };
}

const packageOf = (specifier: string): string =>
  specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/');

/** The packages and all that they need in turn, found as Node finds them: nested first, then further up. */
function closure(root: string, names: Iterable<string>): string[] {
  const { packages } = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')) as {
    packages: Record<string, { dependencies?: Record<string, string> }>;
  };
  const found = new Set<string>();
  const need = (name: string, by: string): void => {
    for (let folder = by; ; folder = folder.slice(0, Math.max(0, folder.lastIndexOf('/node_modules/')))) {
      const place = posix.join(folder, 'node_modules', name);
      const locked = packages[place];
      if (locked !== undefined) {
        if (found.has(place)) return;
        found.add(place);
        for (const each of Object.keys(locked.dependencies ?? {})) need(each, place);
        return;
      }
      if (folder === '')
        throw new Error(
          `${name}, needed by ${by || 'Sallyport'}, is not in package-lock.json: npm install it`,
        );
    }
  };
  for (const name of names) need(name, '');
  return [...found].sort();
}

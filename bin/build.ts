/**
 * Compiles what the package ships into dist/, in the same tree as the sources, because Node refuses to strip
 * types below node_modules; and the dashboard's pages. Files that the programs read at run time (pages, schemas) are
 * copied beside their module. Exit code 1 on a type error.
 *
 *   npm run build [-- DIR]    DIR: where to, instead of dist/
 */
import { spawnSync } from 'node:child_process';
import { cpSync, rmSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { readArguments } from './arguments.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const rooms = ['proxy', 'relay-client', 'shared', 'tests/phones'];
const dist = readArguments(() => {
  const [dir = 'dist', ...more] = parseArgs({ allowPositionals: true }).positionals;
  if (more.length > 0) throw new Error('it takes one directory');
  return resolve(root, dir);
}, 'npm run build [-- DIR]\n\nCompiles the programs into DIR, default dist.\n');

/** Of the dashboard's pages only what was built of them. */
const pages = join(root, 'relay-client/dashboard/');
const isPageSource = (source: string): boolean =>
  source.startsWith(pages) && !source.startsWith(join(pages, 'built'));
const isProgram = (source: string): boolean => /\.(ts|md)$/.test(source);

const run = (args: string[]): number =>
  spawnSync(process.execPath, args, { cwd: root, stdio: 'inherit' }).status ?? 1;

rmSync(dist, { recursive: true, force: true });
const tsc = join(root, 'node_modules/typescript/bin/tsc');
const status = run(['bin/dashboard.ts']) || run([tsc, '-p', 'tsconfig.build.json', '--outDir', dist]);
if (status === 0) {
  for (const room of rooms) {
    cpSync(join(root, room), join(dist, room), {
      recursive: true,
      filter: (source) => !isPageSource(source) && (statSync(source).isDirectory() || !isProgram(source)),
    });
  }
}
process.exitCode = status;

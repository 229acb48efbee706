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

const root = fileURLToPath(new URL('..', import.meta.url));
const rooms = ['proxy', 'relay-client', 'shared', 'tests/phones'];
const dist = resolve(root, process.argv[2] ?? 'dist');

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

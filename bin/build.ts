/**
 * Compiles what the package ships into dist/, in the same tree as the sources, because Node refuses to strip
 * types below node_modules. Files that the programs read at run time (pages, schemas) are copied beside their
 * module. Exit code 1 on a type error.
 */
import { spawnSync } from 'node:child_process';
import { cpSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const rooms = ['proxy', 'relay-client', 'shared', 'tests/phones'];
const dist = join(root, 'dist');

rmSync(dist, { recursive: true, force: true });
const tsc = join(root, 'node_modules/typescript/bin/tsc');
const { status } = spawnSync(process.execPath, [tsc, '-p', 'tsconfig.build.json'], {
  cwd: root,
  stdio: 'inherit',
});
if (status === 0) {
  for (const room of rooms) {
    cpSync(join(root, room), join(dist, room), {
      recursive: true,
      filter: (source) => statSync(source).isDirectory() || !/\.(ts|md)$/.test(source),
    });
  }
}
process.exitCode = status ?? 1;

import { createHash } from 'node:crypto';
import {
  chmodSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';

/** Writes a file and the folders that lead to it. */
export function put(root: string, place: string, content: string | Uint8Array, mode = 0o644): void {
  const file = join(root, place);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, content, { mode });
}

/** Everything below a folder, relative to it, sorted: what is in a folder comes after it. */
export function walk(root: string): string[] {
  return readdirSync(root, { recursive: true, encoding: 'utf8' }).sort();
}

/** The sums that `dpkg --verify` compares, of all files but the package's own description. */
export function md5sums(root: string): string {
  return walk(root)
    .filter((place) => !place.startsWith('DEBIAN') && lstatSync(join(root, place)).isFile())
    .map(
      (place) =>
        `${createHash('md5')
          .update(readFileSync(join(root, place)))
          .digest('hex')}  ${place}\n`,
    )
    .join('');
}

/** What the files take up in KiB, as Installed-Size counts it: each rounded up, a folder or link as one. */
export function sizeKiB(root: string): number {
  return walk(root)
    .filter((place) => !place.startsWith('DEBIAN'))
    .map((place) => lstatSync(join(root, place)))
    .reduce((sum, stat) => sum + (stat.isFile() ? Math.ceil(stat.size / 1024) : 1), 0);
}

/** Gives everything one time and the modes that packages have, so that nothing of the machine that builds is left. */
export function settle(root: string, seconds: number): void {
  for (const place of ['.', ...walk(root)]) {
    const file = join(root, place);
    const stat = lstatSync(file);
    if (!stat.isSymbolicLink()) chmodSync(file, (stat.mode & 0o100) === 0 ? 0o644 : 0o755);
    if (stat.isSymbolicLink()) lutimesSync(file, seconds, seconds);
    else utimesSync(file, seconds, seconds);
  }
}

/** An empty folder in the place of whatever was there. */
export function emptied(path: string): string {
  rmSync(path, { recursive: true, force: true });
  mkdirSync(path, { recursive: true });
  return path;
}

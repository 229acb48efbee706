/**
 * Makes the Debian packages: dist-deb/sallyport-proxy_….deb and dist-deb/sallyport-relay_….deb.
 *
 *   npm run deb [-- --arch x64|arm64] [--revision N] [--out DIR] [--compression xz|none]
 *
 * The same commit makes the same bytes, on any Debian: everything bears SOURCE_DATE_EPOCH, which is the last commit's
 * time unless it is set. DEBFULLNAME and DEBEMAIL name who answers for the packages.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { buildPackage } from './debian/build.ts';
import { PACKAGES } from './debian/programs.ts';
import { emptied } from './debian/tree.ts';
import { readArguments } from './arguments.ts';

const root = fileURLToPath(new URL('..', import.meta.url));

const HELP = `npm run deb -- [--arch x64|arm64] [--revision N] [--out DIR] [--compression xz|none]
`;

const { arch, revision, out, compression } = readArguments(() => {
  const { values } = parseArgs({
    options: {
      arch: { type: 'string', default: process.arch },
      revision: { type: 'string', default: '1' },
      out: { type: 'string', default: 'dist-deb' },
      compression: { type: 'string', default: 'xz' },
    },
  });
  const { arch, compression } = values;
  const revision = Number(values.revision);
  if (!Number.isInteger(revision) || revision < 1)
    throw new Error('--revision is not a whole number from 1 on');
  if (compression !== 'xz' && compression !== 'none') throw new Error('--compression is neither xz nor none');
  return { arch, revision, out: resolve(root, values.out), compression } as const;
}, HELP);

/** The folder of the pinned Node for a machine; for another machine than this one it is fetched, as it is locked. */
function pinnedNode(machine: string, scratch: string): string {
  const place = `node_modules/node-linux-${machine}`;
  if (existsSync(join(root, place, 'bin/node'))) return join(root, place);
  const { packages } = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')) as {
    packages: Record<string, { version: string; integrity: string }>;
  };
  const locked = packages[place];
  if (locked === undefined) throw new Error(`there is no pinned Node for ${machine} in package-lock.json`);
  const npm = ['pack', `node-linux-${machine}@${locked.version}`, '--silent', '--pack-destination', scratch];
  const file = join(scratch, execFileSync('npm', npm, { encoding: 'utf8' }).trim());
  const found = `sha512-${createHash('sha512').update(readFileSync(file)).digest('base64')}`;
  if (found !== locked.integrity) throw new Error(`${file} is not what package-lock.json locks: ${found}`);
  execFileSync('tar', ['-xzf', file, '-C', scratch]);
  return join(scratch, 'package');
}

/** What everything in the packages bears as its time. */
function sourceDate(): number {
  const given = process.env['SOURCE_DATE_EPOCH'];
  if (given !== undefined) return Number(given);
  const { status, stdout } = spawnSync('git', ['log', '-1', '--format=%ct'], { cwd: root, encoding: 'utf8' });
  if (status === 0) return Number(stdout.trim());
  throw new Error(
    'this is no git checkout; set SOURCE_DATE_EPOCH to the seconds since 1970 that the packages shall bear',
  );
}

const scratch = mkdtempSync(join(tmpdir(), 'sallyport-deb-'));
try {
  emptied(out);
  const dist = join(scratch, 'dist');
  const args = [join(root, 'bin/build.ts'), dist];
  if (spawnSync(process.execPath, args, { stdio: 'inherit' }).status !== 0)
    throw new Error('it does not compile');
  for (const packaged of PACKAGES) {
    const deb = buildPackage(packaged, {
      root,
      dist,
      node: pinnedNode(arch, scratch),
      out: scratch,
      machine: arch,
      revision,
      seconds: sourceDate(),
      maintainer: `${process.env['DEBFULLNAME'] ?? 'Sallyport contributors'} <${process.env['DEBEMAIL'] ?? 'root@localhost'}>`,
      compression,
    });
    execFileSync('mv', [deb, out]);
    process.stdout.write(`${join(out, deb.slice(scratch.length + 1))}\n`);
  }
} finally {
  rmSync(scratch, { recursive: true, force: true });
}

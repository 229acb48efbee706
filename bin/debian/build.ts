import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, symlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { findNeeded } from './modules.ts';
import { copyrightFile, debianChangelog, manualPage, partOf } from './pages.ts';
import type { Packaged } from './programs.ts';
import { emptied, md5sums, put, settle, sizeKiB, walk } from './tree.ts';

/** Debian's names of the machines that the pinned Node is there for. */
export const MACHINES: Record<string, string> = { x64: 'amd64', arm64: 'arm64' };

export interface BuildOptions {
  /** The checkout. */
  root: string;
  /** The compiled tree, as `npm run build` makes it. */
  dist: string;
  /** A folder with `bin/node` and `LICENSE`, for `machine`. */
  node: string;
  /** Where the package is put together and left. */
  out: string;
  /** As Node calls it: x64, arm64. */
  machine: string;
  /** Counts packages of one version; from 1. */
  revision: number;
  /** Seconds since 1970 that everything in the package bears. */
  seconds: number;
  /** `Name <address>`. */
  maintainer: string;
  compression: 'xz' | 'none';
}

/** What programs of one compilation print as help, since asking takes a third of a second. */
const helps = new Map<string, string>();

function helpOf(dist: string, file: string, main: string, words: string[]): string {
  const key = JSON.stringify([dist, main, words]);
  const known = helps.get(key);
  if (known !== undefined) return known;
  const text = execFileSync(process.execPath, ['--no-warnings', file, ...words], { encoding: 'utf8' });
  helps.set(key, text);
  return text;
}

/** What of a package of npm runs: no types, no maps, no tests, no commands of its own; licences are in one file. */
function filesOf(folder: string): string[] {
  const { bin = {} } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as {
    bin?: string | Record<string, string>;
  };
  const commands = (typeof bin === 'string' ? [bin] : Object.values(bin)).map((file) => join(file));
  return walk(folder).filter(
    (file) =>
      /\.(js|cjs|mjs|json|node|wasm)$/.test(file) &&
      !/(^|\/)(node_modules|test|tests|benchmarks?)\//.test(file) &&
      !commands.includes(file) &&
      statSync(join(folder, file)).isFile(),
  );
}

/**
 * Puts one Debian package together; the same input makes the same bytes.
 *
 * @returns the .deb's path
 * @throws Error when dpkg-deb is missing or refuses, or when something is in none of the places where it should be
 */
export function buildPackage(packaged: Packaged, options: BuildOptions): string {
  const { root, dist, node, out, machine, revision, seconds, maintainer, compression } = options;
  const { name, program } = packaged;
  const architecture = MACHINES[machine];
  if (architecture === undefined)
    throw new Error(`there is no pinned Node for ${machine}: only ${Object.keys(MACHINES).join(', ')}`);
  const {
    version,
    description: _,
    ...manifest
  } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
    version: string;
    description: string;
    name: string;
    type: string;
    license: string;
  };
  const debianVersion = `${version}-${revision}`;
  const stage = emptied(join(out, `${name}.stage`));
  const home = `usr/lib/${name}`;
  const shipped = (file: string): string => readFileSync(join(root, file), 'utf8');
  const filled = (file: string): string =>
    shipped(join('deploy/debian', file))
      .replaceAll('@PACKAGE@', name)
      .replaceAll('@PROGRAM@', program)
      .replaceAll('@NEXT@', packaged.next.join('\n'));

  // The program.
  const rooms = packaged.commands.map(({ room }) => room);
  const isCode = (file: string): boolean =>
    statSync(join(dist, file)).isFile() && !/\.(d\.ts|map)$/.test(file);
  const entries = rooms.flatMap((room) =>
    readdirSync(join(dist, room), { recursive: true, encoding: 'utf8' }).map((file) => join(room, file)),
  );
  const needed = findNeeded(root, dist, entries.filter(isCode));
  for (const file of needed.files) put(stage, join(home, 'dist', file), readFileSync(join(dist, file)));
  for (const place of needed.packages) {
    for (const file of filesOf(join(root, place)))
      put(stage, join(home, place, file), readFileSync(join(root, place, file)));
  }
  const { name: ownName, type, license } = manifest;
  put(
    stage,
    join(home, 'package.json'),
    `${JSON.stringify({ name: ownName, version, license, type, private: true }, null, 2)}\n`,
  );
  put(stage, join(home, 'node'), readFileSync(join(node, 'bin/node')), 0o755);
  put(stage, join(home, 'bin/launch.sh'), shipped('bin/launch.sh'), 0o755);
  mkdirSync(join(stage, 'usr/bin'), { recursive: true });
  for (const { name: command } of packaged.commands) {
    put(stage, join(home, 'bin', command), shipped(join('bin', command)), 0o755);
    symlinkSync(`../lib/${name}/bin/${command}`, join(stage, 'usr/bin', command));
  }

  // What systemd does with it.
  put(stage, `usr/lib/systemd/system/${name}.service`, shipped(`deploy/systemd/${name}.service`));
  put(stage, `usr/lib/sysusers.d/${name}.conf`, filled('sysusers.conf'));
  put(stage, `usr/lib/tmpfiles.d/${name}.conf`, filled('tmpfiles.conf'));

  // What people read.
  const doc = `usr/share/doc/${name}`;
  const date = new Date(seconds * 1000).toISOString().slice(0, 10);
  for (const command of packaged.commands) {
    const main = join('dist', command.room, 'main.js');
    // Where this machine has a config of its own in /etc, that is what its help names.
    const help = (...words: string[]): string =>
      helpOf(dist, join(stage, home, main), main, words).replaceAll(
        `/etc/${name}/${program}.yaml`,
        `${program}.yaml`,
      );
    const verbs = [...help('--help').matchAll(/^ {2}([a-z][a-z-]*)(?: {2}| \[| <|$)/gm)].map(
      ([, verb = '']) => verb,
    );
    const page = manualPage({
      program: command.name,
      section: command.section,
      version,
      date,
      help: help('--help'),
      commands: verbs.filter((verb) => verb !== 'help').map((verb) => [verb, help(verb, '--help')]),
      files: command.name === name ? packaged.files : [],
    });
    put(
      stage,
      `usr/share/man/man${command.section}/${command.name}.${command.section}.gz`,
      gzipSync(page, { level: 9 }),
    );
  }
  const parts = needed.packages.map((place) => partOf(join(root, place), `${home}/${place}/*`));
  const licence = readFileSync(join(node, 'LICENSE'), 'utf8');
  parts.push({ name: 'node', place: `${home}/node`, licence: 'Node.js', text: licence });
  put(stage, `${doc}/copyright`, copyrightFile(shipped('LICENSE'), parts));
  put(stage, `${doc}/changelog.gz`, gzipSync(shipped('CHANGELOG.md'), { level: 9 }));
  put(
    stage,
    `${doc}/changelog.Debian.gz`,
    gzipSync(debianChangelog(name, debianVersion, maintainer, seconds), { level: 9 }),
  );
  for (const example of packaged.examples)
    cpSync(
      join(root, 'deploy', example),
      join(stage, doc, 'examples', example.replace(/^(nftables|systemd)\//, '')),
      { recursive: true },
    );
  put(stage, `usr/share/lintian/overrides/${name}`, filled('lintian-overrides'));

  // What dpkg reads.
  for (const script of ['postinst', 'prerm', 'postrm']) put(stage, `DEBIAN/${script}`, filled(script), 0o755);
  put(stage, 'DEBIAN/md5sums', md5sums(stage));
  put(
    stage,
    'DEBIAN/control',
    [
      `Package: ${name}`,
      `Version: ${debianVersion}`,
      `Architecture: ${architecture}`,
      `Maintainer: ${maintainer}`,
      `Installed-Size: ${sizeKiB(stage)}`,
      // What the pinned Node is linked against, and what postinst calls.
      'Depends: libc6 (>= 2.28), libgcc-s1, libstdc++6 (>= 8), systemd | systemd-standalone-sysusers, systemd | systemd-standalone-tmpfiles',
      'Section: net',
      'Priority: optional',
      `Description: ${packaged.summary}`,
      ...packaged.description.map((line) => ` ${line}`),
      '',
    ].join('\n'),
  );
  settle(stage, seconds);

  const deb = join(out, `${name}_${debianVersion}_${architecture}.deb`);
  const args = ['--root-owner-group', `-Z${compression}`, '--build', stage, deb];
  const { status, stdout, stderr, error } = spawnSync('dpkg-deb', args, {
    encoding: 'utf8',
    env: { ...process.env, SOURCE_DATE_EPOCH: String(seconds) },
  });
  if (error !== undefined)
    throw new Error('dpkg-deb was not found; Debian packages are built on Debian or where dpkg is installed');
  if (status !== 0 || !existsSync(deb))
    throw new Error(`dpkg-deb failed for ${name} in ${dirname(deb)}: ${stdout}${stderr}`);
  return deb;
}

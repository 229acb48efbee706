import { execFileSync } from 'node:child_process';
import { appendFileSync, copyFileSync, lstatSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from '../fixtures/documents.ts';

/** Where this machine keeps whom it trusts; builds see it at the same place. */
export const CERTIFICATES = '/etc/ssl/certs';
/** What /bin and its like have become on a Debian of today: links into /usr. */
const MERGED = ['bin', 'sbin', 'lib', 'lib64'];
/** Nobody reads in a container. */
const READING = /^\/usr\/share\/(doc|info|lintian|locale|man|zoneinfo)(\/|$)/;
const NPM = 'npm@11';
const INSTALL_MS = 120_000;

/**
 * Fills a directory with what the image `node:24-bookworm-slim` has: Debian's essential packages, Node.js, npm and the user
 * `node`. Debian's part are this machine's own files, which takes seconds and no network; a mirror may be far or down.
 *
 * @throws Error when npm cannot be had
 */
export function makeBase(base: string): void {
  mkdirSync(join(base, 'usr'), { recursive: true });
  for (const each of MERGED) {
    if (!isLink(`/${each}`)) continue;
    mkdirSync(join(base, 'usr', each));
    symlinkSync(`usr/${each}`, join(base, each));
  }
  const list = filesOf(withWhatTheyNeed(['libstdc++6'])).join('\n');
  const packed = execFileSync('tar', ['-C', '/', '--no-recursion', '-T', '-', '-c'], {
    input: list,
    maxBuffer: 2 ** 30,
  });
  execFileSync('tar', ['-x', '-C', base], { input: packed });
  for (const each of [
    'dev',
    'mnt',
    'opt',
    'proc',
    'root',
    'run',
    'srv',
    'sys',
    'usr/local/bin',
    'usr/local/etc',
  ])
    mkdirSync(join(base, each), { recursive: true });
  for (const each of ['tmp', 'var/tmp']) execFileSync('install', ['-d', '-m', '1777', join(base, each)]);
  for (const each of ['passwd', 'group'])
    copyFileSync(`/usr/share/base-passwd/${each}.master`, join(base, 'etc', each));
  appendFileSync(join(base, 'etc/passwd'), 'node:x:1000:1000::/home/node:/bin/bash\n');
  appendFileSync(join(base, 'etc/group'), 'node:x:1000:\n');
  execFileSync('install', ['-d', '-o', '1000', '-g', '1000', join(base, 'home/node')]);
  execFileSync('chroot', [base, 'ldconfig']);
  const node = join(ROOT, `node_modules/node-linux-${process.arch}/bin/node`);
  copyFileSync(node, join(base, 'usr/local/bin/node'));
  const into = [
    '--global',
    '--prefix',
    join(base, 'usr/local'),
    '--prefer-offline',
    '--ignore-scripts',
    '--loglevel=error',
  ];
  execFileSync('npm', ['install', ...into, NPM], {
    timeout: INSTALL_MS,
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  // Whoever builds behind a proxy that opens TLS has its authority among this machine's; whoever has a registry of his own
  // builds from that one; and what this machine has fetched before is not fetched again.
  const registry = execFileSync('npm', ['config', 'get', 'registry'], { encoding: 'utf8' }).trim();
  writeFileSync(
    join(base, 'usr/local/etc/npmrc'),
    `registry=${registry}\ncafile=${CERTIFICATES}/ca-certificates.crt\nprefer-offline=true\n`,
  );
}

const isLink = (path: string): boolean =>
  lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() ?? false;

/** Debian's essential packages and `more`, with all that they depend on, as they are installed here. */
function withWhatTheyNeed(more: string[]): string[] {
  const fields = ['Package', 'Essential', 'Pre-Depends', 'Depends', 'Provides'];
  const format = `${fields.map((field) => `\${${field}}`).join('\t')}\n`;
  const needs = new Map<string, string[]>();
  const providers = new Map<string, string>();
  const wanted = [...more];
  for (const line of dpkgQuery('-W', '-f', format)) {
    const [name = '', essential, before = '', depends = '', provides = ''] = line.split('\t');
    needs.set(name, [...words(before), ...words(depends)]);
    for (const each of words(provides)) providers.set(nameOf(each), name);
    if (essential === 'yes') wanted.push(name);
  }
  const found = new Set<string>();
  for (let name = wanted.pop(); name !== undefined; name = wanted.pop()) {
    if (found.has(name)) continue;
    found.add(name);
    for (const alternatives of needs.get(name) ?? []) {
      const names = alternatives.split('|').map(nameOf);
      const one =
        names.find((each) => needs.has(each)) ?? names.map((each) => providers.get(each)).find(Boolean);
      if (one !== undefined) wanted.push(one);
    }
  }
  return [...found];
}

/** Every file and directory of the packages that is there, below / and without links in its way. */
function filesOf(packages: string[]): string[] {
  const files = new Set<string>();
  for (const line of dpkgQuery('-L', ...packages)) {
    if (!line.startsWith('/') || line === '/.' || READING.test(line)) continue;
    const [, top = '', rest] = /^\/([^/]+)(\/.*)?$/.exec(line) ?? [];
    const merged = MERGED.includes(top) && isLink(`/${top}`);
    if (merged && rest === undefined) continue;
    const path = merged ? `/usr${line}` : line;
    if (lstatSync(path, { throwIfNoEntry: false }) !== undefined) files.add(path.slice(1));
  }
  return [...files].sort();
}

const words = (list: string): string[] => list.split(',').filter((each) => each.trim() !== '');
/** `libc6:any (>= 2.36)` is libc6. */
const nameOf = (dependency: string): string => dependency.trim().replace(/[\s(:].*$/, '');
const dpkgQuery = (...args: string[]): string[] =>
  execFileSync('dpkg-query', args, { encoding: 'utf8', maxBuffer: 2 ** 26 }).split('\n');

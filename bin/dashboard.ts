/**
 * Builds the dashboard's pages, relay-client/dashboard/, into one file beside them, which the relay reads at its
 * start. It names what it was built from, so that a second call does nothing; and it comes into being by being
 * renamed, so that builds at the same time harm neither each other nor a relay that reads. Exit code 1 where it
 * could not be built.
 */
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';
import type { PackedPage, PackedPages } from '../relay-client/dashboard-server/pages.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const sources = join(root, 'relay-client/dashboard');
const built = join(sources, 'built');
const target = join(built, 'pages.json');

/** What goes into browsers beside our own code; their licences go along. */
const libraries = ['preact', 'uplot'];

const types: Record<string, string> = {
  html: 'text/html; charset=utf-8',
  js: 'text/javascript; charset=utf-8',
  css: 'text/css; charset=utf-8',
  svg: 'image/svg+xml',
  txt: 'text/plain; charset=utf-8',
};

function sourceStamp(): string {
  const hash = createHash('sha256');
  const files = readdirSync(sources, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && !entry.parentPath.startsWith(built))
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
  for (const file of [...files, join(root, 'package-lock.json'), fileURLToPath(import.meta.url)]) {
    hash.update(file.slice(root.length)).update('\0').update(readFileSync(file)).update('\0');
  }
  return hash.digest('hex');
}

function builtStamp(): string | null {
  try {
    return (JSON.parse(readFileSync(target, 'utf8')) as PackedPages).stamp;
  } catch {
    // Missing or half a file: either way it is to be built.
    return null;
  }
}

function pack(name: string, content: Buffer): PackedPage {
  const brotli = brotliCompressSync(content, {
    params: {
      [constants.BROTLI_PARAM_QUALITY]: 11,
      [constants.BROTLI_PARAM_SIZE_HINT]: content.length,
    },
  });
  return {
    type: types[name.slice(name.lastIndexOf('.') + 1)] ?? 'application/octet-stream',
    // What the bundler names by its content never changes under that name.
    immutable: /^assets\/.*-[\w-]{8}\.\w+$/.test(name),
    tag: createHash('sha256').update(content).digest('base64url').slice(0, 22),
    plain: content.toString('base64'),
    gzip: gzipSync(content, { level: 9 }).toString('base64'),
    br: brotli.toString('base64'),
  };
}

function licences(): Buffer {
  const texts = libraries.map((name) => {
    const { version } = JSON.parse(
      readFileSync(join(root, 'node_modules', name, 'package.json'), 'utf8'),
    ) as {
      version: string;
    };
    return `${name} ${version}\n\n${readFileSync(join(root, 'node_modules', name, 'LICENSE'), 'utf8').trim()}\n`;
  });
  return Buffer.from(texts.join('\n\n'));
}

async function bundle(): Promise<PackedPages['files']> {
  const { build } = await import('vite');
  const result = await build({
    configFile: false,
    root: sources,
    // Relative, so that a proxy in front may serve the relay below a path.
    base: './',
    logLevel: 'warn',
    publicDir: false,
    oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
    build: {
      write: false,
      target: 'es2022',
      modulePreload: false,
      // Everything is a file of its own: the policy of the page allows no data: URLs.
      assetsInlineLimit: 0,
      reportCompressedSize: false,
    },
  });
  if (!('output' in result)) throw new Error('vite built something else than one bundle');
  const files: PackedPages['files'] = {};
  for (const part of result.output) {
    const content = part.type === 'chunk' ? Buffer.from(part.code) : Buffer.from(part.source);
    files[part.fileName] = pack(part.fileName, content);
  }
  files['assets/licences.txt'] = pack('assets/licences.txt', licences());
  return files;
}

mkdirSync(built, { recursive: true });
// Launchers build anew what is older than a source; one that is written meanwhile must be newer than this.
const startedAt = new Date();
const stamp = sourceStamp();
if (builtStamp() !== stamp) {
  process.env['NODE_ENV'] = 'production';
  const pages: PackedPages = { stamp, files: await bundle() };
  const half = `${target}.${process.pid}`;
  try {
    writeFileSync(half, JSON.stringify(pages));
    renameSync(half, target);
  } finally {
    rmSync(half, { force: true });
  }
}
utimesSync(target, startedAt, startedAt);

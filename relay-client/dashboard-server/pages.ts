import { readFileSync } from 'node:fs';
import { describeError } from '../../shared/errors.ts';

/** The dashboard's files as they were built, all in memory, each also compressed. */

/** The file that bin/dashboard.ts writes. Bytes are base64. */
export interface PackedPages {
  /** Hash of what it was built from. */
  stamp: string;
  /** By name, such as `index.html` or `assets/index-D4f3.js`. */
  files: Record<string, PackedPage>;
}

export interface PackedPage {
  /** Its Content-Type. */
  type: string;
  /** Its name changes with its content. */
  immutable: boolean;
  /** Changes with its content. */
  tag: string;
  plain: string;
  gzip: string;
  br: string;
}

export type Encoding = 'br' | 'gzip' | 'identity';

export interface Page {
  readonly type: string;
  readonly immutable: boolean;
  readonly tag: string;
  readonly bytes: Readonly<Record<Encoding, Buffer>>;
}

export interface Pages {
  /** Null = there is no such file. */
  find(name: string): Page | null;
  /** Why there are no pages, for an operator; null where there are. */
  readonly missing: string | null;
}

/** Where the pages are, in a checkout and in a package. */
const BUILT = new URL('../dashboard/built/pages.json', import.meta.url);

/** Reads the pages. Without them the relay does all its work, and says at `/` what is missing. */
export function readPages(place: URL = BUILT): Pages {
  let packed: PackedPages;
  try {
    packed = JSON.parse(readFileSync(place, 'utf8')) as PackedPages;
  } catch (error) {
    return { find: () => null, missing: describeError(error) };
  }
  const files = new Map(Object.entries(packed.files).map(([name, page]) => [name, unpack(page)]));
  return { find: (name) => files.get(name) ?? null, missing: null };
}

function unpack({ type, immutable, tag, plain, gzip, br }: PackedPage): Page {
  const bytes = (text: string): Buffer => Buffer.from(text, 'base64');
  return { type, immutable, tag, bytes: { identity: bytes(plain), gzip: bytes(gzip), br: bytes(br) } };
}

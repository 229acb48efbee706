import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { LineCounter, parseDocument } from 'yaml';
import type { Document } from 'yaml';
import { ConfigError } from './config-error.ts';
import type { ConfigFault } from './config-error.ts';
import { describeError, SallyportError } from './errors.ts';

/** Config files as they are written: YAML, of which nothing is known yet. */

/** Largest config file that is read, in bytes. */
const CONFIG_BYTES = 1_048_576;

/** A YAML file. */
export interface YamlFile {
  document: Document;
  lines: LineCounter;
  values: unknown;
}

/**
 * Reads a YAML file.
 *
 * @throws ConfigError where it is none; SallyportError CONFIG_INVALID where it cannot be read or is too large
 */
export function readYamlFile(file: string): YamlFile {
  const text = readText(file);
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, uniqueKeys: true });
  if (document.errors.length > 0) {
    throw new ConfigError(
      file,
      document.errors.map((error) => ({
        path: '',
        line: error.linePos?.[0].line ?? null,
        ...notYaml(error),
      })),
    );
  }
  return { document, lines, values: resolved(file, document) ?? {} };
}

/** The values of a document. Aliases are looked up only here: to nothing, or to more than a config could need. */
function resolved(file: string, document: Document): unknown {
  try {
    return document.toJS();
  } catch (error) {
    throw new ConfigError(file, [{ path: '', line: null, ...notYaml(error) }]);
  }
}

function notYaml(error: unknown): Pick<ConfigFault, 'value' | 'expected'> {
  return {
    value: 'not readable as YAML',
    expected: `YAML (${describeError(error).split('\n')[0]?.replace(/:$/, '')})`,
  };
}

/** Resolves the paths of a config file against the file's own folder. */
export function besideFile(file: string): (path: string) => string {
  const folder = dirname(resolve(file));
  return (path) => resolve(folder, path);
}

/** A config as written, of which nothing is known: what is not as wanted reads as if it were not there. */
export interface Written {
  text(field: string): string | undefined;
  texts(field: string): string[];
  list(field: string): Written[];
  map(field: string): Written;
  has(field: string): boolean;
  /** Whether the field is `true`. */
  flag(field: string): boolean;
}

export function asWritten(value: unknown): Written {
  const map = typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
  const array = (field: string): unknown[] => (Array.isArray(map[field]) ? (map[field] as unknown[]) : []);
  return {
    text: (field) => (typeof map[field] === 'string' ? map[field] : undefined),
    texts: (field) => array(field).map((item) => (typeof item === 'string' ? item : '')),
    list: (field) => array(field).map(asWritten),
    map: (field) => asWritten(map[field]),
    has: (field) => map[field] !== undefined && map[field] !== null,
    flag: (field) => map[field] === true,
  };
}

/** What to do where it is not there, or not ours to read. */
const HINTS: Readonly<Record<string, string>> = {
  ENOENT:
    'there is no such file; go to its directory, or name it with --config FILE (sallyport-proxy init and sallyport-relay join make one)',
  EACCES: 'this user may not read it; use the user that the program runs as, or sudo',
  EISDIR: 'it is a directory; name the file in it',
};

function readText(file: string): string {
  try {
    const bytes = readFileSync(file);
    if (bytes.length <= CONFIG_BYTES) return bytes.toString('utf8');
  } catch (cause) {
    throw new SallyportError(
      'CONFIG_INVALID',
      `cannot read the config file ${file}: ${HINTS[(cause as NodeJS.ErrnoException).code ?? ''] ?? describeError(cause)}`,
      { cause },
    );
  }
  throw new SallyportError(
    'CONFIG_INVALID',
    `${file} is larger than ${CONFIG_BYTES} bytes; is it a config file?`,
  );
}

import { accessSync, constants, statSync } from 'node:fs';
import type { Document, LineCounter } from 'yaml';
import { z } from 'zod';
import { parseAddress, parseAllowList } from './address.ts';
import type { Address } from './address.ts';
import { ConfigError } from './config-error.ts';
import type { ConfigFault } from './config-error.ts';
import { createPruned, showPath } from './config-pruned.ts';
import { asWritten, readYamlFile } from './config-text.ts';
import type { Written } from './config-text.ts';
import { describeError } from './errors.ts';
import { parsePin, PIN_OF_NOTHING } from './key-pair.ts';
import type { Pin } from './key-pair.ts';
import { NAME_PATTERN } from './mux-opening.ts';

/** Characters of a wrong value that a report shows. */
const VALUE_SHOWN = 60;
/** Fields whose values are never shown. */
const SECRET_FIELD = /^(via|postgres|token|secret|password)$/;

type Path = (string | number)[];
/** Looks at a file as written, whatever is wrong with it, and adds the faults between its fields. */
type Also = (written: Written, fault: (path: Path, expected: string) => void) => void;

/**
 * Reads a YAML config file by a schema, and lets `also` look for faults between fields. All faults come in one report.
 *
 * @throws ConfigError with every fault; SallyportError CONFIG_INVALID where it cannot be read
 */
export function readConfigFile<T>(file: string, schema: z.ZodType<T>, also: Also): T {
  const { value, faults } = readConfigParts(file, schema, also, null);
  if (faults.length > 0 || value === null) throw new ConfigError(file, faults);
  return value;
}

/** What a config file says, as far as it is right. */
export interface ConfigParts<T> {
  /** Without what is wrong; null = too much is. */
  value: T | null;
  faults: ConfigFault[];
  /** Paths of what had to be left out, or was replaced by its stand-in. */
  leftOut: string[];
}

/** Takings away after which nothing would come of it any more. */
const ROUNDS = 100;

/**
 * Reads a config file and leaves out what is wrong: the field, or what cannot be without it. For those who look at what is
 * left, never for a program that runs by it.
 *
 * @param standIns - values of fields that the whole cannot be without, valid ones; null = nothing is left out, nothing read
 *   where there is a fault
 * @throws ConfigError where it is no YAML; SallyportError CONFIG_INVALID
 */
export function readConfigParts<T>(
  file: string,
  schema: z.ZodType<T>,
  also: Also,
  standIns: Readonly<Record<string, unknown>> | null,
): ConfigParts<T> {
  const { document, lines, values } = readYamlFile(file);
  const first = judge(values, schema, also);
  const faults = first.wrong.map(({ path, expected }): ConfigFault => ({
    path: showPath(path),
    line: lineOf(document, lines, path),
    value: showValue(document, path),
    expected,
  }));
  if (first.wrong.length === 0 || standIns === null) return { value: first.value, faults, leftOut: [] };
  const pruned = createPruned(values, standIns);
  for (let round = 0; round < ROUNDS; round++) {
    const { value, wrong } = judge(pruned.values(), schema, also);
    if (wrong.length === 0) return { value, faults, leftOut: pruned.leftOut() };
    if (!pruned.leaveOut(wrong.map(({ path }) => path))) break;
  }
  return { value: null, faults, leftOut: pruned.leftOut() };
}

interface Judged<T> {
  /** Null where anything is wrong. */
  value: T | null;
  wrong: { path: Path; expected: string }[];
}

function judge<T>(values: unknown, schema: z.ZodType<T>, also: Also): Judged<T> {
  const read = schema.safeParse(values);
  const found: Judged<T>['wrong'] = [];
  also(asWritten(values), (path, expected) => void found.push({ path, expected }));
  const issues = read.success ? [] : read.error.issues.flatMap(describeIssue);
  const same = (one: Path, other: Path): boolean => showPath(one) === showPath(other);
  // Of one and the same field, what `also` has found says more.
  const wrong = [...issues.filter(({ path }) => found.every((other) => !same(other.path, path))), ...found];
  return { value: wrong.length === 0 && read.success ? read.data : null, wrong };
}

function describeIssue(issue: z.core.$ZodIssue): Judged<never>['wrong'] {
  const path = issue.path.map((part) => (typeof part === 'symbol' ? String(part) : part));
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => ({ path: [...path, key], expected: 'no such field (is it misspelt?)' }));
  }
  return [{ path, expected: issue.message.replace(/^Invalid input: expected /, '') }];
}

function showValue(document: Document, path: (string | number)[]): string {
  const value: unknown = path.length === 0 ? document.toJS() : document.getIn(path, false);
  if (value === undefined || (value === null && !document.hasIn(path))) return '(missing)';
  const last = path.findLast((part) => typeof part === 'string');
  if (last !== undefined && SECRET_FIELD.test(last)) return '(hidden)';
  // Where a map stands in the wrong place, its secrets stand in it.
  const text =
    JSON.stringify(value, (key, part: unknown) => (SECRET_FIELD.test(key) ? '(hidden)' : part)) ?? 'nothing';
  // A user and a password may stand before an address, with a scheme or, by mistake, without one; and tokens in a query.
  const safe = text
    .replace(/(\/\/|"(?![^"]*\/\/))[^"]*@/g, '$1(hidden)@')
    .replace(/(:\/\/[^"?]*\?)[^"]+/g, '$1(hidden)');
  return safe.length > VALUE_SHOWN ? `${safe.slice(0, VALUE_SHOWN)}…` : safe;
}

function lineOf(document: Document, lines: LineCounter, path: (string | number)[]): number | null {
  for (let length = path.length; length > 0; length--) {
    const node: unknown = document.getIn(path.slice(0, length), true);
    if (typeof node === 'object' && node !== null && 'range' in node && Array.isArray(node.range)) {
      return lines.linePos(node.range[0] as number).line;
    }
  }
  return null;
}

type UrlPart = 'user' | 'path' | 'query';
const URL_PARTS: Record<UrlPart, string> = {
  user: 'user or password',
  path: 'a path',
  query: 'a query or #',
};

function partsOf(url: URL): UrlPart[] {
  const parts: UrlPart[] = [];
  if (url.username !== '' || url.password !== '') parts.push('user');
  if (url.pathname !== '/') parts.push('path');
  if (url.search !== '' || url.hash !== '') parts.push('query');
  return parts;
}

/** Schemas of the values that both programs' configs share. Their messages complete "…; expected". */
export const fields = {
  address: z.string('an address such as 0.0.0.0:8080').transform((text, context): Address => {
    try {
      return parseAddress(text);
    } catch {
      context.addIssue({ code: 'custom', message: 'an address such as 0.0.0.0:8080 or "[::]:8080"' });
      return z.NEVER;
    }
  }),
  allow: z.array(z.string('a network such as 10.0.0.0/8')).superRefine((networks, context) => {
    networks.forEach((network, i) => {
      try {
        parseAllowList([network]);
      } catch {
        context.addIssue({
          code: 'custom',
          path: [i],
          message: 'a network such as 10.0.0.0/8 or 2001:db8::/32',
        });
      }
    });
  }),
  name: z
    .string('a name')
    .regex(
      NAME_PATTERN,
      'a name of 1 to 64 letters, digits, dots, dashes or underscores, beginning with a letter or digit',
    ),
  path: z.string('a path').min(1, 'a path'),
  /** A file that can be read; the value becomes its absolute path. */
  file: (beside: (path: string) => string) =>
    z.string('a path').transform((path, context): string => {
      try {
        if (!statSync(beside(path)).isFile()) throw new Error('it is a directory or the like');
        accessSync(beside(path), constants.R_OK);
        return beside(path);
      } catch (error) {
        context.addIssue({ code: 'custom', message: `a file that can be read (${describeError(error)})` });
        return z.NEVER;
      }
    }),
  flag: z.boolean('true or false'),
  pin: z.string('a pin').transform((text, context): Pin => {
    const pin = parsePin(text);
    if (pin !== null && pin !== PIN_OF_NOTHING) return pin;
    const message =
      pin === null
        ? 'sha256: and 43 or 44 characters of base64'
        : 'the pin of a key; this is that of no input: the command that made it was not shown a certificate';
    context.addIssue({ code: 'custom', message });
    return z.NEVER;
  }),
  whole: (least: number, most: number) =>
    z
      .number(`a whole number from ${least} to ${most}`)
      .int(`a whole number from ${least} to ${most}`)
      .min(least, `at least ${least}`)
      .max(most, `at most ${most}`),
  oneOf: <const T extends readonly [string, ...string[]]>(...words: T) =>
    z.enum(words, `one of ${words.join(', ')}`),
  /** A URL of one of these protocols; beyond host and port it has the parts in `may` only. */
  url: (protocols: readonly string[], ...may: UrlPart[]) =>
    z.string('a URL').transform((text, context): URL => {
      const url = URL.parse(text);
      const starts = protocols.map((protocol) => `${protocol}//`).join(' or ');
      if (url === null || !protocols.includes(url.protocol) || url.hostname === '') {
        context.addIssue({ code: 'custom', message: `a URL that begins with ${starts}` });
        return z.NEVER;
      }
      const odd = partsOf(url).filter((part) => !may.includes(part));
      if (odd.length === 0) return url;
      context.addIssue({
        code: 'custom',
        message: `a URL without ${odd.map((part) => URL_PARTS[part]).join(', ')}`,
      });
      return z.NEVER;
    }),
  /** An address to connect to. */
  target: z.string('an address such as dls.internal:18444').transform((text, context): Address => {
    try {
      const address = parseAddress(text);
      if (address.port !== 0) return address;
    } catch {
      // Told below.
    }
    context.addIssue({ code: 'custom', message: 'a host and a port such as dls.internal:18444' });
    return z.NEVER;
  }),
};

/** Reads a scenario file; all that is wrong with it comes in one report. */
import { readFileSync } from 'node:fs';
import { LineCounter, parseDocument, type Document } from 'yaml';
import type { z } from 'zod';
import { macAfter } from '../fleet.ts';
import { scenarioSchema, verbs, type Scenario, type Step, type Verb } from './schema.ts';

/** A file that cannot be used. Its message names every fault, a line for each. */
export class ScenarioError extends Error {}

/** What the command line puts in the place of what the file says. */
export type Overrides = Partial<Pick<Scenario, 'poll' | 'service' | 'api' | 'api_token_file'>>;

type Path = (string | number)[];
type Fault = (path: Path, expected: string) => void;

/** Largest file that is read, in bytes. */
const MAX_BYTES = 1_048_576;
const VALUE_SHOWN = 60;

/** @throws ScenarioError */
export function loadScenario(file: string, overrides: Overrides = {}): Scenario {
  const text = readText(file);
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, uniqueKeys: true });
  const [error] = document.errors;
  if (error !== undefined) {
    const line = error.linePos?.[0].line ?? 1;
    throw new ScenarioError(`${file}:${line}: not readable as YAML: ${firstLine(error)}`);
  }
  const faults: { line: number; text: string }[] = [];
  const fault: Fault = (path, expected) => {
    const at = path.length === 0 ? 'the file' : shownPath(path);
    const line = lineOf(document, lines, path);
    const value = shownValue(document, path);
    faults.push({ line, text: `${file}:${line}: ${at} is ${value}; expected ${expected}` });
  };
  const given = written(file, document);
  const read = scenarioSchema.safeParse({ ...given, ...overrides });
  if (!read.success) report(read.error, [], fault);
  const listed: unknown = given['steps'];
  const steps = (Array.isArray(listed) ? (listed as unknown[]) : []).flatMap((step, i) =>
    readStep(step, i, lineOf(document, lines, ['steps', i]), fault),
  );
  checkTogether({ ...given, ...overrides }, steps, fault);
  if (read.success && faults.length === 0) return { ...read.data, steps };
  const count = faults.length === 1 ? '1 fault' : `${faults.length} faults`;
  const listing = faults.sort((a, b) => a.line - b.line).map(({ text: each }) => `  ${each}`);
  throw new ScenarioError([`${file} has ${count}:`, ...listing].join('\n'));
}

function readText(file: string): string {
  try {
    const bytes = readFileSync(file);
    if (bytes.length <= MAX_BYTES) return bytes.toString('utf8');
  } catch (error) {
    throw new ScenarioError(`cannot read the scenario ${file}: ${firstLine(error)}`, { cause: error });
  }
  throw new ScenarioError(`${file} is larger than ${MAX_BYTES} bytes; is it a scenario?`);
}

/** The file's values; aliases may lead to nothing, or to more than a scenario could need. */
function written(file: string, document: Document): Record<string, unknown> {
  let value: unknown;
  try {
    value = document.toJS();
  } catch (error) {
    throw new ScenarioError(`${file}: not readable as YAML: ${firstLine(error)}`, { cause: error });
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value))
    return value as Record<string, unknown>;
  throw new ScenarioError(`${file}: expected a map with groups and steps`);
}

function readStep(step: unknown, index: number, line: number, fault: Fault): Step[] {
  const path: Path = ['steps', index];
  const known = Object.keys(verbs).join(', ');
  const entries =
    typeof step === 'object' && step !== null && !Array.isArray(step) ? Object.entries(step) : [];
  const [entry, ...others] = entries;
  if (entry === undefined || others.length > 0) {
    fault(path, `one thing to do: ${known}`);
    return [];
  }
  const [verb, value] = entry as [Verb, unknown];
  if (!Object.hasOwn(verbs, verb)) {
    fault([...path, verb], `no such verb; there are ${known}`);
    return [];
  }
  const read = verbs[verb].safeParse(value);
  if (read.success) return [{ verb, index, line, with: read.data } as Step];
  report(read.error, [...path, verb], fault);
  return [];
}

function report(error: z.ZodError, before: Path, fault: Fault): void {
  for (const issue of error.issues) {
    const path = [...before, ...issue.path.map((part) => (typeof part === 'symbol' ? String(part) : part))];
    if (issue.code !== 'unrecognized_keys')
      fault(path, issue.message.replace(/^Invalid input: expected /, ''));
    else for (const key of issue.keys) fault([...path, key], 'no such field (is it misspelt?)');
  }
}

/** What no field shows by itself. */
function checkTogether(given: Record<string, unknown>, steps: Step[], fault: Fault): void {
  const { groups } = given;
  const names = typeof groups === 'object' && groups !== null ? Object.keys(groups) : [];
  if (names.length === 0 && groups !== undefined) fault(['groups'], 'at least one group');
  for (const name of names)
    if (name === 'all') fault(['groups', name], 'another name: all means every group');
  overlaps(groups, names, fault);
  for (const step of steps) {
    const path: Path = ['steps', step.index, step.verb];
    for (const name of groupsOf(step)) {
      if (name !== 'all' && !names.includes(name))
        fault(path, `groups that there are: ${names.join(', ') || 'none'}`);
    }
    const needed = NEEDS[step.verb];
    if (needed !== undefined && given[needed] === undefined) {
      fault(path, `${needed} as well, at the top of the file or by --${needed}`);
    }
    const { verb, with: what } = step;
    if (
      verb === 'expect' &&
      ['polls', 'sessions', 'last_poll', 'poll_url', 'items'].every((key) => !(key in what))
    ) {
      fault(path, 'polls, sessions, last_poll, poll_url or items, or there is nothing to expect');
    }
  }
}

/** What a step cannot do without. */
const NEEDS: Partial<Record<Verb, 'poll' | 'service' | 'api'>> = {
  start: 'service',
  restart: 'service',
  change: 'service',
  push: 'api',
  clear: 'api',
};

/** Names that a step gives; `all` stands for itself. */
export function groupsOf({ verb, with: what }: Step): string[] {
  if (verb === 'pause' || verb === 'request') return [];
  return [typeof what === 'object' && 'of' in what ? what.of : what].flat();
}

/** Two groups that would be the same phones. */
function overlaps(groups: unknown, names: string[], fault: Fault): void {
  const taken: { name: string; from: bigint; to: bigint }[] = [];
  for (const name of names) {
    const { first, count = 1 } = (groups as Record<string, { first?: unknown; count?: unknown }>)[name] ?? {};
    if (typeof first !== 'string' || typeof count !== 'number' || !Number.isInteger(count)) continue;
    let from: bigint;
    try {
      macAfter(first, 0);
      from = BigInt(`0x${first.replace(/[:.-]/g, '')}`);
    } catch {
      continue; // The field's own fault says so.
    }
    const to = from + BigInt(count);
    const other = taken.find((each) => from < each.to && each.from < to);
    if (other !== undefined)
      fault(['groups', name, 'first'], `phones that group ${other.name} does not have`);
    taken.push({ name, from, to });
  }
}

function shownPath(path: Path): string {
  return path
    .map((part, i) => (typeof part === 'number' ? `[${part}]` : i === 0 ? part : `.${part}`))
    .join('');
}

function shownValue(document: Document, path: Path): string {
  if (path.length > 0 && !document.hasIn(path)) return '(missing)';
  const text = JSON.stringify(path.length === 0 ? document.toJS() : document.getIn(path, false)) ?? 'nothing';
  return text.length > VALUE_SHOWN ? `${text.slice(0, VALUE_SHOWN)}…` : text;
}

function lineOf(document: Document, lines: LineCounter, path: Path): number {
  for (let length = path.length; length > 0; length -= 1) {
    const node: unknown = document.getIn(path.slice(0, length), true);
    if (typeof node === 'object' && node !== null && 'range' in node && Array.isArray(node.range)) {
      return lines.linePos(node.range[0] as number).line;
    }
  }
  return 1;
}

function firstLine(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  return (message.split('\n')[0] ?? '').replace(/:$/, '');
}

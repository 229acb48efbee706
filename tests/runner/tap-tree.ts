import { Parser, type FinalResults, type Result } from 'tap-parser';

/** A test that passed, failed or was skipped, as the report counts it. */
export interface Outcome {
  /** The names from the file's outermost test inwards, joined by ` > `. */
  name: string;
  kind: 'passed' | 'failed' | 'skipped';
  /** For a skip its reason; for a failure what was found, readable, several lines. */
  detail: string;
}

interface Node {
  points: { result: Result; child: Node | undefined }[];
  bailout: string | undefined;
}

/** Collects TAP text; `end()` yields the tests in it. */
export interface TapReader {
  write(chunk: string): void;
  end(): Outcome[];
}

/**
 * Reads one file's TAP and counts tests, not assertions: a test is a `t.test` block that holds no further
 * blocks. A block around others counts only where an assertion of its own failed. A file without blocks is
 * one test, named by an empty string.
 */
export function createTapReader(): TapReader {
  const parser = new Parser();
  const tree = watch(parser);
  let problem = '';
  parser.on('complete', (final: FinalResults) => {
    if (!final.ok) problem = final.failures.map((f) => JSON.stringify(f)).join('\n');
  });
  return {
    write: (chunk) => void parser.write(chunk),
    end() {
      parser.end();
      const outcomes = outcomesOf(tree, '');
      if (problem !== '' && !outcomes.some((o) => o.kind === 'failed')) {
        outcomes.push({ name: '', kind: 'failed', detail: problem });
      }
      return outcomes;
    },
  };
}

function watch(parser: Parser): Node {
  const node: Node = { points: [], bailout: undefined };
  let child: Node | undefined;
  parser.on('child', (inner: Parser) => {
    child = watch(inner);
  });
  parser.on('assert', (result: Result) => {
    node.points.push({ result, child });
    child = undefined;
  });
  parser.on('bailout', (reason: string) => {
    node.bailout = reason;
  });
  return node;
}

function outcomesOf(node: Node, name: string): Outcome[] {
  const outcomes: Outcome[] = [];
  const own = node.points.filter(({ child }) => child === undefined).map(({ result }) => result);
  for (const { result, child } of node.points) {
    if (child === undefined) continue;
    const inner = name === '' ? result.name : `${name} > ${result.name}`;
    const skip = skipReason(result);
    if (skip !== undefined) outcomes.push({ name: inner, kind: 'skipped', detail: skip });
    else outcomes.push(...blockOutcomes(child, result, inner));
  }
  outcomes.push(...ownOutcomes(own, name, outcomes.length > 0));
  if (node.bailout !== undefined)
    outcomes.push({ name, kind: 'failed', detail: `bailed out: ${node.bailout}` });
  return outcomes;
}

/** A block's own result can be worse than its content's: a wrong plan, a timeout, a throw after the last test. */
function blockOutcomes(block: Node, result: Result, name: string): Outcome[] {
  const outcomes = outcomesOf(block, name);
  if (!result.ok && !outcomes.some((o) => o.kind === 'failed')) {
    return [...outcomes.filter((o) => o.name !== name), { name, kind: 'failed', detail: describe(result) }];
  }
  return outcomes;
}

function ownOutcomes(own: Result[], name: string, hasBlocks: boolean): Outcome[] {
  const outcomes: Outcome[] = [];
  const checked: Result[] = [];
  for (const result of own) {
    const skip = skipReason(result);
    if (skip === undefined) checked.push(result);
    else
      outcomes.push({
        name: name === '' ? result.name : `${name} > ${result.name}`,
        kind: 'skipped',
        detail: skip,
      });
  }
  const failed = checked.filter((result) => !result.ok);
  if (failed.length > 0) outcomes.push({ name, kind: 'failed', detail: failed.map(describe).join('\n') });
  else if (!hasBlocks && checked.length > 0) outcomes.push({ name, kind: 'passed', detail: '' });
  return outcomes;
}

function skipReason(result: Result): string | undefined {
  const mark = result.skip || result.todo;
  if (!mark) return undefined;
  const kind = result.skip ? '' : 'todo: ';
  return kind + (mark === true ? 'no reason given' : mark);
}

/** The diagnostics worth reading, most telling first; the rest is noise about tap itself. */
function describe(result: Result): string {
  const lines = [`✗ ${result.name}`];
  const diag = (result.diag ?? {}) as Record<string, unknown>;
  const at = diag['at'];
  if (typeof at === 'object' && at !== null && 'fileName' in at && 'lineNumber' in at) {
    lines.push(`  at ${String(at.fileName)}:${String(at.lineNumber)}`);
  }
  const told = new Set([
    'at',
    'test',
    'tapCaller',
    'tapError',
    'externalID',
    'stdio',
    'cwd',
    'command',
    'args',
  ]);
  for (const [key, value] of Object.entries(diag)) {
    if (told.has(key)) continue;
    const text = typeof value === 'string' ? value.trimEnd() : JSON.stringify(value);
    if (text.includes('\n')) lines.push(`  ${key}:`, indent(text, '    '));
    else lines.push(`  ${key}: ${text}`);
  }
  return lines.join('\n');
}

/** Puts `by` before each line of `text`. */
export function indent(text: string, by: string): string {
  return text.replace(/^(?=.)/gm, by);
}

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import t from 'tap';
import { readDocument, ROOT, tableUnder } from '../../fixtures/documents.ts';
import { WATCHED_PROMISES } from '../../../relay-client/metrics.ts';

const page = readDocument('docs/promises.md');

interface PromiseOnPage {
  number: string;
  statement: string;
  tests: { file: string; name: string }[];
  figures: string[];
  engines: string | undefined;
  text: string;
}

const promises: PromiseOnPage[] = page
  .split(/^## /m)
  .slice(1)
  .map((text) => {
    const [number = ''] = text.split('\n');
    return {
      number,
      statement: /\*\*(.+?)\*\*/s.exec(text)?.[1] ?? '',
      tests: [...text.matchAll(/^- Test: `([^`]+)`: (.+)$/gm)].map(([, file = '', name = '']) => ({
        file,
        name,
      })),
      figures: [...text.matchAll(/^- Figure: `([^`]+)`$/gm)].map(([, name = '']) => name),
      engines: /^- Engines: (.+)$/m.exec(text)?.[1],
      text,
    };
  });

const word = (text: string): string => text.replaceAll(/\s+/g, ' ');

/** What a test file says, with what it takes its tests from: a suite that several files run. */
function sourcesOf(file: string): string {
  const text = readFileSync(join(ROOT, file), 'utf8');
  const imported = [...text.matchAll(/from '(\.[^']+(?:conformance|promises\/suite)[^']*)'/g)].map(
    ([, path = '']) => join(dirname(file), path),
  );
  return [text, ...imported.map(sourcesOf)].join('\n');
}

t.test('docs/promises.md has P1 to P16, each with what it says and what it does not', async (t) => {
  t.same(
    promises.map(({ number }) => number),
    Array.from({ length: 16 }, (_, n) => `P${n + 1}`),
  );
  for (const { number, statement, tests, text } of promises) {
    t.ok(statement.length > 10, `${number} says something`);
    t.match(text, /^- Not promised: /m, `${number} says what it is not`);
    t.ok(tests.length > 0, `${number} has a test`);
  }
});

t.test('each of its tests is there by that name', async (t) => {
  for (const { number, tests } of promises) {
    for (const { file, name } of tests) {
      const there = existsSync(join(ROOT, file));
      t.ok(there, `${number}: ${file}`);
      if (there) t.ok(word(sourcesOf(file)).includes(word(name)), `${number}: ${file}: ${name}`);
    }
  }
});

t.test('each that an outbox has a part in names tests with each engine', async (t) => {
  const withPostgres = (text: string): boolean => /\bstartPostgres(Engine)?\(/.test(text);
  const withSqlite = (text: string): boolean =>
    /\bstart\w*Gate\(|\bopenSqliteOutbox\(/.test(text) && !withPostgres(text);
  const without: string[] = [];
  for (const { number, engines, tests } of promises) {
    if (engines === 'no outbox has a part in it') {
      without.push(number);
      continue;
    }
    t.equal(engines, 'SQLite, PostgreSQL', number);
    const sources = tests.map(({ file }) => sourcesOf(file));
    t.ok(sources.some(withSqlite), `${number} names a test with SQLite`);
    t.ok(sources.some(withPostgres), `${number} names a test with PostgreSQL`);
  }
  t.same(without, ['P12', 'P13', 'P14'], 'bytes on their way are the business of no outbox');
});

t.test('each of its figures is in docs/metrics.md', async (t) => {
  const metrics = readDocument('docs/metrics.md');
  const known = ['## Of the relay', '## Of the proxy'].flatMap((heading) =>
    tableUnder(metrics, heading).map(([name]) => name),
  );
  for (const { number, figures } of promises) {
    for (const figure of figures) t.ok(known.includes(figure), `${number}: ${figure}`);
  }
  for (const number of WATCHED_PROMISES) {
    const watched = promises.find((promise) => promise.number === number);
    t.ok(
      watched?.figures.includes('sallyport_promise_violations_total'),
      `${number} says that it is watched`,
    );
  }
});

t.test('the simulation checks each of them by its number', async (t) => {
  const checker = join(ROOT, 'tests/simulation/checker');
  const sources = readdirSync(checker, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => readFileSync(join(checker, name), 'utf8'))
    .join('\n');
  for (const { number } of promises) t.ok(sources.includes(`'${number}'`), number);
});

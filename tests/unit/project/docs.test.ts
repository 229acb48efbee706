import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import t from 'tap';
import { blocksOf, documents, proseOf, readDocument, ROOT, tableUnder } from '../../fixtures/documents.ts';
import { readModules } from '../../fixtures/project/imports.ts';
import { VERDICTS } from '../../../relay-client/why/facts.ts';

const pages = documents();

/** The anchors of a page, as forges make them of its headings. */
function anchorsOf(page: string): Set<string> {
  const headings = [...proseOf(readDocument(page)).matchAll(/^#+ (.*)$/gm)].map(([, text = '']) => text);
  return new Set(
    headings.map((text) =>
      text
        .toLowerCase()
        .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
        .replaceAll(' ', '-'),
    ),
  );
}

t.test('every link between documents leads somewhere', async (t) => {
  for (const page of pages) {
    const links = [...proseOf(readDocument(page)).matchAll(/\]\(([^)\s]+)\)/g)].map(([, link = '']) => link);
    for (const link of links.filter((each) => !/^https?:/.test(each))) {
      const [file = '', anchor] = link.split('#', 2);
      const target = file === '' ? page : normalize(join(dirname(page), file));
      t.ok(existsSync(join(ROOT, target)), `${page}: ${link}`);
      if (anchor !== undefined && target.endsWith('.md') && existsSync(join(ROOT, target))) {
        t.ok(anchorsOf(target).has(anchor), `${page}: ${link} is a heading there`);
      }
    }
  }
});

t.test('README leads to every document', async (t) => {
  const readme = readDocument('README.md');
  for (const page of pages.filter((each) => /^(docs\/|[A-Z]+\.md$)/.test(each) && each !== 'README.md')) {
    t.ok(readme.includes(`](${page})`), page);
  }
});

t.test('documents hold nothing that is meant for their writers', async (t) => {
  for (const page of pages) {
    t.notMatch(readDocument(page), /\bTODO\b|\bFIXME\b|\bXXX\b|(^|[\s`(])\/work\b/m, page);
  }
});

t.test('commands that documents name exist', async (t) => {
  const verbs = (folder: string): string[] =>
    readModules(ROOT, [folder]).flatMap(({ file }) =>
      [...readFileSync(join(ROOT, file), 'utf8').matchAll(/\.command\('([a-z-]+)/g)].map(
        ([, verb = '']) => verb,
      ),
    );
  const known = {
    'sallyport-proxy': verbs('proxy/'),
    'sallyport-relay': verbs('relay-client/'),
    'sallyport-phones': verbs('tests/phones/'),
  };
  const named = /(?:^|`)(sallyport-(?:proxy|relay|phones)) ([a-z]+(?:-[a-z]+)*)\b/gm;
  for (const page of pages) {
    const shown = blocksOf(readDocument(page)).filter(({ language }) => language === 'sh');
    // In a block a command begins a line, in a sentence it stands in backticks.
    const text = [proseOf(readDocument(page)), ...shown.map((block) => block.text)].join('\n');
    for (const [, program = '', verb = ''] of text.matchAll(named)) {
      t.ok(known[program as keyof typeof known].includes(verb), `${page}: ${program} ${verb}`);
    }
  }
});

t.test('commands that the dashboard names take what it gives them', async (t) => {
  const options = readModules(ROOT, ['relay-client/cli/']).flatMap(({ file }) =>
    [...readFileSync(join(ROOT, file), 'utf8').matchAll(/'(?:-\w, )?(--[a-z][a-z-]*)/g)].map(
      ([, name = '']) => name,
    ),
  );
  const pages = readModules(ROOT, ['relay-client/dashboard/'])
    .map(({ file }) => file)
    .filter((file) => file.endsWith('.tsx'));
  const named = pages.flatMap((file) =>
    [...readFileSync(join(ROOT, file), 'utf8').matchAll(/<code>\s*sallyport-[^<]*<\/code>/g)].flatMap(
      ([text]) => [...text.matchAll(/--[a-z][a-z-]*/g)].map(([option]) => ({ file, option })),
    ),
  );
  t.ok(named.length > 3);
  for (const { file, option } of named) t.ok(options.includes(option), `${file}: ${option}`);
});

/** Pages that a test follows from their first command to their last. */
const FOLLOWED: Record<string, string> = {
  'README.md': 'tests/system/readme.test.ts',
  'docs/deployment.md': 'tests/packages/deployment.ts',
  'docs/several-relays.md': 'tests/packages/several-relays.ts',
};

t.test('every command in documents is run by a test, as it stands', async (t) => {
  const tests = readModules(ROOT, ['tests/'])
    .map(({ file }) => readFileSync(join(ROOT, file), 'utf8'))
    .filter((text) => text.includes('commandsOf'));
  for (const page of pages) {
    const follower = FOLLOWED[page];
    if (follower !== undefined) {
      t.ok(readDocument(follower).includes(`'${page}'`), `${follower} follows ${page}`);
      continue;
    }
    // Tests ask for a block by how it begins, as a string of its own in the same file as the page's name.
    const asked = tests
      .filter((text) => text.includes(`'${page}'`))
      .flatMap((text) =>
        [...text.matchAll(/'((?:[^'\\\n]|\\.)+)'/g)].map(([, word = '']) => word.replaceAll('\\n', '\n')),
      );
    for (const { language, text } of blocksOf(readDocument(page)))
      if (language === 'sh')
        t.ok(
          asked.some((starts) => starts.includes(' ') && text.startsWith(starts)),
          `${page}: a test runs ${text}`,
        );
  }
});

t.test('commands stand in blocks of commands', async (t) => {
  const command =
    /^(?:\$ )?(?:sallyport-|npm |npx |cd |mv |cp |scp |ip |curl |openssl |systemctl |sudo |runuser )/m;
  for (const page of pages)
    for (const { language, text } of blocksOf(readDocument(page)))
      if (['', 'bash', 'shell', 'console', 'text'].includes(language)) t.notMatch(text, command, page);
});

t.test('docs/troubleshooting.md explains exactly the verdicts of why', async (t) => {
  const text = readDocument('docs/troubleshooting.md');
  const rows = tableUnder(text, '## A phone does not do what was pushed').map(([verdict]) => verdict);
  t.same(rows, [...VERDICTS]);
});

t.test('docs/operating.md quotes log lines as they are', async (t) => {
  const sources = readModules(ROOT, ['proxy/', 'relay-client/', 'shared/'])
    .map(({ file }) => readFileSync(join(ROOT, file), 'utf8'))
    .join('\n');
  for (const [, messages = ''] of tableUnder(readDocument('docs/operating.md'), '## Logs')) {
    // A line may hold a comma itself.
    for (const message of sources.includes(`'${messages}'`) ? [messages] : messages.split(', ')) {
      t.ok(sources.includes(`'${message}'`), message);
    }
  }
});

t.test('the examples in documents are those that are checked', async (t) => {
  for (const [page, example, from, name] of [
    ['docs/sdk.md', 'docs/examples/service.ts', '../../relay-client/index.ts', 'sallyport'],
    ['docs/wpi.md', 'docs/examples/wpi-service.ts', '../../shared/wpi/index.ts', 'sallyport/wpi'],
  ] as const) {
    const [shown] = blocksOf(readDocument(page)).filter(({ language }) => language === 'ts');
    t.equal(shown?.text, readDocument(example).replaceAll(`'${from}'`, `'${name}'`), page);
  }
});

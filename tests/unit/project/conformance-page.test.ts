import t from 'tap';
import { GREEN } from '../../conformance/page.ts';
import { QUIRKS } from '../../conformance/quirks/index.ts';
import { readDocument, tableUnder } from '../../fixtures/documents.ts';

const page = readDocument('docs/conformance.md');
const headings = [...page.matchAll(/^## (.*)$/gm)].map(([, heading = '']) => heading);
const plain = (text: string): string => text.replaceAll('`', '');

t.test('docs/conformance.md has exactly the quirks that are played', async (t) => {
  t.same(headings, Object.keys(QUIRKS), 'npm run conformance writes it anew');
  for (const [heading, quirks] of Object.entries(QUIRKS)) {
    t.same(
      tableUnder(page, `## ${heading}`).map((cells) => cells.slice(0, 4)),
      quirks.map(({ id, what, source, expects }) => [id, plain(what), plain(source), expects]),
      heading,
    );
  }
});

t.test('and all of it is green', async (t) => {
  for (const heading of headings) {
    for (const [id = '', , , , ...cells] of tableUnder(page, `## ${heading}`)) {
      t.same(cells, Array<string>(6).fill(GREEN), id);
    }
  }
});

t.test('no two quirks have one name', async (t) => {
  const ids = Object.values(QUIRKS).flatMap((quirks) => quirks.map(({ id }) => id));
  t.same(ids.toSorted(), [...new Set(ids)].toSorted());
});

import t from 'tap';
import { readDocument, tableUnder } from '../../fixtures/documents.ts';
import { PLANTED_BUGS } from '../../simulation/bugs/bugs.ts';

t.test('docs/simulation.md lists exactly the bugs that can be planted', async (t) => {
  const rows = tableUnder(readDocument('docs/simulation.md'), '## Planted bugs');
  const listed = rows.map((cells) => cells.map((cell) => cell.replaceAll('`', '')));
  t.same(
    listed,
    Object.entries(PLANTED_BUGS).map(([name, { what, promise, seeds }]) => [
      name,
      what,
      promise,
      String(seeds),
    ]),
  );
});

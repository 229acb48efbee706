import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { ratioChart } from './chart.ts';
import type { Figures, KeptRow } from './figures.ts';
import { growthImage, growthPage } from './growth-page.ts';
import { warningOf } from './machine.ts';
import { sizingPage } from './sizing-page.ts';
import { asMarkdown, cellsOf } from './table.ts';

const ROOT = new URL('../..', import.meta.url).pathname;
/** Between these docs/benchmarks.md has what is made of the figures; the rest is written by hand. */
const BEGIN = '<!-- figures: written by npm run bench -->';
const END = '<!-- end of figures -->';

/** All pages and charts that are made of figures, by path from the root. */
export function pagesOf(figures: Figures): Record<string, string> {
  const { rows, growth } = figures;
  const benchmarks = readFileSync(join(ROOT, 'docs/benchmarks.md'), 'utf8');
  const [before = '', rest = ''] = benchmarks.split(BEGIN);
  const after = rest.split(END)[1];
  if (after === undefined) throw new Error(`docs/benchmarks.md has lost ${BEGIN} or ${END}`);
  return {
    'docs/benchmarks.md': `${before}${BEGIN}\n\n${tablesOf(rows)}\n\n${END}${after}`,
    'docs/images/benchmarks.svg': ratioChart(
      'Ours against peers, the same work in one run',
      rows.flatMap(({ name, peer, ratio, spread, goal }) =>
        peer === null || ratio === null
          ? []
          : [
              {
                name,
                peer: peer.name,
                ratio,
                spread,
                goal: goal !== null && 'ratio' in goal ? goal.ratio : null,
              },
            ],
      ),
    ),
    ...(growth === null
      ? {}
      : {
          'docs/growth.md': growthPage(growth.steps, growth.machine),
          'docs/images/growth.svg': growthImage(growth.steps),
        }),
    'docs/sizing.md': sizingPage(figures),
  };
}

export function writePages(figures: Figures): string[] {
  const pages = Object.entries(pagesOf(figures));
  for (const [path, text] of pages) {
    mkdirSync(dirname(join(ROOT, path)), { recursive: true });
    writeFileSync(join(ROOT, path), text);
  }
  return pages.map(([path]) => path);
}

function tablesOf(rows: readonly KeptRow[]): string {
  const measured = Map.groupBy(
    rows,
    ({ machine }) => `${machine.text}; ${machine.date.slice(0, 10)}.${warningOf(machine)}`,
  );
  const most = Math.max(...[...measured.values()].map((each) => each.length));
  // Rows that were measured another time, perhaps on a busier machine, are named.
  const machines = [...measured].map(([machine, each]) =>
    each.length === most
      ? machine
      : `${machine} Rows: ${[...new Set(each.map(({ name }) => name))].join('; ')}.`,
  );
  return [
    asMarkdown([['row', 'ours', 'peer', 'ratio', 'spread', 'goal', 'met'], ...rows.map(cellsOf)]),
    besideOf(rows),
    ['Measured on:', '', ...machines.map((each) => `- ${each}`)].join('\n'),
  ].join('\n\n');
}

/** Further figures of the same rounds. */
function besideOf(rows: readonly KeptRow[]): string {
  const lines = rows.flatMap(({ name, peer, beside, note }) => {
    const figures = Object.entries(beside).map(([what, value]) => `${what} ${Number(value.toPrecision(3))}`);
    const text = [figures.join(', '), note].filter((each) => each !== '').join('; ');
    return [[peer === null ? name : `${name} / ${peer.name}`, text]];
  });
  return asMarkdown([['row', 'beside it'], ...lines]);
}

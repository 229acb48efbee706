/**
 * `npm run bench`: side-by-side benchmarks, as a table, as JSON, and as the pages that are made of them.
 */
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { compareWith } from './compare.ts';
import { mergeRows, readFigures, writeFigures, writeJson } from './figures.ts';
import { GROWTH_SIZES, measureGrowth } from './growth.ts';
import { growthText } from './growth-page.ts';
import { describeMachine } from './machine.ts';
import { BENCH_NAMES, measureRows } from './measure.ts';
import { writePages } from './pages.ts';
import { isMeasured } from './rows.ts';
import type { BenchRow } from './rows.ts';
import { asText } from './table.ts';
import { readArguments } from '../../bin/arguments.ts';

const HELP = `npm run bench -- [--quick] [--only TEXT] [--growth] [--all] [--keep] [--json FILE] [--compare REV]

Measures side by side, in turn, round after round, and prints a table: medians, the
median ratio of the rounds, and the least and greatest of them.

  --all          everything, growth included, kept: writes all tables and charts
                 of docs/benchmarks.md, docs/growth.md and docs/sizing.md (25 minutes)
  --growth       what grows with the number of devices, in place of the rows; kept
  --least N      no fewer devices than so many for the growth page; then it is not kept
  --most N       no more devices than so many for the growth page
  --keep         put the measured rows in place of the kept ones, and write the pages
  --pages        measure nothing: write the pages from the kept figures
  --quick        fewer and shorter rounds: a look, no result; never kept
  --only TEXT    only rows whose benchmark or name contains TEXT
  --guard        only the rows that --compare compares, and no peers
  --compare REV  the quick rows of REV and of this checkout in turn; exit 1 where this
                 one is slower beyond the noise
  --rounds N     rounds of each row (default 5; quick: 3; compare: 6)
  --seconds S    length of one measurement (default 1; quick: 0.5)
  --json FILE    where the raw figures go (default: tests/bench/results/DATE.json)
  --help

Benchmarks: ${BENCH_NAMES.join(', ')}.
Needs Linux, wrk, nginx, openssl and OpenSSH; HAProxy and Tomcat are measured where they
are installed. Let nothing else run meanwhile.
`;

/** Rows that revisions are not compared by: they take too long to be measured often, or say the same as another. */
const UNGUARDED =
  /slow readers|PostgreSQL|^control|^sites|latency|, wpi$|^courier|^campaign|^commands|^workers|memory|^resync marks/;
const RESULTS = new URL('results/', import.meta.url).pathname;

const progress = (text: string): void => void process.stderr.write(`… ${text}\n`);

async function main(): Promise<number> {
  const { values } = readArguments(
    () =>
      parseArgs({
        options: {
          all: { type: 'boolean', default: false },
          growth: { type: 'boolean', default: false },
          least: { type: 'string' },
          most: { type: 'string' },
          keep: { type: 'boolean', default: false },
          pages: { type: 'boolean', default: false },
          quick: { type: 'boolean', default: false },
          only: { type: 'string', default: '' },
          guard: { type: 'boolean', default: false },
          compare: { type: 'string' },
          rounds: { type: 'string' },
          seconds: { type: 'string' },
          json: { type: 'string' },
          help: { type: 'boolean', default: false },
        },
      }),
    HELP,
  );
  if (values.help) {
    process.stdout.write(HELP);
    return 0;
  }
  const { quick, only } = values;
  const rounds = Number(values.rounds ?? (values.compare !== undefined ? 6 : quick ? 3 : 5));
  const seconds = Number(values.seconds ?? (quick ? 0.5 : 1));
  if (!(Number.isInteger(rounds) && rounds > 0 && seconds > 0)) {
    process.stderr.write('--rounds is a whole number from 1, --seconds a number above 0\n');
    return 2;
  }
  if (quick && (values.keep || values.all)) {
    process.stderr.write('--quick is a look; what is kept is measured at length\n');
    return 2;
  }
  if (values.pages) return tellPages();
  if (values.compare !== undefined) return compareWith(values.compare, { rounds, only, progress });

  const keep = values.keep || values.all || (values.growth && !quick && values.least === undefined);
  const file = values.json ?? join(RESULTS, `${new Date().toISOString().replaceAll(':', '-')}.json`);
  const failures: string[] = [];
  let rows: BenchRow[] = [];
  if (!values.growth || values.all) {
    const measured = await measureRows({
      ...{ rounds, seconds, peers: !values.guard },
      wanted: (name, row) =>
        `${name} ${row}`.includes(only) && !(values.guard && UNGUARDED.test(`${name} ${row}`)),
      progress: (bench, text) => progress(`${bench}: ${text}`),
    });
    rows = measured.rows;
    failures.push(...measured.failures);
    process.stdout.write(`${asText(rows)}\n\n`);
    if (keep) {
      const kept = readFigures();
      const others = values.all ? [] : kept.rows;
      writeFigures({
        ...kept,
        rows: mergeRows(others, rows.filter(isMeasured), describeMachine(), BENCH_NAMES),
      });
    }
  }
  const most = Number(values.most ?? (quick ? 10_000 : Infinity));
  const least = Number(values.least ?? 0);
  const sizes = GROWTH_SIZES.filter((size) => size >= least && size <= most);
  const growth = values.growth || values.all ? await measureGrowth({ sizes, progress }) : null;
  const steps = growth?.steps ?? null;
  failures.push(...(growth?.failures ?? []));
  const machine = describeMachine();
  if (steps !== null) {
    process.stdout.write(`${growthText(steps)}\n\n`);
    if (keep && steps.length > 0) writeFigures({ ...readFigures(), growth: { machine, steps } });
  }
  process.stdout.write(`${machine.text}\n`);
  writeJson(file, { machine, rounds, seconds, rows, growth: steps, failures });
  process.stdout.write(`raw figures in ${file}\n`);
  for (const failure of failures) process.stderr.write(`not measured: ${failure}\n`);
  if (keep) tellPages();
  return failures.length > 0 ? 1 : 0;
}

function tellPages(): number {
  process.stdout.write(`written: ${writePages(readFigures()).join(', ')}\n`);
  return 0;
}

process.exit(await main());

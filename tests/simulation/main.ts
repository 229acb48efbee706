/**
 * Runs the simulation. See docs/simulation.md.
 *
 *   npm run simulate -- --seed 17            one seed, with all that happens in it
 *   npm run simulate -- --seeds 1-5000       many seeds
 *   npm run simulate -- --count 500          as many, from a random one on
 *   npm run simulate -- --minutes 30         as many as there is time for, from a random one on
 *   npm run simulate -- --bug NAME …         with a planted bug; --bugs lists them
 */
import { randomInt } from 'node:crypto';
import { parseArgs } from 'node:util';
import { PLANTED_BUGS } from './bugs/bugs.ts';
import type { PlantedBug } from './bugs/bugs.ts';
import { loadSimulation } from './load.ts';
import { readArguments } from '../../bin/arguments.ts';

const HELP = `usage: npm run simulate -- [options]

  --seed N          runs one seed and prints all that happens in it, line by line
  --seeds FROM-TO   runs these seeds, and prints what promises they break
  --count N         runs N seeds, from a random one on
  --minutes N       runs for as long, from a random seed on
  --keep-going      does not stop at the first seed that breaks a promise
  --quiet           prints the end only
  --bug NAME        plants a bug in the product and runs until it is found; exit code 0 when it is
  --bugs            lists the bugs that can be planted
  --help

One seed is one run: the same seed does the same, byte for byte. Exit code 0 when every promise held, else 1.
`;

/** The largest seed that a random start may be. */
const SEEDS = 2 ** 31;

const { values } = readArguments(
  () =>
    parseArgs({
      options: {
        seed: { type: 'string' },
        seeds: { type: 'string' },
        count: { type: 'string' },
        minutes: { type: 'string' },
        'keep-going': { type: 'boolean', default: false },
        quiet: { type: 'boolean', default: false },
        bug: { type: 'string' },
        bugs: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    }),
  HELP,
);

const print = (text: string): void => void process.stdout.write(`${text}\n`);

function whole(name: string, text: string): number {
  if (/^\d+$/.test(text)) return Number(text);
  throw new Error(`--${name} is ${text}; it must be a whole number`);
}

/** The seeds that were asked for, and until when; null = there is nothing to run. */
function asked(): { from: number; to: number; until: number } | null {
  const { seed, seeds, count, minutes } = values;
  if (seed !== undefined) {
    const one = whole('seed', seed);
    return { from: one, to: one, until: Infinity };
  }
  if (seeds !== undefined) {
    const [from = '', to = from] = seeds.split('-');
    return { from: whole('seeds', from), to: whole('seeds', to), until: Infinity };
  }
  const from = randomInt(1, SEEDS);
  if (count !== undefined) return { from, to: from + whole('count', count) - 1, until: Infinity };
  if (minutes === undefined) return null;
  return { from, to: Infinity, until: Date.now() + whole('minutes', minutes) * 60_000 };
}

/** The bug that is to be planted; null = none. */
function plantedBug(): PlantedBug | null {
  if (values.bug === undefined) return null;
  const bug = PLANTED_BUGS[values.bug];
  if (bug === undefined) throw new Error(`there is no bug ${values.bug}; --bugs lists them`);
  return bug;
}

async function main(): Promise<number> {
  const bug = plantedBug();
  const range = asked() ?? (bug === null ? null : { from: 1, to: bug.seeds, until: Infinity });
  if (values.bugs) {
    for (const [name, { promise, what }] of Object.entries(PLANTED_BUGS)) {
      print(`${name.padEnd(26)} ${promise.padEnd(4)} ${what}`);
    }
    return 0;
  }
  if (values.help || range === null) {
    print(HELP);
    return values.help ? 0 : 2;
  }
  const { runSeed, stop } = await loadSimulation(bug);
  const tracing = values.seed !== undefined && !values.quiet;
  // Nobody reads the traces of the many errors that a run makes.
  if (!tracing) Error.stackTraceLimit = 0;
  let broken = 0;
  let ran = 0;
  let facts = 0;
  let simulatedMs = 0;
  for (let seed = range.from; seed <= range.to && Date.now() < range.until; seed++) {
    const outcome = await runSeed({ seed, digest: tracing, ...(tracing ? { trace: print } : {}) });
    ran += 1;
    facts += outcome.facts;
    simulatedMs += outcome.simulatedMs;
    if (tracing) print(`\nplan ${JSON.stringify(outcome.plan)}\ndigest ${outcome.digest}`);
    for (const { promise, why } of outcome.violations) print(`seed ${seed}: ${promise}: ${why}`);
    if (bug !== null && outcome.violations.some(({ promise }) => promise === bug.promise)) {
      print(`found at seed ${seed}`);
      return 0;
    }
    if (outcome.violations.length === 0 || bug !== null) continue;
    broken += 1;
    print(`seed ${seed} breaks a promise; see it by: npm run simulate -- --seed ${seed}`);
    if (!values['keep-going']) break;
  }
  stop();
  if (bug !== null) {
    print(`not found in ${ran} seeds`);
    return 1;
  }
  const hours = (simulatedMs / 3_600_000).toFixed(1);
  print(`${ran} seeds from ${range.from} on, ${hours} hours, ${facts} facts: ${broken} broke a promise`);
  return broken === 0 ? 0 : 1;
}

main().then(
  (code) => process.exit(code),
  (error: unknown) => {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
    process.exit(2);
  },
);

/**
 * Sends made-up input to everything that reads what strangers send, for as long or as often as it is told:
 *
 *   npm run fuzz -- --minutes 10 [--seed 1]
 *   npm run fuzz -- --target wpi --inputs 100000 [--seed 1]
 *
 * The targets: `polls`, the reader of polls; `links`, frames of both lanes of a link; `wpi`, HTTP of a `wpi` service
 * (against a reference parser, tests/fuzz/reference.ts); `xml`, the reader of WPI documents. By time they take turns;
 * `--inputs` counts for each. A target's inputs depend on the seed alone. Prints what it did; each finding is printed
 * with its input, and makes the exit code 1.
 */
import { parseArgs } from 'node:util';
import { seededRandom } from '../fixtures/seeded-random.ts';
import { linkFrames } from './link-frames.ts';
import type { Random } from './mutate.ts';
import { pollReader } from './poll-reader.ts';
import { mutated, openWpiFuzz } from './wpi-http.ts';
import { xmlReader } from './xml-reader.ts';
import { readArguments } from '../../bin/arguments.ts';

/** How long one target is at it before the next has its turn. */
const TURN_MS = 250;
/** Services that are sent requests side by side: each attempt mostly waits. */
const SERVICES = 32;
/** Findings after which there is no point in going on. */
const ENOUGH = 20;

const TARGETS = ['polls', 'links', 'wpi', 'xml'] as const;

const HELP = `npm run fuzz -- [--minutes M | --inputs N] [--target polls|links|wpi|xml] [--seed N]
`;

const { values } = readArguments(
  () =>
    parseArgs({
      options: {
        minutes: { type: 'string', default: '1' },
        inputs: { type: 'string' },
        target: { type: 'string' },
        seed: { type: 'string', default: String(Date.now() % 1e9) },
      },
    }),
  HELP,
);
const chosen = TARGETS.filter((name) => values.target === undefined || name === values.target);
const inputs = values.inputs === undefined ? Infinity : Number(values.inputs);
const runMs = values.inputs === undefined ? Number(values.minutes) * 60_000 : Infinity;
const seed = Number(values.seed);
if (chosen.length === 0) fail(`there is no target ${values.target}; there are ${TARGETS.join(', ')}`);
if (!(inputs > 0 && runMs > 0)) fail('--inputs and --minutes are numbers above 0');
if (!Number.isSafeInteger(seed)) fail('--seed is a whole number');

const began = performance.now();
const services = chosen.includes('wpi')
  ? await Promise.all(Array.from({ length: SERVICES }, openWpiFuzz))
  : [];
const outcomes = { passed: 0, partly: 0, refused: 0 };
let findings = 0;

/** Each target by what goes on side by side; each call tries one input and tells what is wrong, or null. */
const attempts: Record<(typeof TARGETS)[number], ((random: Random) => Promise<string | null>)[]> = {
  polls: [async (random) => pollReader(random)],
  links: [async (random) => linkFrames(random)],
  wpi: services.map((service) => async (random) => {
    const { outcome, finding } = await service.attempt(mutated(random));
    if (finding !== null) return `${finding.wrong}\n  sent ${JSON.stringify(finding.sent)}`;
    outcomes[outcome] += 1;
    return null;
  }),
  xml: [async (random) => xmlReader(random)],
};
const states = chosen.map((name, i) => {
  const bytes = seededRandom(seed + i);
  return { name, tried: 0, random: (): number => Buffer.from(bytes(4)).readUInt32BE() / 2 ** 32 };
});

while (findings < ENOUGH && performance.now() - began < runMs && states.some(({ tried }) => tried < inputs)) {
  for (const state of states) {
    const turn = performance.now() + TURN_MS;
    const work = async (attempt: (random: Random) => Promise<string | null>): Promise<void> => {
      while (state.tried < inputs && findings < ENOUGH && performance.now() < turn) {
        state.tried += 1;
        const wrong = await attempt(state.random);
        if (wrong === null) continue;
        findings += 1;
        console.log(`FOUND by ${state.name}: ${wrong}`);
      }
    };
    await Promise.all(attempts[state.name].map(work));
  }
}
await Promise.all(services.map((service) => service.close()));
for (const { name, tried } of states) console.log(`${name}: ${tried} inputs`);
if (services.length > 0) {
  const { passed, partly, refused } = outcomes;
  console.log(
    `wpi: ${passed} reached upstream as they were meant, ${partly} up to where they were refused, ${refused} not at all`,
  );
}
console.log(`seed ${seed}, ${findings} findings, ${Math.round((performance.now() - began) / 1_000)} s`);
process.exit(findings === 0 ? 0 : 1);

function fail(why: string): never {
  console.error(`fuzz: ${why}`);
  process.exit(2);
}

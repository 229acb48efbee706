/**
 * Sends made-up input to everything that reads what strangers send, for as long as it is told:
 *
 *   npm run fuzz -- --minutes 10 [--seed 1]
 *
 * The targets take turns: the reader of polls, frames of both lanes of a link, HTTP of a `wpi` service (against a
 * reference parser, tests/fuzz/reference.ts), and the reader of WPI documents. Prints what it did; each finding is
 * printed with its input, and makes the exit code 1.
 */
import { parseArgs } from 'node:util';
import { seededRandom } from '../fixtures/seeded-random.ts';
import { linkFrames } from './link-frames.ts';
import { pollReader } from './poll-reader.ts';
import { mutated, openWpiFuzz } from './wpi-http.ts';
import { xmlReader } from './xml-reader.ts';

/** How long one target is at it before the next has its turn. */
const TURN_MS = 250;
/** Services that are sent requests side by side: each attempt mostly waits. */
const SERVICES = 4;
/** Findings after which there is no point in going on. */
const ENOUGH = 20;

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '1' },
    seed: { type: 'string', default: String(Date.now() % 1e9) },
  },
});
const until = performance.now() + Number(values.minutes) * 60_000;
const bytes = seededRandom(Number(values.seed));
const random = (): number => Buffer.from(bytes(4)).readUInt32BE() / 2 ** 32;

const services = await Promise.all(Array.from({ length: SERVICES }, openWpiFuzz));
const targets: Record<string, () => Promise<(string | null)[]>> = {
  'poll reader': async () => [pollReader(random)],
  'link frames': async () => [linkFrames(random)],
  'wpi HTTP': () =>
    Promise.all(
      services.map(async (service) => {
        const found = await service.attempt(mutated(random));
        return found === null ? null : `${found.wrong}\n  sent ${JSON.stringify(found.sent)}`;
      }),
    ),
  'XML reader': async () => [xmlReader(random)],
};
const counts = new Map<string, number>();
let findings = 0;
while (performance.now() < until && findings < ENOUGH) {
  for (const [name, attempt] of Object.entries(targets)) {
    const turn = performance.now() + TURN_MS;
    while (performance.now() < turn) {
      const results = await attempt();
      counts.set(name, (counts.get(name) ?? 0) + results.length);
      for (const wrong of results) {
        if (wrong === null) continue;
        findings += 1;
        console.log(`FOUND by ${name}: ${wrong}`);
      }
    }
  }
}
await Promise.all(services.map((service) => service.close()));
for (const [name, count] of counts) console.log(`${name}: ${count} inputs`);
console.log(`seed ${values.seed}, ${findings} findings`);
process.exit(findings === 0 ? 0 : 1);

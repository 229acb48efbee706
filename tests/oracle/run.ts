/**
 * Times the poll handler for devices that it does not know and for known ones that are told 200 as well, and says
 * whether the times differ:
 *
 *   npm run oracle -- --samples 1000000
 *
 * Prints the mean time of each class and Welch's t against the unknown devices; exit code 1 when one |t| reaches 4.5.
 */
import { parseArgs } from 'node:util';
import { measureOracle, SILENT_T } from './measure.ts';

const { values } = parseArgs({ options: { samples: { type: 'string', default: '1000000' } } });
const samples = Number(values.samples);
if (!Number.isInteger(samples) || samples < 1_000) throw new Error('--samples is a whole number from 1000');

const { means, t, worst } = measureOracle(samples);
for (const [name, mean] of Object.entries(means)) {
  const against = t[name] === undefined ? '' : `  t ${t[name].toFixed(2)}`;
  console.log(`${name.padEnd(14)} ${mean.toFixed(1)} ns${against}`);
}
console.log(
  `${samples} polls: |t| at most ${worst.toFixed(2)}, ${worst < SILENT_T ? 'below' : 'NOT below'} ${SILENT_T}`,
);
process.exitCode = worst < SILENT_T ? 0 : 1;

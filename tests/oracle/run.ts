/**
 * Times the poll handler for devices that it does not know and for others that are told 200 as well, and says whether the
 * times differ, by the method of docs/threat-model.md:
 *
 *   npm run oracle -- --samples 1000000 [--devices 10000] [--poll-secret path] [--link down] \
 *     [--fresh] [--runs 1]
 *
 * Prints the mean time of each class and Welch's t against the unknown devices, of every run; exit code 1 when one |t|
 * reaches 4.5.
 */
import { parseArgs } from 'node:util';
import { measureOracle, ROUND, SILENT_T } from './measure.ts';
import { UNKNOWN } from './classes.ts';
import { readArguments } from '../../bin/arguments.ts';

const HELP = `npm run oracle -- [--samples N] [--devices N] [--poll-secret path] [--link down] [--fresh] [--runs N]
`;

const { samples, devices, pollSecret, link, fresh, runs } = readArguments(() => {
  const { values } = parseArgs({
    options: {
      samples: { type: 'string', default: '1000000' },
      devices: { type: 'string', default: '10000' },
      'poll-secret': { type: 'string', default: 'none' },
      link: { type: 'string', default: 'up' },
      fresh: { type: 'boolean', default: false },
      runs: { type: 'string', default: '1' },
    },
  });
  const [samples, devices, runs] = [Number(values.samples), Number(values.devices), Number(values.runs)];
  const { link, fresh, 'poll-secret': pollSecret } = values;
  if (!Number.isInteger(samples) || samples < 1_000) throw new Error('--samples is a whole number from 1000');
  if (!Number.isInteger(devices) || devices < ROUND / 2)
    throw new Error(`--devices is a whole number from ${ROUND / 2}`);
  if (!Number.isInteger(runs) || runs < 1) throw new Error('--runs is a whole number from 1');
  if (pollSecret !== 'none' && pollSecret !== 'path') throw new Error('--poll-secret is none or path');
  if (link !== 'up' && link !== 'down') throw new Error('--link is up or down');
  return { samples, devices, pollSecret, link, fresh, runs } as const;
}, HELP);

let over = 0;
for (let run = 1; run <= runs; run++) {
  const { means, t, worst } = measureOracle({ samples, devices, pollSecret, link, fresh });
  console.log(`${UNKNOWN}: ${means[UNKNOWN]?.toFixed(1)} ns`);
  for (const [name, against] of Object.entries(t)) {
    const mean = means[name] === undefined ? '' : ` ${means[name].toFixed(1)} ns,`;
    console.log(`${name}:${mean} t ${against.toFixed(2)}`);
  }
  if (worst >= SILENT_T) over++;
  console.log(
    `run ${run} of ${runs}: ${samples} polls, ${devices} devices, poll_secret ${pollSecret}, link ${link}` +
      `${fresh ? ', marks just written' : ''}: ` +
      `|t| at most ${worst.toFixed(2)}, ${worst < SILENT_T ? 'below' : 'NOT below'} ${SILENT_T}`,
  );
}
process.exitCode = over === 0 ? 0 : 1;

/**
 * A day of 100 000 phones in virtual time, each poll of it decided and checked: `npm run day`.
 *
 *   npm run day -- --phones 100000 --hours 24 --seed 1
 *
 * Ends with 1 where one answer was wrong. What is real in it and what is not: tests/day/day.ts.
 */
import { parseArgs } from 'node:util';
import { liveThroughDay } from './day.ts';
import { readArguments } from '../../bin/arguments.ts';

const HELP = `npm run day -- [--phones N] [--hours H] [--seed N]
`;

const [phones, hours, seed] = readArguments(() => {
  const { values } = parseArgs({
    options: {
      phones: { type: 'string', default: '100000' },
      hours: { type: 'string', default: '24' },
      seed: { type: 'string', default: '1' },
    },
  });
  const { phones, hours, seed } = values;
  if (![phones, hours, seed].every((text) => /^[1-9]\d*$/.test(text)))
    throw new Error('--phones, --hours and --seed are whole numbers from 1');
  return [Number(phones), Number(hours), Number(seed)] as const;
}, HELP);
const began = performance.now();
const took = (): string => `${Math.round((performance.now() - began) / 1_000)} s`;
const day = await liveThroughDay({
  phones,
  hours,
  seed,
  onHour: (hour, { polls, offers, wrong }) =>
    process.stdout.write(
      `hour ${hour}: ${polls} polls, ${offers} answered 202, ${wrong} wrong (${took()})\n`,
    ),
});
process.stdout.write(
  `${JSON.stringify({ phones, hours, seed, ...day, seconds: Math.round((performance.now() - began) / 1_000) }, null, 2)}\n`,
);
process.exitCode = day.wrong === 0 ? 0 : 1;

/** `npm run soak`: hours or minutes of load with faults, and a verdict. */
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { soakReport } from './report.ts';
import { soak } from './soak.ts';
import { readArguments } from '../../bin/arguments.ts';

const HELP = `npm run soak -- [--minutes M] [--phones N] [--fault-every S] [--report FILE]

Polls, pushes, sessions and downloads, with a fault every S seconds; then a verdict.
Exit code 0 when all that is promised held, else 1.

  --minutes M      length of the load (default 10)
  --phones N       simulated phones (default 200)
  --fault-every S  seconds from one fault to the next (default 20)
  --report FILE    where the report goes, as Markdown (default: standard output)
`;

const { values } = readArguments(
  () =>
    parseArgs({
      options: {
        minutes: { type: 'string', default: '10' },
        phones: { type: 'string', default: '200' },
        'fault-every': { type: 'string', default: '20' },
        report: { type: 'string' },
        help: { type: 'boolean', default: false },
      },
    }),
  HELP,
);

const tasks: (() => unknown)[] = [];
const owner = { teardown: (task: () => unknown) => tasks.push(task) };
const say = (line: string): void => void process.stdout.write(`${line}\n`);

async function main(): Promise<number> {
  if (values.help) {
    say(HELP);
    return 0;
  }
  const options = {
    minutes: Number(values.minutes),
    phones: Number(values.phones),
    faultEveryMs: Number(values['fault-every']) * 1000,
    say,
  };
  if (!(options.minutes > 0 && options.phones >= 1 && options.faultEveryMs > 0)) {
    process.stderr.write(`soak: --minutes, --phones and --fault-every want numbers above 0\n`);
    return 2;
  }
  try {
    const result = await soak(owner, options);
    const report = soakReport(result, options);
    if (values.report === undefined) say(report);
    else writeFileSync(values.report, report);
    say(result.verdict.wrong.length === 0 ? 'all that is promised held' : result.verdict.wrong.join('\n'));
    return result.verdict.wrong.length === 0 ? 0 : 1;
  } finally {
    for (const task of tasks.reverse()) await task();
  }
}

process.exit(await main());

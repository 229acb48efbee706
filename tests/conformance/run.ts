/** Plays every quirk through a gate and writes docs/conformance.md. Exit code 1 where any cell is red. */
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { startSwitchedGate } from '../fixtures/switched-gate.ts';
import { checkQuirk, DOOR_MODES } from './check.ts';
import type { DoorMode, Verdict } from './check.ts';
import { deviceNumber } from './devices.ts';
import { conformancePage } from './page.ts';
import type { Quirk } from './quirk.ts';
import { QUIRKS } from './quirks/index.ts';
import { readArguments } from '../../bin/arguments.ts';

const HELP = `npm run conformance

Plays every quirk through a gate and writes docs/conformance.md. It takes no options.
`;

const PAGE = fileURLToPath(new URL('../../docs/conformance.md', import.meta.url));

const teardowns: (() => unknown)[] = [];
const owner = { teardown: (task: () => unknown) => teardowns.push(task) };

async function main(): Promise<number> {
  const gate = await startSwitchedGate(owner);
  const verdicts = new Map<Quirk, Record<DoorMode, Verdict>>();
  let red = 0;
  let played = 0;
  for (const quirk of Object.values(QUIRKS).flat()) {
    const found = {} as Record<DoorMode, Verdict>;
    for (const mode of DOOR_MODES) {
      const verdict = await checkQuirk(owner, gate, mode, quirk, deviceNumber(played++));
      found[mode] = verdict;
      for (const [direction, wrong] of Object.entries(verdict) as [string, string[]][]) {
        if (wrong.length === 0) continue;
        red += 1;
        process.stdout.write(`${quirk.id}, ${mode}, ${direction}: ${wrong.join('; ')}\n`);
      }
    }
    verdicts.set(quirk, found);
  }
  writeFileSync(PAGE, conformancePage(QUIRKS, verdicts));
  process.stdout.write(`${verdicts.size} quirks, ${red} cells red; wrote docs/conformance.md\n`);
  return red === 0 ? 0 : 1;
}

readArguments(() => parseArgs({}), HELP);
try {
  process.exitCode = await main();
} finally {
  for (const task of teardowns.toReversed()) await task();
}

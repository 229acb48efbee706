/** Messages taken by bulk, each durable and answered by a line of its own. */
import type { Owner } from '../fixtures/gate.ts';
import { startPushGate } from './accept.ts';
import { bulkPush } from './bulk-push.ts';
import { absoluteRow } from './rows.ts';
import type { BenchOptions, BenchRow } from './rows.ts';

const BENCH = 'bulk-push';
const MESSAGES = 50_000;
/** Messages of a short look. */
const FEW_MESSAGES = 10_000;
const PER_SECOND = { least: 20_000 };

export async function run(owner: Owner, options: BenchOptions): Promise<BenchRow[]> {
  const name = 'messages pushed by bulk to new devices';
  if (!options.wanted(BENCH, name)) return [];
  const gate = await startPushGate(owner);
  const count = options.seconds >= 1 ? MESSAGES : FEW_MESSAGES;
  const rates: number[] = [];
  // The first round warms up and is not counted.
  for (let round = 0; round <= options.rounds; round++) {
    options.progress(`round ${round} of ${options.rounds}`);
    const rate = await bulkPush(gate, { first: round * count, count });
    if (round > 0) rates.push(rate);
  }
  return [
    absoluteRow({
      bench: BENCH,
      name,
      unit: '/s',
      ours: rates,
      goal: PER_SECOND,
      note: `${count.toLocaleString('en')} a round in one request, up to the last result line; the proxy is told of each meanwhile`,
    }),
  ];
}

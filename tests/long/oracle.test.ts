// runs alone: it compares times of a microsecond
import t, { type Test } from 'tap';
import { measureOracle, SILENT_T, type OracleOptions } from '../oracle/measure.ts';

/** A noisy machine hides what there is and shows what there is not; three times in a row it does not. */
const ATTEMPTS = 3;
const SAMPLES = 150_000;

async function tellsNothing(t: Test, options: Partial<OracleOptions> = {}): Promise<void> {
  let worst = Infinity;
  for (let attempt = 0; attempt < ATTEMPTS && worst >= SILENT_T; attempt++) {
    const result = measureOracle({ samples: SAMPLES, ...options });
    worst = result.worst;
    t.comment(JSON.stringify(result));
  }
  t.ok(worst < SILENT_T, `|t| is ${worst}`);
}

t.test('the time of an answer does not tell a known device from an unknown one', async (t) =>
  tellsNothing(t),
);

t.test('nor does it with many devices, while a flood of made-up ids fills the report', async (t) => {
  // The report of unknown devices is full after some 1 600 polls.
  await tellsNothing(t, { devices: 100_000, sweep: 50_000 });
});

t.test('the same measurement finds a leak that is planted', async (t) => {
  const kept = new Map<string, number>();
  // What a door would do that took note of unknown devices while they wait for their answer.
  const leak = (request: Buffer): void => {
    const device = request.toString('latin1', 31, 48);
    kept.set(device, (kept.get(device) ?? 0) + 1);
  };
  const seen = Array.from({ length: ATTEMPTS }, () => measureOracle({ samples: 20_000, leak }));
  t.ok(kept.size > 900, 'it was there');
  for (const result of seen) t.ok(result.worst > SILENT_T, JSON.stringify(result));
});

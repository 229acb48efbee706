import t from 'tap';
import { seededRandom } from '../../fixtures/seeded-random.ts';
import { mutated, openWpiFuzz } from '../../fuzz/wpi-http.ts';

/** A small share; `npm run fuzz` goes on for as long as it is told. */
const REQUESTS = 1_500;

t.test('of mutated requests upstream gets what they plainly mean, or nothing', async (t) => {
  const fuzz = await openWpiFuzz();
  t.teardown(() => fuzz.close());
  const bytes = seededRandom(4_711);
  const random = (): number => Buffer.from(bytes(4)).readUInt32BE() / 2 ** 32;
  for (let i = 0; i < REQUESTS; i++) {
    const { finding } = await fuzz.attempt(mutated(random));
    if (finding !== null) t.fail(finding.wrong, finding);
  }
  t.pass(`${REQUESTS} requests`);
});

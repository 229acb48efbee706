import t from 'tap';
import { seededRandom } from '../../fixtures/seeded-random.ts';
import { mutated, openWpiFuzz } from '../../fuzz/wpi-http.ts';

/** A small share; `npm run fuzz -- --target wpi` goes on for as long as it is told. */
const REQUESTS = 5_000;
/** Side by side, since each request mostly waits. */
const SERVICES = 32;

t.test('of mutated requests upstream gets what they plainly mean, or nothing', async (t) => {
  const services = await Promise.all(Array.from({ length: SERVICES }, openWpiFuzz));
  t.teardown(() => Promise.all(services.map((service) => service.close())));
  const bytes = seededRandom(4_711);
  const random = (): number => Buffer.from(bytes(4)).readUInt32BE() / 2 ** 32;
  const outcomes = { passed: 0, partly: 0, refused: 0 };
  let tried = 0;
  const work = async (service: (typeof services)[number]): Promise<void> => {
    while (tried < REQUESTS) {
      tried += 1;
      const { outcome, finding } = await service.attempt(mutated(random));
      if (finding !== null) t.fail(finding.wrong, finding);
      outcomes[outcome] += 1;
    }
  };
  await Promise.all(services.map(work));
  // Where nothing passes, or nothing is refused, nothing was tried.
  for (const [outcome, count] of Object.entries(outcomes)) t.ok(count > 100, `${count} ${outcome}`);
});

import t from 'tap';
import { createModelDisk, createModelOutbox } from '../../../relay-client/outbox/model.ts';
import { createFakeClock } from '../../fixtures/fake-clock.ts';
import { seededRandom } from '../../fixtures/seeded-random.ts';
import { outboxConformance } from './conformance.ts';

outboxConformance(t, (t) => {
  const clock = createFakeClock();
  const disk = createModelDisk();
  const random = seededRandom(1);
  return {
    clock,
    async open(limits = {}) {
      const outbox = createModelOutbox({ clock, random, disk, limits });
      t.teardown(() => outbox.close());
      return outbox;
    },
  };
});

import { randomBytes } from 'node:crypto';
import t from 'tap';
import { countRefusals } from '../../../relay-client/outbox/count-refusals.ts';
import { createModelDisk, createModelOutbox } from '../../../relay-client/outbox/model.ts';
import { systemClock } from '../../../shared/clock.ts';
import type { DeviceId } from '../../../shared/device-id.ts';

t.test(
  'pushes that are refused for want of room are told of, whoever pushed, and refused all the same',
  async (t) => {
    const stored = createModelOutbox({
      clock: systemClock,
      random: randomBytes,
      disk: createModelDisk(),
      limits: { messages: 2 },
    });
    const refused: string[] = [];
    const outbox = countRefusals(stored, (code) => refused.push(code));
    const push = (n: number) => ({
      device: `00:1a:e8:00:00:0${n}` as DeviceId,
      kind: 'contact-me' as const,
      ttl: 60_000,
      delay: 0,
    });
    await outbox.push(push(1));
    const results = await outbox.pushMany([push(2), push(3)]);
    t.equal(results.filter((each) => each instanceof Error).length, 1);
    t.strictSame(refused, ['OUTBOX_FULL']);
    await t.rejects(outbox.push(push(4)), { code: 'OUTBOX_FULL' });
    t.strictSame(refused, ['OUTBOX_FULL', 'OUTBOX_FULL']);
    await t.rejects(
      outbox.push({ ...push(5), actions: [{ action: 'x'.repeat(2_000_000), items: [] }] } as never),
    );
    t.equal(refused.length, 2, 'a push that is wrong in itself is no refusal');
    t.equal((await outbox.counts()).held, 2);
    t.equal(outbox.incarnation, stored.incarnation);
    t.equal(outbox.sequence(), stored.sequence());
    await outbox.close();
  },
);

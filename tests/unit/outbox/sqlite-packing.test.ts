import fc from 'fast-check';
import t from 'tap';
import type { DeviceId } from '../../../shared/device-id.ts';
import type { PushRequest } from '../../../relay-client/outbox/ledger.ts';
import type { Accepted } from '../../../relay-client/outbox/outbox.ts';
import type { RecordedChange } from '../../../relay-client/outbox/recent-changes.ts';
import { freshMessage } from '../../../relay-client/outbox/rules/rows.ts';
import {
  countRequests,
  packAccepted,
  packChanges,
  packRequests,
  unpackAccepted,
  unpackChanges,
  unpackRequests,
} from '../../../relay-client/outbox/sqlite-packing.ts';

const text = fc.string();
const orNull = fc.option(text, { nil: null });
const time = fc.nat();
const device = text as fc.Arbitrary<DeviceId>;
const kind = fc.constantFrom('contact-me' as const, 'dls' as const);
const request: fc.Arbitrary<PushRequest> = fc.record({
  ...{ id: text, device, kind, ttl: time, delay: time, key: orNull, content: orNull },
  ...{ replace: fc.boolean(), actions: orNull, bytes: time, campaign: orNull, parked: fc.boolean() },
});
const change: fc.Arbitrary<RecordedChange> = fc.oneof(
  fc.record({ op: fc.constant('end' as const), seq: time, id: text, device, generation: time }),
  fc.record({
    ...{ op: fc.constant('hold' as const), seq: time, id: text, device, kind, generation: time },
    ...{ dueAt: time, expiresAt: time },
  }),
);
const plain = <T>(value: T): T => JSON.parse(JSON.stringify(value)) as T;

t.test('what is packed for the way between threads comes out as it went in', async (t) => {
  fc.assert(
    fc.property(fc.array(request), fc.array(change), (requests, changes) => {
      const packed = packRequests(requests);
      t.equal(countRequests(packed), requests.length);
      t.strictSame(unpackRequests(packed), plain(requests));
      t.strictSame(unpackChanges(packChanges(changes)), plain(changes));
    }),
    { numRuns: 50 },
  );
});

t.test('answers to pushes come out as the ledger gave them: held now, known before, refused', async (t) => {
  const now = { at: 5, wall: 1_000, ahead: 0 };
  fc.assert(
    fc.property(fc.array(fc.tuple(request, time, fc.nat(2))), (pushes) => {
      const results = pushes.map(([push, generation, which]) => {
        const accepted: Accepted = { message: freshMessage(now, push, generation), known: which === 1 };
        return which === 2 ? { code: 'OUTBOX_FULL', message: 'no room' } : accepted;
      });
      const requests = pushes.map(([push]) => push);
      t.strictSame(unpackAccepted(packAccepted(results), requests, now), results);
    }),
    { numRuns: 50 },
  );
});

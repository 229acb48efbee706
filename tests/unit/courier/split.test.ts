import fc from 'fast-check';
import t from 'tap';
import { COURIER_LIMITS, DOCUMENT_FRAME_BYTES, NONCE_CHARS } from '../../../relay-client/courier/limits.ts';
import { readResults, writeResults } from '../../../relay-client/courier/results.ts';
import type { ActionResult } from '../../../relay-client/courier/results.ts';
import { groupItems, splitItems } from '../../../relay-client/courier/split.ts';
import { buildServiceMessage, itemBytes } from '../../../shared/wpi/build.ts';

interface Item {
  name: string;
  index?: string;
  value: string;
}

const items: fc.Arbitrary<Item[]> = fc.array(
  fc.record(
    {
      name: fc.stringMatching(/^[a-z][a-z-]{0,10}$/),
      index: fc.nat(6).map(String),
      value: fc.string({ unit: 'grapheme-ascii', maxLength: 200 }),
    },
    { requiredKeys: ['name', 'value'] },
  ),
  { maxLength: 80 },
);
const maxItems = fc.option(fc.integer({ min: 0, max: 20 }), { nil: null });
const room = fc.integer({ min: 1, max: 3_000 });
const written = (list: Item[]): string => JSON.stringify(list);

t.test('every item travels once, in the order of its group', async () => {
  fc.assert(
    fc.property(items, maxItems, room, (given, most, bytes) => {
      const sent = splitItems(given, most, bytes).flat();
      const order = (list: Item[]): string[] => groupItems(list).map(written).toSorted();
      if (sent.length !== given.length) throw new Error('another number of items');
      if (written(order(sent) as never) !== written(order(given) as never)) throw new Error('other items');
    }),
  );
});

t.test('documents keep to the number of items, and to the bytes unless one group is longer', async () => {
  fc.assert(
    fc.property(items, maxItems, room, (given, most, bytes) => {
      for (const document of splitItems(given, most, bytes)) {
        if (document.length === 0) throw new Error('an empty document');
        if (most !== null && document.length > Math.max(1, most)) throw new Error('too many items');
        const size = document.reduce((sum, item) => sum + itemBytes(item), 0);
        if (size > bytes && groupItems(document).length > 1) throw new Error('too many bytes');
      }
    }),
  );
});

t.test('a group that a phone can take is never divided', async () => {
  fc.assert(
    fc.property(items, maxItems, room, (given, most, bytes) => {
      const documents = splitItems(given, most, bytes);
      for (const group of groupItems(given)) {
        const [first] = group;
        if (first?.index === undefined || (most !== null && group.length > Math.max(1, most))) continue;
        const holding = documents.filter((each) => each.some(({ index }) => index === first.index));
        if (holding.length !== 1) throw new Error(`index ${first.index} is in ${holding.length} documents`);
      }
    }),
  );
});

t.test('what a document takes besides its items fits into its frame', async (t) => {
  const room = COURIER_LIMITS.documentBytes - DOCUMENT_FRAME_BYTES;
  const nonce = '"'.repeat(NONCE_CHARS);
  const value = 'x'.repeat(room - itemBytes({ name: 'a', value: '' }));
  t.equal(itemBytes({ name: 'a', value }), room);
  const document = buildServiceMessage({
    nonce,
    action: 'SoftwareDeployment',
    items: [{ name: 'a', value }],
  });
  t.ok(document.length <= COURIER_LIMITS.documentBytes, `${document.length} bytes`);
});

t.test('results keep to their bytes, and say where items are missing', async (t) => {
  const one = (count: number): ActionResult => ({
    action: 'ReadItems',
    status: 'accepted',
    at: 1,
    items: Array.from({ length: count }, (_, i) => ({
      name: `item-${i}`,
      status: 'accepted',
      value: 'ä'.repeat(100),
    })),
  });
  const text = writeResults([one(3), one(4_000), one(10)]);
  t.ok(Buffer.byteLength(text) <= COURIER_LIMITS.resultBytes);
  const [first, second, third] = readResults(text);
  t.match([first?.items.length, third?.items.length], [3, 10], 'the longest gives way');
  t.match(second, { truncated: true, status: 'accepted' });
  t.ok((second?.items.length ?? 0) > 400);
  t.strictSame(readResults(writeResults([one(3)])), [one(3)]);
  t.strictSame(readResults(''), []);
  t.strictSame(readResults(null), []);
});

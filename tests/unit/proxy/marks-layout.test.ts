import fc from 'fast-check';
import t from 'tap';
import {
  BUCKET_SLOTS,
  HIGH,
  SITE_BYTES,
  entryOf,
  findSlot,
  freeSlot,
  lowOf,
  openTable,
  probe,
  tableBytes,
  writeSite,
  type MarksTable,
} from '../../../proxy/marks-layout.ts';
import { openMarks, POLL_RESULTS } from '../../../proxy/marks-reader.ts';
import { createMarks } from '../../../proxy/marks.ts';
import type { DeviceId } from '../../../shared/device-id.ts';
import { createKeyedHash } from '../../../shared/keyed-hash.ts';
import { createFakeClock } from '../../fixtures/fake-clock.ts';

const SLOTS = 4 * BUCKET_SLOTS;
const table = (): MarksTable => openTable(new SharedArrayBuffer(tableBytes(SLOTS)));

function put({ words }: MarksTable, slot: number, low: number, high: number): void {
  words[entryOf(slot) + HIGH] = high;
  words[lowOf(slot)] = low;
}

t.test('no two slots share a word', async (t) => {
  const { words, capacity, generations } = table();
  t.equal(capacity, SLOTS);
  const taken = new Set<number>();
  for (let slot = 0; slot < SLOTS; slot++) {
    for (const at of [lowOf(slot), generations + slot]) taken.add(at);
    for (let word = 0; word < 8; word++) taken.add(entryOf(slot) + word);
  }
  t.equal(taken.size, SLOTS * 10);
  t.equal(Math.max(...taken), words.length - 1);
});

t.test('what was put is found, by a reader as by the writer, and nothing else is', async (t) => {
  // Few words, so that many hashes share one, and both buckets of some are one bucket.
  const word = fc.constantFrom(1, 2, 0x3fff_ffff, 0x4000_0000, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff);
  const hash = fc.tuple(word, word);
  let absent = 0;
  fc.assert(
    fc.property(fc.uniqueArray(hash, { selector: String, maxLength: 40 }), hash, (hashes, other) => {
      const made = table();
      const slots = new Map<string, number>();
      for (const [low, high] of hashes) {
        const slot = freeSlot(made, low, high);
        if (slot < 0) continue;
        put(made, slot, low, high);
        slots.set(String([low, high]), slot);
      }
      return [...hashes, other].every(([low, high]) => {
        const slot = slots.get(String([low, high])) ?? -1;
        const read = probe(made, low, high);
        if (slot < 0) absent++;
        return findSlot(made, low, high) === slot && (slot < 0 ? read < 0 : read === entryOf(slot));
      });
    }),
    { numRuns: 1_000 },
  );
  t.ok(absent > 100, 'some were looked for that were never put');
});

t.test('a hash goes to the emptier one of its two buckets, and nowhere when both are full', async (t) => {
  const made = table();
  const low = 1;
  const high = 0xffff_ffff;
  const buckets: number[] = [];
  for (let slot = freeSlot(made, low, high); slot >= 0; slot = freeSlot(made, low, high)) {
    buckets.push(Math.floor(slot / BUCKET_SLOTS));
    put(made, slot, low, high);
  }
  t.equal(buckets.length, 2 * BUCKET_SLOTS);
  for (let n = 0; n < buckets.length; n += 2) {
    t.strictSame(buckets.slice(n, n + 2).sort(), [0, 3], 'in turn');
  }
});

t.test(
  'where both buckets of a device are full long before the table is, a larger table has room',
  async (t) => {
    const key = new Uint8Array(8).fill(5);
    const clock = createFakeClock();
    const marks = createMarks({ sites: ['hq'], clock, random: (bytes) => bytes.set(key), capacity: 1 });
    t.teardown(() => marks.close());
    const reader = openMarks(marks.attach().seed);
    const hash = createKeyedHash(key);
    const bytes = Buffer.alloc(SITE_BYTES + 8);
    writeSite(bytes, 0);
    // The first 2 of 32 buckets.
    const inFirst = (word: number): boolean => word < 2 ** 28;
    const devices: DeviceId[] = [];
    for (let i = 0; devices.length <= 2 * BUCKET_SLOTS; i++) {
      const device = `d${String(i).padStart(7, '0')}` as DeviceId;
      bytes.write(device, SITE_BYTES, 'latin1');
      hash.update(bytes, 0, bytes.length);
      if (inFirst(hash.low) && inFirst(hash.high)) devices.push(device);
    }
    for (const device of devices) {
      marks.set('hq', device, { pending: false, generation: 1, notBefore: 0, expiry: 0 });
    }
    const { rebuilds, slots } = marks.stats();
    t.ok(rebuilds > 0 && slots < 1_000, `${rebuilds} new tables, ${slots} slots`);
    const unknown = devices.filter((device) => {
      bytes.write(device, SITE_BYTES, 'latin1');
      return POLL_RESULTS[reader.poll(bytes, bytes.length, 0, clock.monotonic())] !== 'nothing';
    });
    t.strictSame(unknown, []);
  },
);

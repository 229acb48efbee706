import { appendFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import type { Test } from 'tap';
import { createAddressBook } from '../../../relay-client/addresses/book.ts';
import type { AddressBook, SourceAddresses } from '../../../relay-client/addresses/book.ts';
import { ADDRESSES_FILE, openFileStore } from '../../../relay-client/addresses/file-store.ts';
import { openAddresses } from '../../../relay-client/addresses/open.ts';
import { numberOf, parseAddressRange } from '../../../relay-client/addresses/range.ts';
import { createMemoryStore } from '../../../relay-client/addresses/store.ts';
import type { AddressStore, Assignment } from '../../../relay-client/addresses/store.ts';
import type { DeviceId } from '../../../shared/device-id.ts';

const device = (n: number): DeviceId =>
  `00:1a:e8:00:${[n >> 8, n & 255].map((byte) => byte.toString(16).padStart(2, '0')).join(':')}` as DeviceId;
const WIDE = parseAddressRange('127.64.0.0/16');
const FOUR = parseAddressRange('127.64.0.0/30');

/** Each of them a way to keep addresses, opened anew on what an earlier one kept. */
const STORES: Record<string, (t: Test) => () => Promise<AddressStore>> = {
  'in memory': () => {
    let kept: Assignment[] = [];
    return () => {
      const store = createMemoryStore(kept);
      kept = store.kept as Assignment[];
      return Promise.resolve(store);
    };
  },
  'in a file': (t) => {
    const directory = t.testdir();
    return () => openFileStore(directory);
  },
};

for (const [where, prepare] of Object.entries(STORES)) {
  t.test(`kept ${where}`, async (t) => {
    await t.test('a thousand devices get addresses of their own, and have the same ones later', async (t) => {
      const open = prepare(t);
      const begin = async (): Promise<[AddressBook, SourceAddresses]> => {
        const book = createAddressBook(await open());
        return [book, book.range(WIDE)];
      };
      const [first, addresses] = await begin();
      const devices = Array.from({ length: 1_000 }, (_, n) => device(n));
      // Each asks twice at once, as over two connections.
      const given = await Promise.all(
        devices.map((each) => Promise.all([addresses.assign(each), addresses.assign(each)])),
      );
      t.ok(given.every(([one, other]) => one === other));
      t.equal(new Set(given.flat()).size, 1_000, 'all distinct');
      t.ok(devices.every((each, n) => addresses.of(each) === given[n]?.[0]));
      t.ok(devices.every((each, n) => first.deviceAt(given[n]?.[0] ?? '') === each));
      await first.close();

      const [second, again] = await begin();
      t.strictSame(
        devices.map((each) => again.of(each)),
        given.map(([address]) => address),
      );
      const newcomer = await again.assign(device(5_000));
      t.notOk(given.flat().includes(newcomer));
      await second.close();
    });

    await t.test('a range of four has two addresses, and a third device gets none', async (t) => {
      const open = prepare(t);
      const book = createAddressBook(await open());
      const addresses = book.range(FOUR);
      const given = await Promise.all([addresses.assign(device(1)), addresses.assign(device(2))]);
      t.strictSame(given, ['127.64.0.1', '127.64.0.2'], 'neither the network nor the broadcast address');
      for (const again of [1, 2]) {
        await t.rejects(addresses.assign(device(3)), { code: 'ADDRESSES_EXHAUSTED' }, `try ${again}`);
      }
      t.equal(addresses.of(device(3)), null);
      t.strictSame(await addresses.assign(device(1)), given[0], 'those that have one keep it');
      await book.close();
      const later = createAddressBook(await open());
      await t.rejects(later.range(FOUR).assign(device(3)), { code: 'ADDRESSES_EXHAUSTED' });
      // A wider range has room, and leaves everybody where he is.
      const wider = later.range(parseAddressRange('127.64.0.0/24'));
      t.strictSame(
        [1, 2].map((n) => wider.of(device(n))),
        given,
      );
      t.equal(await wider.assign(device(3)), '127.64.0.3');
      await later.close();
    });
  });
}

t.test('whatever comes in whatever order, no address is ever two devices', async (t) => {
  const range = parseAddressRange('127.64.0.0/28');
  const step = fc.record({ who: fc.nat(30), fails: fc.boolean(), restart: fc.nat(9).map((n) => n === 0) });
  const found = await fc.check(
    fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
      const kept: Assignment[] = [];
      const told = new Map<DeviceId, string>();
      let fails = false;
      const begin = (): SourceAddresses =>
        createAddressBook({
          kept,
          append(more) {
            if (fails) return Promise.reject(new Error('no room'));
            kept.push(...more);
            return Promise.resolve();
          },
          close: () => Promise.resolve(),
        }).range(range, ['127.64.0.3']);
      let addresses = begin();
      for (const { who, fails: failing, restart } of steps) {
        if (restart) addresses = begin();
        fails = failing;
        const address = await addresses.assign(device(who)).catch(() => null);
        const before = told.get(device(who));
        if (before !== undefined && address !== before) return false;
        if (address !== null) told.set(device(who), address);
      }
      const all = [...told.values()];
      return (
        new Set(all).size === all.length &&
        all.length <= 13 &&
        all.every(
          (each) => each !== '127.64.0.3' && numberOf(each) >= range.first && numberOf(each) <= range.last,
        )
      );
    }),
    { numRuns: 200 },
  );
  t.notOk(found.failed, fc.defaultReportMessage(found) ?? '');
});

t.test('nobody is told an address before it is durable', async (t) => {
  const waiting: (() => void)[] = [];
  const book = createAddressBook({
    kept: [],
    append: () => new Promise<void>((resolve) => waiting.push(resolve)),
    close: () => Promise.resolve(),
  });
  const addresses = book.range(WIDE);
  let told = false;
  const given = addresses.assign(device(1)).then((address) => {
    told = true;
    return address;
  });
  await new Promise((resolve) => setImmediate(resolve));
  t.equal(addresses.of(device(1)), null);
  t.equal(book.deviceAt('127.64.0.1'), null);
  t.notOk(told);
  waiting.shift()?.();
  t.equal(await given, '127.64.0.1');
  t.equal(book.deviceAt('127.64.0.1'), device(1));
});

t.test('devices that come together are written together', async (t) => {
  const batches: number[] = [];
  const book = createAddressBook({
    kept: [],
    async append(assignments) {
      batches.push(assignments.length);
      await new Promise((resolve) => setImmediate(resolve));
    },
    close: () => Promise.resolve(),
  });
  const addresses = book.range(WIDE);
  await Promise.all(Array.from({ length: 500 }, (_, n) => addresses.assign(device(n))));
  t.strictSame(batches, [1, 499]);
});

t.test('an address is looked up in the ranges in use only', async (t) => {
  const book = createAddressBook(createMemoryStore([{ address: '127.65.0.1', device: device(1) }]));
  await book.range(WIDE).assign(device(1));
  t.equal(book.deviceAt('127.64.0.1'), device(1));
  for (const other of ['127.65.0.1', '127.64.0.2', '127.0.0.1', '::1', '', 'x']) {
    t.equal(book.deviceAt(other), null, other);
  }
});

const fileIn = (directory: string): string => join(directory, ADDRESSES_FILE);

t.test('the file is text with a line for each device, and half a line at its end is no device', async (t) => {
  const directory = t.testdir();
  const first = createAddressBook(await openFileStore(directory));
  await first.range(WIDE).assign(device(1));
  await first.close();
  t.match(readFileSync(fileIn(directory), 'utf8'), /^# .*\n127\.64\.0\.1 00:1a:e8:00:00:01\n$/);

  appendFileSync(fileIn(directory), '127.64.0.2 00:1a:e8:00:0');
  const second = createAddressBook(await openFileStore(directory));
  t.equal(await second.range(WIDE).assign(device(2)), '127.64.0.2');
  await second.close();
  const third = createAddressBook(await openFileStore(directory));
  t.strictSame(
    [1, 2].map((n) => third.range(WIDE).of(device(n))),
    ['127.64.0.1', '127.64.0.2'],
  );
  await third.close();
});

t.test('a line that an operator took out gives its address back', async (t) => {
  const directory = t.testdir();
  const first = createAddressBook(await openFileStore(directory));
  await Promise.all([1, 2].map((n) => first.range(FOUR).assign(device(n))));
  await first.close();
  const text = readFileSync(fileIn(directory), 'utf8');
  writeFileSync(fileIn(directory), text.replace(/^127\.64\.0\.1 .*\n/m, ''));
  const second = createAddressBook(await openFileStore(directory));
  t.equal(second.range(FOUR).of(device(2)), '127.64.0.2');
  t.equal(await second.range(FOUR).assign(device(3)), '127.64.0.1');
  await second.close();
});

t.test('a file that cannot be true is refused and left as it is', async (t) => {
  for (const [text, message] of [
    ['127.64.0.1\n', /line 1 of .* is not an address and a device id/],
    ['# fine\n\nnobody 00:1a:e8:00:00:01\n', /line 3/],
    ['127.64.0.1 00:1a:e8:00:00:01 more\n', /line 1/],
    [
      '127.64.0.1 00:1a:e8:00:00:01\n127.64.0.1 00:1a:e8:00:00:02\n',
      /gives 127\.64\.0\.1 away a second time/,
    ],
  ] as const) {
    const directory = t.testdir({ [ADDRESSES_FILE]: text });
    await t.rejects(openFileStore(directory), { code: 'FILE_UNREADABLE', message }, text);
    t.equal(readFileSync(fileIn(directory), 'utf8'), text);
  }
  const twice = '127.64.0.1 00:1a:e8:00:00:01\n127.64.0.2 00:1a:e8:00:00:01\n';
  const book = createAddressBook(await openFileStore(t.testdir({ [ADDRESSES_FILE]: twice })));
  t.throws(() => book.range(WIDE), { code: 'FILE_UNREADABLE', message: /has two source addresses/ });
  await book.close();
  await t.rejects(openFileStore(join(t.testdir(), 'missing')), { code: 'FILE_UNWRITABLE' });
});

const elsewhere = process.platform === 'linux' ? false : 'addresses of 127.0.0.0/8 need Linux';

t.test('a range that is none of this machine is refused, with the line that helps', async (t) => {
  await t.rejects(openAddresses(t.testdir(), ['192.0.2.0/24'], []), {
    code: 'ADDRESS_INVALID',
    message: /ip route add local 192\.0\.2\.0\/24 dev lo/,
  });
});

t.test('what is reserved is nobody’s', { skip: elsewhere }, async (t) => {
  const book = await openAddresses(t.testdir(), ['127.64.0.0/24'], ['127.64.0.1', '127.64.0.3']);
  const addresses = book.range(parseAddressRange('127.64.0.0/24'));
  t.equal(await addresses.assign(device(1)), '127.64.0.2');
  t.equal(await addresses.assign(device(2)), '127.64.0.4');
  await book.close();
});

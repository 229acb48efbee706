import { DatabaseSync } from 'node:sqlite';
import fc from 'fast-check';
import t from 'tap';
import { createDeviceIndex } from '../../../relay-client/outbox/device-index.ts';
import { deviceMatcher, withoutSeparators } from '../../../relay-client/outbox/device-search.ts';
import type { DeviceRow } from '../../../relay-client/outbox/rules/rows.ts';
import { SCHEMA } from '../../../relay-client/outbox/schema.ts';
import { createSqliteSearch } from '../../../relay-client/outbox/sqlite-search.ts';
import type { DeviceId } from '../../../shared/device-id.ts';

const CHARACTERS = [...'01a:.-_+'];
const id = fc
  .array(fc.constantFrom(...CHARACTERS), { minLength: 1, maxLength: 8 })
  .map((some) => some.join(''));
const part = fc.array(fc.constantFrom(...CHARACTERS, 'A'), { maxLength: 4 }).map((some) => some.join(''));

t.test('the index finds what going through all finds', (t) => {
  fc.assert(
    fc.property(fc.array(id, { maxLength: 60 }), part, (devices, q) => {
      const index = createDeviceIndex();
      for (const device of devices) index.add(device);
      const fits = [...new Set(devices.filter(deviceMatcher(q)))];
      t.same(index.find(q, devices.length)?.sort(), fits.sort());
      if (fits.length > 0) t.equal(index.find(q, fits.length - 1), null);
    }),
  );
  t.end();
});

t.test('it finds over all its texts, each device once', (t) => {
  const index = createDeviceIndex();
  const all = Array.from({ length: 10_000 }, (_, n) => `00:1a:e8:00:${String(n).padStart(5, '0')}`);
  for (const device of [...all, ...all]) index.add(device);
  for (const device of [all[0]!, all[4_095]!, all[4_096]!, all[9_999]!])
    t.same(index.find(device, 1), [device]);
  t.same(index.find('9999', 9), ['00:1a:e8:00:09999']);
  t.equal(index.find('', 9_999), null);
  t.equal(index.find('', 10_000)?.length, 10_000);
  t.same(index.find('nosuch', 9), []);
  t.end();
});

t.test(
  'a search answers by the index once it has learned all devices, and goes by what is committed',
  (t) => {
    const db = new DatabaseSync(':memory:');
    t.teardown(() => db.close());
    db.exec(SCHEMA);
    const insert = db.prepare('INSERT INTO devices VALUES (?, ?, 1, ?, ?, NULL, NULL)');
    const page = db.prepare('SELECT device FROM devices WHERE device > ? ORDER BY device LIMIT ?');
    const one = db.prepare('SELECT * FROM devices WHERE device = ?');
    const put = (device: string, pending = 1, dead = 0): void => {
      insert.run(device, withoutSeparators(device), pending, dead);
      search.added(device as DeviceId);
    };
    const search = createSqliteSearch({
      page: (after, limit) => page.all(after, limit) as unknown as { device: DeviceId }[],
      device: (device) => one.get(device) as unknown as DeviceRow | undefined,
    });
    const ids = (found: ReturnType<typeof search.scan>) =>
      found === null
        ? null
        : [...found.devices.map(({ device }) => device), ...(found.next === null ? [] : ['more'])];
    const find = (q: string, more: object = {}) => ids(search.scan({ q, limit: 3, ...more }));

    for (let n = 0; n < 12_000; n++) put(`00:1a:e8:00:${String(n).padStart(5, '0')}`);
    search.committed();
    t.equal(search.learn(), false, 'nobody has searched');
    t.equal(find('11999'), null, 'the first one has to go through the rows');
    t.equal(search.learn(), true);
    put('early-11999', 0, 1);
    search.committed();
    t.equal(find('11999'), null, 'half is not enough');
    while (search.learn());
    t.same(find('00:11999'), ['00:1a:e8:00:11999']);
    t.same(find('11999'), ['00:1a:e8:00:11999', 'early-11999'], 'what was learned twice is there once');
    t.same(find('11999', { state: 'dead' }), ['early-11999']);
    t.same(find('11999', { state: 'idle' }), ['early-11999']);
    t.same(find('11999', { state: 'pending' }), ['00:1a:e8:00:11999']);
    t.equal(find('00:1a'), null, 'where thousands fit, rows give a page soon');
    const [first, next, later] = ['00:1a:e8:00:00011', '00:1a:e8:00:00110', '00:1a:e8:00:00111'];
    t.same(find('00011'), [first, next, later, 'more']);
    t.same(find('00011', { cursor: '00:1a:e8:00:01198' }), ['00:1a:e8:00:01199']);
    t.equal(search.scan({ limit: 3 }), null, 'a list without a search is none');
    t.same(ids(search.rank({ q: '11999', order: 'pending', limit: 3 })), [
      'early-11999',
      '00:1a:e8:00:11999',
    ]);
    t.equal(search.rank({ q: '11999', order: 'pending', limit: 3, cursor: 'x' as DeviceId }), null);

    put('gone-11998');
    t.equal(find('11998'), null, 'what is not committed is in the rows alone');
    db.exec("DELETE FROM devices WHERE device = 'gone-11998'");
    search.rolledBack();
    t.same(find('11998'), ['00:1a:e8:00:11998']);
    put('late-11998');
    search.committed();
    t.same(find('11998'), ['00:1a:e8:00:11998', 'late-11998']);
    t.end();
  },
);

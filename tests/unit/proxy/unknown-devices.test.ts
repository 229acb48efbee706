import t from 'tap';
import { createUnknownReports } from '../../../proxy/poll/unknown-reports.ts';
import { createUnknownDevices } from '../../../proxy/unknown-devices.ts';
import type { DeviceId } from '../../../shared/device-id.ts';

const seen = (device: string, at = 1, site = 'hq') => ({
  site,
  device: device as DeviceId,
  at,
  address: '192.0.2.1',
  polls: 1,
});

t.test('the list holds the latest first, each device once with the sum of its polls', async (t) => {
  const unknown = createUnknownDevices();
  unknown.note(seen('a', 1));
  unknown.note(seen('b', 2));
  unknown.note(seen('a', 3));
  unknown.note(seen('a', 4, 'branch'));
  t.match(unknown.list('hq'), [
    { device: 'a', at: 3, polls: 2 },
    { device: 'b', at: 2, polls: 1 },
  ]);
  t.equal(unknown.list().length, 3, 'the same id at another site is another device');
  unknown.forget('hq', 'a' as DeviceId);
  t.match(unknown.list('hq'), [{ device: 'b' }]);
});

t.test('each device is news once after it polled, however late a worker tells of it', async (t) => {
  const unknown = createUnknownDevices();
  unknown.note(seen('a', 5));
  t.match(unknown.news('hq'), [{ device: 'a' }]);
  unknown.note(seen('late', 4));
  t.match(unknown.news('hq'), [{ device: 'late', at: 4 }]);
  t.same(unknown.news('hq'), []);
  unknown.note(seen('a', 6));
  unknown.note(seen('b', 6, 'branch'));
  t.match(unknown.news('hq'), [{ device: 'a', polls: 2 }]);
  t.match(unknown.news('branch'), [{ device: 'b' }], 'each site is told by itself');
  t.equal(unknown.list().length, 3, 'to be told takes nothing off the list');
});

t.test('a flood of made-up ids pushes out the oldest and takes no more room', async (t) => {
  const unknown = createUnknownDevices(10);
  for (let i = 0; i < 1_000; i++) unknown.note(seen(`d${i}`, i));
  t.equal(unknown.list().length, 10);
  t.equal(unknown.list()[0]?.device, 'd999');
});

t.test("a worker's report holds so many devices and is then full until it is taken", async (t) => {
  const reports = createUnknownReports(['hq'], 2);
  for (const device of ['a', 'b', 'c', 'a']) reports.note(0, device, null, 5);
  t.ok(reports.full);
  t.match(reports.take(), [
    { site: 'hq', device: 'a', polls: 2, at: 5, address: null },
    { device: 'b', polls: 1 },
  ]);
  t.notOk(reports.full);
  t.strictSame(reports.take(), []);
});

import t from 'tap';
import { SITE_BYTES } from '../../../proxy/marks-layout.ts';
import {
  createUnknownReports,
  UNKNOWN_RECORDS,
  type NotedPoll,
} from '../../../proxy/poll/unknown-reports.ts';
import { createUnknownDevices } from '../../../proxy/unknown-devices.ts';
import type { DeviceId } from '../../../shared/device-id.ts';

const seen = (device: string, at = 1, site = 'hq') => ({
  site,
  device: device as DeviceId,
  at,
  address: '192.0.2.1',
  polls: 1,
});

const polled = (device: string, site = 0): NotedPoll => {
  const key = Buffer.alloc(SITE_BYTES + device.length);
  key.write(device, SITE_BYTES, 'latin1');
  return { site, key, keyEnd: key.length };
};

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
  for (const device of ['a', 'b', 'c', 'a']) reports.note(polled(device), null, 5, 0);
  t.match(reports.take(), [
    { site: 'hq', device: 'a', polls: 2, at: 5, address: null },
    { device: 'b', polls: 1 },
  ]);
  t.strictSame(reports.take(), []);
});

t.test('known devices come into no report and take no place in it', async (t) => {
  const reports = createUnknownReports(['hq', 'branch'], 50);
  for (let i = 0; i < 2 * UNKNOWN_RECORDS; i++) reports.note(polled(`known${i}`), null, i, 1);
  reports.note(polled('a', 1), '::ffff:192.0.2.7', 1, 0);
  reports.note(polled('known'), null, 2, 1);
  reports.note(polled('a'), null, 3, 0);
  t.strictSame(reports.take(), [
    { site: 'hq', device: 'a', at: 3, address: null, polls: 1 },
    { site: 'branch', device: 'a', at: 1, address: '192.0.2.7', polls: 1 },
  ]);
});

t.test('a worker keeps so many polls for a report and no more', async (t) => {
  const reports = createUnknownReports(['hq'], 50);
  for (let i = 0; i < UNKNOWN_RECORDS + 10; i++) reports.note(polled('a'), null, i, 0);
  reports.note(polled('late'), null, 1, 0);
  t.match(reports.take(), [{ device: 'a', polls: UNKNOWN_RECORDS, at: UNKNOWN_RECORDS - 1 }]);
  reports.note(polled('late'), null, 2, 0);
  t.match(reports.take(), [{ device: 'late', polls: 1, at: 2 }], 'the next report begins empty');
});

t.test("no site's strangers push out those of another, at the door or in the list", async (t) => {
  const reports = createUnknownReports(['flooded', 'quiet'], 3);
  for (let i = 0; i < 2 * UNKNOWN_RECORDS; i++) reports.note(polled(`f${i}`, 0), null, i, 0);
  reports.note(polled('lost', 1), null, 1, 0);
  const seen = reports.take();
  t.equal(seen.filter(({ site }) => site === 'flooded').length, 3, 'the flood fills its own report');
  t.match(
    seen.filter(({ site }) => site === 'quiet'),
    [{ device: 'lost' }],
  );

  const devices = createUnknownDevices(10);
  const note = (site: string, device: string): void =>
    devices.note({ site, device: device as DeviceId, at: 1, address: null, polls: 1 });
  note('quiet', 'lost');
  for (let i = 0; i < 100; i++) note('flooded', `f${i}`);
  t.equal(devices.list('flooded').length, 10);
  t.match(devices.list('quiet'), [{ device: 'lost' }]);
});

import { once } from 'node:events';
import { connect, createServer, type AddressInfo } from 'node:net';
import { networkInterfaces } from 'node:os';
import { Worker } from 'node:worker_threads';
import t from 'tap';
import { until } from '../../../fixtures/faults/until.ts';
import {
  ALWAYS,
  IDLE,
  PENDING,
  SITE,
  exchange,
  poll,
  pollRequest,
  startPollDoor,
} from '../../../fixtures/start-poll-door.ts';

const loopback6 = Object.values(networkInterfaces()).some((list) =>
  list?.some(({ address }) => address === '::1'),
);
const noIPv6 = loopback6 ? false : 'this machine has no IPv6';

t.test('polls are answered from the marks, and a change is seen by the next poll', async (t) => {
  const { marks, ports, door } = await startPollDoor(t);
  const port = ports[0]!;
  t.equal(await poll(port, PENDING), 202);
  t.equal(await poll(port, IDLE), 200);
  t.equal(await poll(port, 'nobody'), 200);
  for (let i = 0; i < 5; i++) {
    marks.set(SITE, IDLE, ALWAYS);
    t.equal(await poll(port, IDLE), 202);
    marks.set(SITE, IDLE, { ...ALWAYS, pending: false });
    t.equal(await poll(port, IDLE), 200);
  }
  t.equal(await poll(port, '%zz'), 400);
  t.match(door.stats(), { answers: { 200: 7, 202: 6, 400: 1 }, connections: { accepted: 14 } });
});

t.test(
  'a door may be for one site; where there is but one, the other doors are polled as ever',
  async (t) => {
    const { ports, door } = await startPollDoor(t, { listeners: [{}, { site: SITE }] });
    for (const port of ports) t.equal(await poll(port, PENDING), 202);
    // Phones see the end of a connection a moment before the door counts it.
    await until('nobody is there any more', () => door.siteStats(SITE).open === 0);
    t.same(door.siteStats(SITE), { 200: 0, 202: 2, open: 0, refused: 0 });
    await t.rejects(startPollDoor(t, { listeners: [{ site: 'nobody' }] }), { code: 'CONFIG_INVALID' });
  },
);

t.test('several workers share the port, the marks and the counting', async (t) => {
  const { marks, ports, door } = await startPollDoor(t, { workers: 3, listeners: [{}, {}] });
  t.equal(door.stats().workers.running, 3);
  const statuses = await Promise.all(Array.from({ length: 60 }, (_, i) => poll(ports[i % 2]!, PENDING)));
  t.ok(statuses.every((status) => status === 202));
  t.equal(door.stats().answers[202], 60);
  marks.set(SITE, PENDING, { ...ALWAYS, pending: false });
  const after = await Promise.all(Array.from({ length: 60 }, () => poll(ports[0]!, PENDING)));
  t.ok(
    after.every((status) => status === 200),
    'all workers see a change at once',
  );
});

t.test('marks that outgrow their table are seen by every worker', async (t) => {
  const { marks, ports } = await startPollDoor(t, { workers: 2 });
  for (let i = 0; i < 3_000; i++) marks.set(SITE, `n${i}` as never, ALWAYS);
  t.ok(marks.stats().rebuilds > 0);
  const statuses = await Promise.all(Array.from({ length: 40 }, (_, i) => poll(ports[0]!, `n${i * 70}`)));
  t.ok(statuses.every((status) => status === 202));
});

t.test('what has polled is told by a scan', async (t) => {
  const { marks, ports } = await startPollDoor(t);
  await poll(ports[0]!, PENDING);
  await poll(ports[0]!, IDLE);
  const seen = new Map<string, number>();
  await until('both are told', () => {
    for (const { device, status } of [...marks.scan()].flat()) seen.set(device, status);
    return seen.size >= 2;
  });
  t.strictSame(Object.fromEntries(seen), { [PENDING]: 202, [IDLE]: 200 });
});

t.test('unknown devices are reported, each once a second with the number of its polls', async (t) => {
  const reported = Promise.withResolvers<void>();
  const { unknown, ports, door } = await startPollDoor(t, {
    limits: { unknownReports: 2 },
    onUnknown: () => reported.resolve(),
  });
  const requests = ['x', 'y', 'z', 'x'].map((device) => pollRequest(device)).join('');
  await exchange(ports[0]!, requests + pollRequest(IDLE, 'Connection: close\r\n'));
  await reported.promise;
  t.match(unknown, [
    { site: SITE, device: 'x', address: '127.0.0.1' },
    { site: SITE, device: 'y' },
  ]);
  t.equal(unknown.length, 2, 'more than the limit are only counted');
  t.match(door.stats().unknown, { polls: 4, reported: 2 });
});

t.test('a door on [::] answers both families and tells their networks apart', { skip: noIPv6 }, async (t) => {
  const listen = { host: '::', port: 0 };
  const { ports } = await startPollDoor(t, {
    listeners: [
      { listen },
      { listen, allow: ['127.0.0.0/8'] },
      { listen, allow: ['::1'] },
      { listen: { host: '::1', port: 0 } },
    ],
  });
  const answers = async (host: string): Promise<(number | null)[]> =>
    Promise.all(ports.slice(0, 3).map((port) => poll(port, PENDING, host)));
  t.strictSame(await answers('127.0.0.1'), [202, 202, null]);
  t.strictSame(await answers('::1'), [202, null, 202]);
  t.equal(await poll(ports[3]!, PENDING, '::1'), 202);
});

t.test('an occupied port is named, whoever has it', async (t) => {
  const other = createServer();
  t.teardown(() => other.close());
  other.listen({ port: 0, host: '127.0.0.1', reusePort: true });
  await once(other, 'listening');
  const listen = { host: '127.0.0.1', port: (other.address() as AddressInfo).port };
  for (const workers of [1, 2]) {
    await t.rejects(startPollDoor(t, { workers, listeners: [{}, { listen }] }), {
      code: 'ADDRESS_IN_USE',
      message: new RegExp(`127.0.0.1:${listen.port}: another program`),
    });
  }
  await t.rejects(startPollDoor(t, { listeners: [{ listen: { host: '192.0.2.1', port: 0 } }] }), {
    code: 'ADDRESS_INVALID',
    message: /192.0.2.1:0.*no such address/,
  });
});

t.test('a site without marks, and a prefix of two sites, are mistakes of the config', async (t) => {
  await t.rejects(startPollDoor(t, { sites: [{ name: 'else', pollPrefixes: null }] }), {
    code: 'CONFIG_INVALID',
  });
});

t.test('a worker that dies is replaced, and the door goes on', async (t) => {
  const started: Worker[] = [];
  const again = Promise.withResolvers<void>();
  const { ports, door, marks } = await startPollDoor(t, {
    workers: 2,
    startWorker(url, options) {
      const worker = new Worker(url, options);
      started.push(worker);
      if (started.length === 3) worker.once('message', () => again.resolve());
      return worker;
    },
  });
  const kept = connect(ports[0]!, '127.0.0.1');
  kept.on('error', () => undefined);
  kept.write(pollRequest(PENDING));
  await once(kept, 'data');
  await started[0]!.terminate();
  await started[1]!.terminate();
  t.equal(door.stats().connections.open, 0, 'its connections are gone');
  await again.promise;
  marks.set(SITE, IDLE, ALWAYS);
  t.equal(await poll(ports[0]!, IDLE), 202, 'on the same port, with the present marks');
  t.equal(door.stats().workers.replaced, 2);
  t.equal(door.stats().answers[202], 2, 'what was counted stays');
});

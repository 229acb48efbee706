import { once } from 'node:events';
import { connect } from 'node:net';
import t from 'tap';
import { startBulk, startBulkUpstream } from '../fixtures/bulk.ts';
import { until } from '../fixtures/faults/until.ts';
import { startGate } from '../fixtures/gate.ts';
import { phoneAt } from '../fixtures/phone-at.ts';

const DOWNLOADS = 4;
const SLOW = 50;
/** At a time, each opened anew once it was let in. */
const NEWCOMERS = 8;
const POLLS = 600;
const DEVICE = '00:1A:E8:7F:00:01';

t.test('bulk and sessions at all doors keep no poll, no session and no push from its end', async (t) => {
  const upstream = await startBulkUpstream(t);
  const gate = await startGate(t, {
    logLevel: 'info',
    proxy: {
      doors: ['wpi', 'bulk'].map((name) => ({ name, service: name, listen: '127.0.0.1:0', tls: 'relay' })),
    },
    services: [{ name: 'bulk', kind: 'tcp', upstream: upstream.address }],
  });
  const port = Number(gate.doors['bulk']?.split(':').at(-1));
  const fast = Array.from({ length: DOWNLOADS }, () => startBulk(port, 'download'));
  const upload = startBulk(port, 'upload');
  const slow = Array.from({ length: SLOW }, () => startBulk(port, 'download slowly'));
  const bulk = [...fast, upload, ...slow];
  t.teardown(() => bulk.forEach((each) => each.close()));
  await until('all of it moves', () => bulk.every((each) => each.bytes() > 0));
  const before = bulk.map((each) => each.bytes());

  let going = true;
  const came = { letIn: 0, cut: 0 };
  /** Connections that come and go at the door, a stream of the link each. */
  const newcomers = Array.from({ length: NEWCOMERS }, async () => {
    while (going) {
      const socket = connect({ host: '127.0.0.1', port });
      socket.on('error', () => undefined);
      socket.write('D');
      const first = await Promise.race([
        once(socket, 'data').then(() => 'letIn' as const),
        once(socket, 'close').then(() => 'cut' as const),
      ]);
      came[first] += 1;
      socket.destroy();
    }
  });

  const statuses = new Map<number, number>();
  for (let n = 0; n < POLLS; n += 20) {
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, i) => gate.poll(`00:1A:E8:7F:01:${(i + 16).toString(16)}`)),
    );
    for (const status of answers) statuses.set(status, (statuses.get(status) ?? 0) + 1);
  }
  t.same([...statuses], [[200, POLLS]], 'every poll is answered');

  const phone = phoneAt(t, gate, DEVICE);
  void gate.service.enqueue(DEVICE, [{ action: 'WriteItems', items: { realm: 'busy' } }]);
  const pushed = await gate.call('POST', `/v1/devices/${DEVICE}/messages?wait=proxy`, {});
  t.equal(pushed.status, 201);
  await gate.polls(DEVICE, 202);
  t.match(await phone.openSession('solicited'), { outcome: 'completed' }, 'a session comes to its end');
  await gate.polls(DEVICE, 200);

  going = false;
  await Promise.all(newcomers);
  t.ok(came.letIn > NEWCOMERS, `${came.letIn} connections came and went`);
  t.equal(came.cut, 0, 'none of them was refused');
  await until('all of it has moved on', () => bulk.every((each, i) => each.bytes() > (before[i] ?? 0)));
  t.notOk(
    bulk.some((each) => each.over()),
    'none of it was cut',
  );
  const down = [...gate.relay.lines, ...gate.proxy.lines].filter(({ msg }) =>
    /link (down|closed)/.test(String(msg)),
  );
  t.same(down, [], 'and the link stood');
});

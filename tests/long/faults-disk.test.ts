import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import t from 'tap';
import type { Test } from 'tap';
import { tamper, whyNoStrace } from '../fixtures/faults/strace.ts';
import { until } from '../fixtures/faults/until.ts';
import { startGate } from '../fixtures/gate.ts';
import type { Gate } from '../fixtures/gate.ts';
import { phoneAt } from '../fixtures/phone-at.ts';
import { mountSmallDisk, noMounting } from '../fixtures/small-disk.ts';
import { macAfter } from '../phones/index.ts';

const HELD = '00:1A:E8:78:00:01';
const FIRST_MAC = '00:1A:E8:79:00:01';
const WRITE = { action: 'WriteItems', items: { realm: 'disk' } } as const;

const push = (gate: Gate, device: string) =>
  gate.call('POST', `/v1/devices/${device}/messages?wait=proxy`, {});

t.test('a disk that fails', { skip: whyNoStrace() }, async (t) => {
  const gate = await startGate(t, { logLevel: 'info' });
  t.equal((await push(gate, HELD)).status, 201);
  let devices = 0;

  for (const [what, inject] of Object.entries({
    'a sync': 'fsync,fdatasync:error=EIO:when=1',
    'a write': 'pwrite64:error=EIO:when=3',
  })) {
    await t.test(`${what} that ends in EIO ends the relay, which says so; nobody was told yes`, async (t) => {
      const device = macAfter(FIRST_MAC, devices++);
      const { relay } = gate;
      const tampering = await tamper(relay.pid, inject, { file: join(gate.dir, 'strace') });
      const answer = await push(gate, device).catch(() => null);
      t.equal(await relay.exited, 1, 'it ends, with 1');
      await tampering.end();
      t.match(tampering.calls()[0], /EIO .*INJECTED/, 'the call failed indeed');
      t.not(answer?.status, 201, 'the push was not accepted');
      const last = relay.lines.at(-1);
      t.match(last?.msg, /the outbox failed; ending at once/);
      t.match(last?.['why'], /The disk under the outbox in .* failed/, 'its last line says why');
      await gate.polls(HELD, 200);
      await gate.startRelay();
      await gate.polls(HELD, 202);
      const { status, body } = await gate.call('GET', `/v1/devices/${device}`);
      // What was never answered may be there, but then it is there whole.
      t.equal(await gate.poll(device), status === 200 && body['pending'] === 1 ? 202 : 200);
      t.equal((await push(gate, device)).status, 201, 'and pushes are taken again');
      await gate.polls(device, 202);
    });
  }

  await t.test('a write that ends in ENOSPC refuses that push, and only that', async (t) => {
    const device = macAfter(FIRST_MAC, devices++);
    const file = join(gate.dir, 'strace');
    const tampering = await tamper(gate.relay.pid, 'pwrite64:error=ENOSPC:when=2', { file });
    const { status, body } = await push(gate, device);
    await tampering.end();
    t.match(tampering.calls()[0], /ENOSPC .*INJECTED/, 'the call failed indeed');
    t.equal(status, 507);
    t.equal(body['code'], 'OUTBOX_STORAGE');
    t.equal((await gate.call('GET', `/v1/devices/${device}`)).status, 404, 'nothing of it is there');
    t.equal((await push(gate, device)).status, 201, 'the next one is taken');
    await gate.polls(device, 202);
  });
});

t.test(
  'a full disk refuses pushes and nothing else, and is over when there is room',
  { skip: noMounting },
  async (t) => {
    const disk = mountSmallDisk(t, 'size=3m');
    const gate = await startGate(t, { logLevel: 'info', relay: { outbox: { path: join(disk, 'outbox') } } });
    const phone = phoneAt(t, gate, HELD);
    t.equal((await phone.start())?.outcome, 'completed');
    const work = gate.service.enqueue(HELD, [WRITE]);
    const accepted: string[] = [String((await push(gate, HELD)).body['id'])];

    const filler = join(disk, 'filler');
    try {
      writeFileSync(filler, Buffer.alloc(4 * 1024 * 1024));
    } catch (error) {
      t.equal((error as NodeJS.ErrnoException).code, 'ENOSPC', 'the disk is full');
    }
    let refused: { status: number; body: Record<string, unknown> } | null = null;
    for (let n = 0; n < 2_000 && refused === null; n += 1) {
      const answer = await gate.call('POST', `/v1/devices/${macAfter(FIRST_MAC, 100 + n)}/messages`, {});
      if (answer.status === 201) accepted.push(String(answer.body['id']));
      else refused = answer;
    }
    t.match(refused, { status: 507, body: { code: 'OUTBOX_STORAGE' } }, `refused after ${accepted.length}`);

    t.equal((await phone.pollNow()).status, 202, 'polls go on');
    await until('the session is over', () => phone.counts.sessions >= 2);
    t.equal((await work)[0]?.status, 'accepted', 'so do sessions, up to the service');
    t.equal((await gate.call('GET', `/v1/messages/${accepted[0]}`)).status, 200, 'and questions');

    rmSync(filler);
    const after = macAfter(FIRST_MAC, 99);
    await until('pushes are taken again', async () => (await push(gate, after)).status === 201);
    await gate.polls(after, 202);
    const states = await Promise.all(
      accepted.slice(1).map(async (id) => (await gate.call('GET', `/v1/messages/${id}`)).body['state']),
    );
    t.ok(
      states.every((state) => state === 'held'),
      `each of ${accepted.length} that were accepted is there`,
    );
    // The session that could not be noted is offered once more, and then it is over.
    const state = async (): Promise<unknown> =>
      (await gate.call('GET', `/v1/messages/${accepted[0]}`)).body['state'];
    if ((await state()) === 'held') {
      await gate.polls(HELD, 202);
      t.equal((await phone.openSession('solicited')).outcome, 'completed');
    }
    await until('its message is cleared', async () => (await state()) === 'cleared');
    await gate.polls(HELD, 200);
    t.equal(await gate.relay.stop(), 0, 'the relay has lived through it');
  },
);

/** Descriptors that a program may have: enough to start and serve a few phones. */
const FILES = 90;
/** Connections that come all at once. */
const CROWD = 300;

async function crowd(t: Test, address: string): Promise<Socket[]> {
  const [host = '', port = ''] = address.split(':');
  const sockets = Array.from({ length: CROWD }, () => {
    const socket = connect({ host, port: Number(port) });
    socket.on('error', () => undefined);
    return socket;
  });
  t.teardown(() => sockets.forEach((socket) => socket.destroy()));
  await until('all have been tried', () => sockets.every((socket) => !socket.connecting));
  return sockets;
}

const openFiles = (limits: string): string => /Max open files\s+(\d+)/.exec(limits)?.[1] ?? '';

t.test('descriptors that run out', { skip: process.platform !== 'linux' && 'needs Linux' }, async (t) => {
  const few = ['sh', '-c', `ulimit -n ${FILES}; exec "$@"`, 'sh'];
  const gate = await startGate(t, { logLevel: 'info', wrap: { proxy: few, relay: few } });
  t.equal((await push(gate, HELD)).status, 201);
  await gate.polls(HELD, 202);
  for (const program of ['proxy', 'relay'] as const) {
    t.equal(openFiles(readFileSync(`/proc/${gate[program].pid}/limits`, 'utf8')), String(FILES));
  }
  const doors = {
    "the proxy's poll door": ['proxy', new URL(gate.pollUrl).host],
    "the proxy's session door": ['proxy', new URL(gate.phoneService).host],
    "the relay's API": ['relay', new URL(gate.api).host],
  } as const;
  let crowds = 3_000;
  for (const [door, [name, address]] of Object.entries(doors)) {
    await t.test(`${door}: the ${name} goes on, and recovers when they are free again`, async (t) => {
      const sockets = await crowd(t, address);
      const closed = (): number => sockets.filter(({ destroyed }) => destroyed).length;
      await until('no descriptor is left, so the rest is turned away', () => closed() >= CROWD - FILES);
      t.pass(`${closed()} of ${CROWD} were turned away`);
      sockets.forEach((socket) => socket.destroy());
      await until('polls are answered', async () => (await gate.poll(HELD).catch(() => 0)) === 202);
      const device = macAfter(FIRST_MAC, crowds++);
      await until('pushes are taken', async () => {
        const answer = await push(gate, device).catch(() => null);
        return answer?.status === 201 || answer?.status === 200;
      });
      await gate.polls(device, 202);
      const phone = phoneAt(t, gate, device);
      t.equal((await phone.openSession('start-up')).outcome, 'completed', 'and sessions go through');
      await gate.call('DELETE', `/v1/devices/${device}/messages`);
    });
  }
  t.equal(await gate.relay.stop(), 0, 'the relay ends in order');
  t.equal(await gate.proxy.stop(), 0, 'so does the proxy');
});

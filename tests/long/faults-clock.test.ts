import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import type { Test } from 'tap';
import { createFakeTime, whyNoFakeTime } from '../fixtures/faults/fake-time.ts';
import { until } from '../fixtures/faults/until.ts';
import { startGate } from '../fixtures/gate.ts';
import type { Gate } from '../fixtures/gate.ts';
import { macAfter } from '../phones/index.ts';

const FIRST_MAC = '00:1A:E8:7B:00:01';
const HOUR_S = 3600;
const DAY_MS = 86_400_000;
/** Long enough to be pushed and polled for in time on a busy machine. */
const SHORT_S = 8;
const JUMPS: Record<string, (wall: number) => boolean> = {
  '+1d': (wall) => wall > Date.now() + DAY_MS / 2,
  '-1d': (wall) => wall < Date.now() - DAY_MS / 2,
  '@1970-01-02 00:00:00': (wall) => wall < 10 * DAY_MS,
};

interface Shown {
  id: string;
  state: string;
  accepted_at: string;
  expires_at: string;
}

const push = async (t: Test, gate: Gate, device: string, ttl: number): Promise<Shown> => {
  const pushed = await gate.call('POST', `/v1/devices/${device}/messages?wait=proxy`, { ttl_s: ttl });
  t.equal(pushed.status, 201);
  return shown(gate, String(pushed.body['id']));
};
const shown = async (gate: Gate, id: string): Promise<Shown> =>
  (await gate.call('GET', `/v1/messages/${id}`)).body as unknown as Shown;

t.test('a wall clock that jumps', { skip: whyNoFakeTime() }, async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'fake-time-'));
  t.teardown(() => rmSync(dir, { recursive: true }));
  const time = createFakeTime(join(dir, 'time'));
  let devices = 0;
  const nextDevice = (): string => macAfter(FIRST_MAC, devices++);
  const gate = await startGate(t, { logLevel: 'info', wrap: { relay: time.wrap } });

  for (const [jump, happened] of Object.entries(JUMPS)) {
    await t.test(`${jump} while the relay runs: times to live do not notice`, async (t) => {
      time.set('+0d');
      const lasting = nextDevice();
      const brief = nextDevice();
      const held = await push(t, gate, lasting, HOUR_S);
      await gate.polls(lasting, 202);
      time.set(jump);
      const began = performance.now();
      const short = await push(t, gate, brief, SHORT_S);
      t.ok(
        happened(Date.parse(short.accepted_at)),
        `the clock jumped indeed: accepted at ${short.accepted_at}`,
      );
      await gate.polls(brief, 202);
      await until('the brief one has expired', async () => (await shown(gate, short.id)).state === 'expired');
      const lived = performance.now() - began;
      t.ok(lived >= SHORT_S * 1000 - 50, `it lived for ${Math.round(lived)} ms`);
      await gate.polls(brief, 200);
      t.equal((await shown(gate, held.id)).state, 'held', 'the lasting one is held');
      t.equal(await gate.poll(lasting), 202);
    });
  }

  await t.test('back by a day across a restart: nothing lives longer than it had left', async (t) => {
    time.set('+0d');
    const device = nextDevice();
    const { id } = await push(t, gate, device, HOUR_S);
    t.equal(await gate.relay.stop(), 0);
    time.set('-1d');
    await gate.startRelay();
    const after = await shown(gate, id);
    t.equal(after.state, 'held');
    const probe = await push(t, gate, nextDevice(), HOUR_S);
    t.ok(JUMPS['-1d']?.(Date.parse(probe.accepted_at)), 'the clock jumped indeed');
    const left = Date.parse(after.expires_at) - Date.parse(probe.accepted_at);
    t.ok(left <= HOUR_S * 1000 + 1000, `it has ${Math.round(left / 1000)} s left`);
    t.ok(left > (HOUR_S - 120) * 1000, 'and loses none of it');
    await gate.polls(device, 202);
  });

  await t.test('in 1970 at the first start, and set right before the next: nothing is over', async (t) => {
    const time = createFakeTime(join(dir, 'unset'));
    time.set('@1970-01-02 00:00:00');
    const gate = await startGate(t, { logLevel: 'info', wrap: { relay: time.wrap } });
    const device = nextDevice();
    const pushed = await push(t, gate, device, HOUR_S);
    t.ok(Date.parse(pushed.accepted_at) < 10 * DAY_MS, 'the clock was not set');
    t.equal(await gate.relay.stop(), 0);
    time.set('+0d');
    await gate.startRelay();
    const after = await shown(gate, pushed.id);
    const left = Date.parse(after.expires_at) - Date.now();
    t.equal(after.state, 'held');
    t.ok(left > (HOUR_S - 120) * 1000 && left <= HOUR_S * 1000, `it has ${Math.round(left / 1000)} s left`);
    await gate.polls(device, 202);
  });

  await t.test(
    'ahead by a day while the relay ran, and set right: the next start ends nothing',
    async (t) => {
      time.set('+1d');
      const device = nextDevice();
      const { id } = await push(t, gate, device, HOUR_S);
      time.set('+0d');
      await push(t, gate, nextDevice(), HOUR_S);
      t.equal(await gate.relay.stop(), 0);
      await gate.startRelay();
      t.equal((await shown(gate, id)).state, 'held');
      await gate.polls(device, 202);
      time.set('-1d');
      const early = await push(t, gate, nextDevice(), HOUR_S);
      time.set('+0d');
      await push(t, gate, nextDevice(), HOUR_S);
      t.equal(await gate.relay.stop(), 0);
      await gate.startRelay();
      t.equal((await shown(gate, early.id)).state, 'held', 'nor where it was behind');
    },
  );

  await t.test(
    'forward by a day across a restart: what is past its time has expired, the rest is held',
    async (t) => {
      // A clock that was never ahead before.
      const time = createFakeTime(join(dir, 'ahead'));
      const gate = await startGate(t, { logLevel: 'info', wrap: { relay: time.wrap } });
      const brief = nextDevice();
      const lasting = nextDevice();
      const short = await push(t, gate, brief, HOUR_S);
      const held = await push(t, gate, lasting, 7 * 24 * HOUR_S);
      t.equal(await gate.relay.stop(), 0);
      time.set('+1d');
      await gate.startRelay();
      await until('it has expired', async () => (await shown(gate, short.id)).state === 'expired');
      await gate.polls(brief, 200);
      t.equal((await shown(gate, held.id)).state, 'held');
      await gate.polls(lasting, 202);
    },
  );
});

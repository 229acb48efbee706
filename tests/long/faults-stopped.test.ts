// runs alone: it measures how soon a stopped program is missed
import { connect } from 'node:net';
import { fileURLToPath } from 'node:url';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import t from 'tap';
import type { Test } from 'tap';
import { stateOf, tamper, whyNoStrace } from '../fixtures/faults/strace.ts';
import { long, until } from '../fixtures/faults/until.ts';
import { PATIENCE_MS } from '../fixtures/until.ts';
import { startGate } from '../fixtures/gate.ts';
import type { Gate } from '../fixtures/gate.ts';
import { startProcess } from '../fixtures/program.ts';
import type { Program } from '../fixtures/program.ts';
import { phoneAt } from '../fixtures/phone-at.ts';

t.jobs = 4;

const PLAIN_SERVICE = fileURLToPath(new URL('../fixtures/services/plain-main.ts', import.meta.url));
/** Past the seven seconds of silence after which a link is given up. */
const STOPPED_MS = long ? 60_000 : 9_000;
const PROMISED_MS = 10_000;
/** The main thread hangs for so long that a busy machine, too, finds it so after polls have turned. */
const HANG_MS = STOPPED_MS + 11_000;
const DEVICE = '00:1A:E8:7A:00:01';
const OTHER = '00:1A:E8:7A:00:02';
const LATER = '00:1A:E8:7A:00:03';
const linux = process.platform === 'linux' ? false : 'needs /proc';

const push = async (t: Test, gate: Gate, device: string): Promise<string> => {
  const { status, body } = await gate.call('POST', `/v1/devices/${device}/messages?wait=proxy`, {});
  t.equal(status, 201);
  return String(body['id']);
};
const messageState = async (gate: Gate, id: string): Promise<unknown> =>
  (await gate.call('GET', `/v1/messages/${id}`)).body['state'];

/** Stops a program, does the rest, and lets it go on when it has been stopped for long enough. */
async function stopped(t: Test, program: Program, meanwhile: () => Promise<void>): Promise<void> {
  const began = performance.now();
  program.signal('SIGSTOP');
  try {
    await until('it is stopped', () => stateOf(program.pid) === 'T');
    await meanwhile();
    await pause(Math.max(0, STOPPED_MS - (performance.now() - began)));
    t.equal(stateOf(program.pid), 'T', 'it was stopped all the while');
  } finally {
    program.signal('SIGCONT');
  }
}

t.test(
  'a stopped relay: its site is 200 within 10 s, and all is there afterwards',
  { skip: linux, buffered: true },
  async (t) => {
    const gate = await startGate(t, { logLevel: 'info' });
    const id = await push(t, gate, DEVICE);
    await gate.polls(DEVICE, 202);
    await stopped(t, gate.relay, async () => {
      const began = performance.now();
      await gate.polls(DEVICE, 200, PATIENCE_MS);
      const ms = Math.round(performance.now() - began);
      t.ok(ms <= PROMISED_MS, `polls turned to 200 after ${ms} ms`);
    });
    await gate.polls(DEVICE, 202);
    t.equal(await messageState(gate, id), 'held');
    await push(t, gate, OTHER);
    await gate.polls(OTHER, 202);
  },
);

t.test(
  'a stopped proxy: what it wakes up with is not believed',
  { skip: linux, buffered: true },
  async (t) => {
    const gate = await startGate(t, { logLevel: 'info' });
    await push(t, gate, DEVICE);
    await push(t, gate, OTHER);
    await gate.polls(DEVICE, 202);
    const asked: Promise<string>[] = [];
    await stopped(t, gate.proxy, async () => {
      await gate.relay.line(({ msg }) => msg === 'link down');
      t.equal((await gate.call('DELETE', `/v1/devices/${DEVICE}/messages`)).status, 200);
      t.equal((await gate.call('POST', `/v1/devices/${LATER}/messages`, {})).status, 201, 'pushes are taken');
      // The system takes the connection in place of the stopped proxy, which finds the poll when it wakes up.
      for (let n = 0; n < 20; n += 1) asked.push(pollRaw(gate, DEVICE));
    });
    const answers = await Promise.all(asked);
    t.strictSame(new Set(answers), new Set(['200']), 'what was cleared meanwhile is not offered');
    await gate.polls(OTHER, 202);
    await gate.polls(LATER, 202);
    t.equal(await gate.poll(DEVICE), 200);
  },
);

t.test(
  'a proxy whose main thread hangs: polls turn to 200 by themselves',
  { skip: whyNoStrace(), buffered: true },
  async (t) => {
    const gate = await startGate(t, { logLevel: 'info' });
    await push(t, gate, DEVICE);
    await gate.polls(DEVICE, 202);
    const hang = `epoll_pwait:delay_enter=${HANG_MS * 1000}:when=1`;
    const file = join(gate.dir, 'strace');
    const began = performance.now();
    const tampering = await tamper(gate.proxy.pid, hang, { file, threads: 'main' });
    await gate.polls(DEVICE, 200, PATIENCE_MS);
    const ms = Math.round(performance.now() - began);
    t.ok(ms <= PROMISED_MS, `polls turned to 200 after ${ms} ms`);
    const answered = await fetch(`${gate.ops}/healthz`, { signal: AbortSignal.timeout(500) }).catch(
      () => null,
    );
    t.equal(answered, null, 'the main thread answers nothing');
    await gate.polls(DEVICE, 202, HANG_MS + PATIENCE_MS);
    await tampering.end();
    t.match(tampering.calls()[0], /epoll_pwait.*DELAYED/, 'the thread hung indeed');
  },
);

t.test(
  'a stopped service: the session that met it goes on, and nothing is lost',
  { skip: linux, buffered: true },
  async (t) => {
    const service = await startProcess('plain-service', [
      process.execPath,
      PLAIN_SERVICE,
      '--port',
      '0',
      '--no-tls',
    ]);
    t.teardown(() => service.stop());
    const gate = await startGate(t, {
      logLevel: 'info',
      service: { tls: false },
      wpi: { upstream: String(service.ready['service']) },
    });
    const phone = phoneAt(t, gate, DEVICE, {
      answerTimeoutMs: STOPPED_MS + PATIENCE_MS,
    });
    t.equal((await phone.start())?.outcome, 'completed');
    const id = await push(t, gate, DEVICE);
    await gate.polls(DEVICE, 202);
    let session: Promise<{ outcome: string; status?: number }> | undefined;
    await stopped(t, service, async () => {
      session = phone.openSession('solicited');
      await push(t, gate, OTHER);
      t.match(await messageState(gate, id), /held|in_session/);
    });
    const { outcome, status } = (await session) ?? { outcome: 'none' };
    // A service that is stopped for a minute is past what an answer may take.
    if (status !== 504) t.equal(outcome, 'completed');
    else {
      await gate.polls(DEVICE, 202);
      t.equal((await phone.openSession('solicited')).outcome, 'completed');
    }
    await until('its message is cleared', async () => (await messageState(gate, id)) === 'cleared');
    await gate.polls(DEVICE, 200);
    await gate.polls(OTHER, 202);
  },
);

/** A poll that waits for its answer as long as it takes; resolves to the status. */
function pollRaw(gate: Gate, device: string): Promise<string> {
  const { hostname, port } = new URL(gate.pollUrl);
  return new Promise((resolve, reject) => {
    const socket = connect({ host: hostname, port: Number(port) });
    socket.write(
      `GET /dcmp/contact-me?device-id=${device} HTTP/1.1\r\nHost: ${hostname}\r\nConnection: close\r\n\r\n`,
    );
    let text = '';
    socket.on('data', (chunk: Buffer) => (text += chunk.toString('latin1')));
    socket.once('error', reject);
    socket.once('close', () => resolve(text.split(' ')[1] ?? 'none'));
  });
}

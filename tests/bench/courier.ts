/** Held actions delivered by the relay itself: what a session costs it, and what many at once take. */
import { connect } from 'node:tls';
import type { TLSSocket } from 'node:tls';
import { startGate } from '../fixtures/gate.ts';
import type { Gate, Owner } from '../fixtures/gate.ts';
import { createPhone, macAfter } from '../phones/index.ts';
import { cpuMs, memoryMb } from './cpu.ts';
import { absoluteRow } from './rows.ts';
import type { BenchOptions, BenchRow } from './rows.ts';

const BENCH = 'courier';
const SESSIONS = 500;
const AT_ONCE = 8;
const CPU_MS = { most: 5 };
const CONCURRENT = 1_000;
const MEMORY_MB = { most: 150 };
const FIRST_MAC = '00:1A:E8:A0:00:01';
const ACTIONS = [{ action: 'WriteItems', items: [{ name: 'terminal-name', value: 'lobby' }] }];

export async function run(owner: Owner, options: BenchOptions): Promise<BenchRow[]> {
  const sessionName = 'relay CPU per session of one WriteItems, TLS handshake included';
  const memoryName = `relay memory above idle, ${CONCURRENT.toLocaleString('en')} sessions at once`;
  const rows: BenchRow[] = [];
  if (options.wanted(BENCH, sessionName)) {
    const gate = await start(owner);
    const figures: number[] = [];
    // The first round warms up and is not counted.
    for (let round = 0; round <= options.rounds; round++) {
      options.progress(`round ${round} of ${options.rounds}`);
      const figure = await cpuPerSession(gate, round * SESSIONS);
      if (round > 0) figures.push(figure);
    }
    rows.push(
      absoluteRow({
        bench: BENCH,
        name: sessionName,
        unit: 'ms',
        ours: figures,
        goal: CPU_MS,
        note: `${SESSIONS} sessions a round, ${AT_ONCE} at once, the end on disk included`,
      }),
    );
  }
  if (options.wanted(BENCH, memoryName)) {
    const gate = await start(owner);
    options.progress('opening sessions');
    rows.push(
      absoluteRow({
        bench: BENCH,
        name: memoryName,
        unit: 'MB',
        ours: [await memoryOfSessions(gate, owner)],
        goal: MEMORY_MB,
        note: 'resident, each phone having been sent its WriteItems',
      }),
    );
  }
  return rows;
}

const start = (owner: Owner): Promise<Gate> =>
  startGate(owner, {
    logLevel: 'info',
    proxy: {
      sites: [{ name: 'default', session_gap_s: 0, max_sessions: 1_000_000 }],
      // All phones here have one address.
      limits: { session_connections_per_address: 2 * CONCURRENT },
    },
  });

async function hold(gate: Gate, devices: readonly string[]): Promise<void> {
  const lines = devices.map((device) => JSON.stringify({ device, kind: 'dls', actions: ACTIONS }));
  const pushed = await fetch(`${gate.api}/v1/messages`, {
    method: 'POST',
    headers: { 'content-type': 'application/x-ndjson' },
    body: lines.join('\n'),
  });
  const results = (await pushed.text()).trim().split('\n');
  if (results.some((line) => !line.includes('"status":201'))) throw new Error(results[0]);
  // Nobody calls before it was told to.
  await gate.polls(devices.at(-1) ?? '', 202);
}

async function cpuPerSession(gate: Gate, first: number): Promise<number> {
  const devices = Array.from({ length: SESSIONS }, (_, i) => macAfter(FIRST_MAC, first + i));
  await hold(gate, devices);
  const before = cpuMs([gate.relay.pid]);
  const next = devices.values();
  const caller = async (): Promise<void> => {
    for (const deviceId of next) {
      const phone = createPhone({
        deviceId,
        service: gate.phoneService,
        pollIntervalMs: 0,
        contactListen: false,
      });
      const { actions, failure } = await phone.openSession('solicited');
      await phone.close();
      if (actions.join() !== 'WriteItems,CleanUp') throw new Error(`${actions.join()} ${failure ?? ''}`);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, caller));
  return (cpuMs([gate.relay.pid]) - before) / SESSIONS;
}

async function memoryOfSessions(gate: Gate, owner: Owner): Promise<number> {
  const devices = Array.from({ length: CONCURRENT }, (_, i) => macAfter(FIRST_MAC, i));
  await hold(gate, devices);
  const idle = memoryMb(gate.relay.pid).now;
  const sockets: TLSSocket[] = [];
  owner.teardown(() => sockets.forEach((socket) => socket.destroy()));
  const next = devices.values();
  const caller = async (): Promise<void> => {
    for (const device of next) sockets.push(await openSession(gate, device));
  };
  await Promise.all(Array.from({ length: AT_ONCE }, caller));
  return memoryMb(gate.relay.pid).now - idle;
}

/** A session that has been sent its WriteItems and does not answer. */
function openSession(gate: Gate, device: string): Promise<TLSSocket> {
  const body = `<WorkpointMessage xmlns="http://www.siemens.com/DLS"><Message nonce="${'0'.repeat(32)}" maxItems="-1"><ReasonForContact>solicited</ReasonForContact><ItemList><Item name="mac-addr">${device}</Item></ItemList></Message></WorkpointMessage>`;
  const { hostname, port } = new URL(gate.phoneService);
  return new Promise((resolve, reject) => {
    const socket = connect({ host: hostname, port: Number(port), rejectUnauthorized: false }, () =>
      socket.write(
        `POST /DeploymentService/LoginService HTTP/1.1\r\nHost: dls\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
      ),
    );
    socket.once('error', reject);
    socket.once('data', (answer: Buffer) => {
      if (answer.includes('<Action>WriteItems<')) resolve(socket);
      else reject(new Error(`${device} was answered ${answer.toString('latin1').slice(0, 200)}`));
    });
  });
}

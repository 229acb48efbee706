import { readdir, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import t from 'tap';
import { startGate } from '../fixtures/gate.ts';
import type { Gate, Owner } from '../fixtures/gate.ts';
import { phoneAt } from '../fixtures/phone-at.ts';
import { macAfter } from '../phones/index.ts';
import type { Phone, PhoneOptions } from '../phones/index.ts';
import { until, untilGood } from '../fixtures/until.ts';

const FIRST_MAC = '00:1A:E8:90:00:01';
const write = (name: string, value: string) => ({ action: 'WriteItems', items: [{ name, value }] });

function nthPhone(t: Owner, gate: Gate, n: number, options: Partial<PhoneOptions> = {}): Phone {
  return phoneAt(t, gate, macAfter(FIRST_MAC, n), options);
}

async function hold(gate: Gate, device: string, actions: unknown): Promise<string> {
  const path = `/v1/devices/${device}/messages?wait=proxy`;
  const { status, body } = await gate.call('POST', path, { kind: 'dls', actions });
  if (status !== 201) throw new Error(`a push was answered ${status}: ${JSON.stringify(body)}`);
  return String(body['id']);
}

async function comes(gate: Gate, id: string, state: string): Promise<Record<string, unknown>> {
  const look = async (): Promise<Record<string, unknown>> =>
    (await gate.call('GET', `/v1/messages/${id}`)).body;
  return untilGood(`message ${id} is ${state}`, look, (body) => body['state'] === state);
}

t.test('what is held is polled for and delivered while the service is down', async (t) => {
  const gate = await startGate(t);
  const phone = nthPhone(t, gate, 0);
  const other = nthPhone(t, gate, 1);
  await gate.service.close();
  const call = await gate.call('POST', `/v1/devices/${other.deviceId}/messages?wait=proxy`, {});
  t.equal(call.status, 201);
  await gate.polls(other.deviceId, 200);
  const id = await hold(gate, phone.deviceId, [
    write('terminal-name', 'lobby'),
    { action: 'ReadItems', items: ['terminal-name', 'admin-pwd'] },
  ]);
  await gate.polls(phone.deviceId, 202);
  t.equal((await phone.pollNow()).status, 202);
  const message = await comes(gate, id, 'cleared');
  t.match(message['results'], [
    { action: 'WriteItems', status: 'accepted', items: [{ name: 'terminal-name', status: 'accepted' }] },
    {
      action: 'ReadItems',
      items: [{ value: 'lobby' }, { name: 'admin-pwd', status: 'accepted', withheld: true }],
    },
  ]);
  await gate.polls(phone.deviceId, 200);
  t.equal(await gate.poll(other.deviceId), 200, 'who needs the service is not called');
  const log = JSON.stringify([gate.relay.lines, gate.proxy.lines]);
  t.notOk(log.includes('lobby'), 'no value is logged');
  const outbox = join(dirname(gate.relayConfig), 'outbox');
  const files = await readdir(outbox);
  t.ok(files.includes('outbox.db'));
  for (const file of files) {
    const bytes = await readFile(join(outbox, file));
    t.notOk(bytes.includes('lobby'), `no value is readable in ${file}`);
  }
});

t.test('a relay that is killed again and again loses nothing and ends everything once', async (t) => {
  const gate = await startGate(t);
  const phones = Array.from({ length: 6 }, (_, n) =>
    nthPhone(t, gate, n, { answerTimeoutMs: 2_000, pollIntervalMs: 150, supportsSendSolicited: false }),
  );
  const ids: string[] = [];
  for (const phone of phones) {
    for (let n = 0; n < 3; n++) {
      const actions = [0, 1, 2].map((i) => write(`item-${n}-${i}`, `${n}.${i}`));
      ids.push(await hold(gate, phone.deviceId, [...actions, { action: 'ReadItems', items: ['realm'] }]));
    }
  }
  let writes = 0;
  let killAt = 5;
  let kills = 0;
  let starting: Promise<unknown> | null = null;
  for (const phone of phones) {
    phone.on((event) => {
      if (event.type !== 'items-written' || ++writes < killAt || kills >= 3 || starting !== null) return;
      kills += 1;
      gate.relay.signal('SIGKILL');
      starting = gate.relay.exited
        .then(() => gate.startRelay())
        .then(() => {
          killAt = writes + 8;
          starting = null;
        });
    });
  }
  await Promise.all(phones.map((phone) => phone.start({ startUp: false })));
  const allDone = async (): Promise<boolean> => {
    if (starting !== null) await starting;
    const { body } = await gate.call('GET', '/v1/status').catch(() => ({ body: {} as never }));
    const outbox = body['outbox'] as { held: number } | undefined;
    return kills >= 3 && outbox?.held === 0;
  };
  await until('both were killed, and all phones are served', allDone, 120_000);

  const { body } = await gate.call('GET', '/v1/status');
  t.match(body['outbox'], { accepted: 18, held: 0, ended: { cleared: 18, dead: 0, expired: 0 } });
  for (const id of ids) {
    const message = await gate.call('GET', `/v1/messages/${id}`);
    t.match(message.body, { state: 'cleared', ended_by: 'courier' });
    t.match(message.body['results'], Array(4).fill({ status: 'accepted' }) as object[]);
  }
  for (const phone of phones) {
    const { body } = await gate.call('GET', `/v1/devices/${phone.deviceId}`);
    const history = body['history'] as { event: string; message: string | null }[];
    const ends = history.filter(({ event }) => event === 'cleared').map((entry) => entry.message);
    t.equal(ends.length, 3);
    t.equal(new Set(ends).size, 3, 'each ended once');
    for (const n of [0, 1, 2]) {
      for (const i of [0, 1, 2]) t.equal(phone.items.get(`item-${n}-${i}`), `${n}.${i}`);
    }
  }
});

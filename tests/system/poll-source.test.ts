import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { readFile, writeFile } from 'node:fs/promises';
import t from 'tap';
import { parse, stringify } from 'yaml';
import { startGate } from '../fixtures/gate.ts';
import type { Gate } from '../fixtures/gate.ts';
import { phoneAt } from '../fixtures/phone-at.ts';
import { macAfter } from '../phones/index.ts';

const FIRST = '00:1A:E8:7B:00:01';
const DEVICES = 30;
const KILLS = 3;

/** Makes devices known to the relay, with nothing pending. */
async function introduce(gate: Gate, devices: string[]): Promise<void> {
  const body = devices.map((device) => JSON.stringify({ device })).join('\n');
  const headers = { 'content-type': 'application/x-ndjson' };
  await (await fetch(`${gate.api}/v1/messages`, { method: 'POST', headers, body })).text();
  for (const device of devices) await gate.call('DELETE', `/v1/devices/${device}/messages`);
}

t.test('a relay that is killed between answer and commit loses that one 202, and no more', async (t) => {
  const devices = Array.from({ length: DEVICES }, (_, n) => macAfter(FIRST, n).toLowerCase());
  const said: string[] = [];
  /** Called with each 202, once its bytes are with the system. */
  let onSaid = (): void => undefined;
  let open = false;
  let mostAtOnce = 0;
  let atOnce = 0;
  // A service that says each 202 only once.
  const service = createServer((request, response) => {
    const device =
      new URL(request.url ?? '', 'http://service').searchParams.get('device-id')?.toLowerCase() ?? '';
    atOnce += 1;
    mostAtOnce = Math.max(mostAtOnce, atOnce);
    const calls = open && devices.includes(device) && !said.includes(device);
    if (calls) said.push(device);
    // Also where a relay that was killed asked it, whose answer never ends.
    response.once('close', () => (atOnce -= 1));
    response.writeHead(calls ? 202 : 200, { 'content-length': 0 });
    response.end(() => {
      if (calls) onSaid();
    });
  });
  service.listen(0, '127.0.0.1');
  await once(service, 'listening');
  t.teardown(() => service.close());
  const url = `http://127.0.0.1:${(service.address() as AddressInfo).port}/dcmp/`;
  const gate = await startGate(t, { relay: { poll_source: { url, interval_s: 1 } }, logLevel: 'info' });
  await introduce(gate, devices);

  for (let kill = 1; kill <= KILLS; kill += 1) {
    const dead = new Promise<void>((resolve) => {
      const after = said.length + 3 * kill;
      onSaid = () => {
        if (said.length < after) return;
        onSaid = () => undefined;
        gate.relay.signal('SIGKILL');
        resolve();
      };
    });
    open = true;
    await dead;
    open = false;
    await gate.relay.exited;
    await gate.startRelay();
  }
  open = true;
  while (said.length < DEVICES) await once(service, 'request');
  // The last 202 may still be on its way to the disk; one more round means that it is there.
  for (let n = 0; n < 2 * DEVICES; n += 1) await once(service, 'request');
  const { body } = await gate.call('GET', '/v1/devices?state=pending&limit=1000');
  const held = (body['devices'] as { device: string }[]).map(({ device }) => device);
  const lost = devices.filter((device) => !held.includes(device));
  t.ok(lost.length <= KILLS, `${lost.length} lost by ${KILLS} kills`);
  t.equal(mostAtOnce, 1, 'there is never more than one question under way');
  // Phones see what they would have been told.
  await Promise.all(held.slice(0, 5).map((device) => gate.polls(device, 202)));
});

t.test('a phone behind the gate sees what it would see at the service itself', async (t) => {
  const gate = await startGate(t, { service: { answersPolls: true, tls: false } });
  const config = parse(await readFile(gate.relayConfig, 'utf8')) as object;
  const source = { url: `${gate.service.url}/dcmp/`, interval_s: 1 };
  await gate.relay.stop();
  await writeFile(gate.relayConfig, stringify({ ...config, poll_source: source }));
  await gate.startRelay();
  const phone = phoneAt(t, gate, FIRST);
  t.equal((await phone.start())?.outcome, 'completed');
  const atService = async (): Promise<number> =>
    (await fetch(`${gate.service.url}/dcmp/contact-me?device-id=${FIRST}`)).status;
  for (const realm of ['one', 'two']) {
    t.strictSame([await atService(), await gate.poll(FIRST)], [200, 200]);
    const done = gate.service.enqueue(FIRST, [{ action: 'WriteItems', items: { realm } }]);
    t.equal(await atService(), 202);
    await gate.polls(FIRST, 202);
    await phone.pollNow();
    t.equal((await done)[0]?.status, 'accepted');
    await phone.idle();
    await gate.polls(FIRST, 200);
  }
});

import { createHash } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import type { Test } from 'tap';
import { parse, stringify } from 'yaml';
import { createFakeTime, whyNoFakeTime } from '../fixtures/faults/fake-time.ts';
import { startGate } from '../fixtures/gate.ts';
import type { Gate, GateOptions } from '../fixtures/gate.ts';
import type { Engine } from '../fixtures/outbox-place.ts';
import { startProgram } from '../fixtures/program.ts';
import type { LogLine } from '../fixtures/program.ts';
import { phoneAt } from '../fixtures/phone-at.ts';
import type { PlainServiceOptions } from '../fixtures/services/index.ts';
import { phoneDocument } from '../fixtures/wpi-documents.ts';
import { createDialer, parseTarget } from '../phones/index.ts';
import { untilGood } from '../fixtures/until.ts';

const HALF_DAY_MS = 43_200_000;

const mac = (n: number): string => `00:1A:E8:74:00:${n.toString(16).padStart(2, '0').toUpperCase()}`;

async function push(gate: Pick<Gate, 'call'>, device: string, body = {}): Promise<Record<string, unknown>> {
  const { status, body: told } = await gate.call('POST', `/v1/devices/${device}/messages?wait=proxy`, body);
  if (status > 201) throw new Error(`a push was answered ${status}: ${JSON.stringify(told)}`);
  return { status, ...told };
}

/** What an outbox must keep its promises by, tried by the real programs with the outbox in `engine`. */
export function promises(t: Test, engine: Engine): void {
  t.test('P3: a hundred thousand polls change nothing, and unknown ids take no room', async (t) => {
    const gate = await startGate(t, { engine, logLevel: 'info' });
    const due = Array.from({ length: 20 }, (_, n) => mac(n));
    const later = mac(100);
    const cleared = mac(101);
    for (const device of due) await push(gate, device);
    await push(gate, later, { not_before: new Date(Date.now() + 3_600_000).toISOString() });
    await push(gate, cleared);
    await gate.call('DELETE', `/v1/devices/${cleared}/messages`);
    await gate.polls(cleared, 200);
    const before = await stateOf(gate);

    const known = [...due, later, cleared];
    const statuses = new Map<string, number>();
    let unknown = 0;
    const ids = function* (): Generator<string> {
      for (let n = 0; n < 100_000; n++) {
        // Half of them are of devices that nobody has heard of, each another one.
        yield n % 2 === 0 ? known[(n / 2) % known.length]! : `stranger-${(unknown += 1)}`;
      }
    };
    for (const [id, status] of await pollMany(new URL(gate.pollUrl), ids())) {
      const key = `${id.startsWith('stranger') ? 'stranger' : id} ${status}`;
      statuses.set(key, (statuses.get(key) ?? 0) + 1);
    }
    t.equal(unknown, 50_000);
    t.same(
      [...statuses.keys()].sort(),
      [...due.map((device) => `${device} 202`), `${cleared} 200`, `${later} 200`, 'stranger 200'].sort(),
      'each was told the same each time',
    );
    t.equal(
      [...statuses.values()].reduce((sum, count) => sum + count, 0),
      100_000,
    );
    t.equal(await stateOf(gate), before);
    const status = (await (await fetch(`${gate.ops}/status`)).json()) as { unknown: unknown[] };
    t.ok(status.unknown.length <= 1000, `of strangers ${status.unknown.length} are remembered`);
  });

  t.test(
    'P5: a key makes a push that is repeated the same push, through a kill and after its end',
    async (t) => {
      const gate = await startGate(t, { engine });
      const device = mac(1);
      const first = await push(gate, device, { key: 'job-7' });
      t.match(first, { status: 201, generation: 1 });
      t.match(await push(gate, device, { key: 'job-7' }), { status: 200, id: first['id'], generation: 1 });
      gate.relay.signal('SIGKILL');
      await gate.relay.exited;
      await gate.startRelay();
      t.match(await push(gate, device, { key: 'job-7' }), { status: 200, id: first['id'], generation: 1 });
      const other = await gate.call('POST', `/v1/devices/${device}/messages`, { key: 'job-7', ttl_s: 60 });
      t.match(other, { status: 409, body: { code: 'KEY_REUSED' } });
      await gate.call('DELETE', `/v1/devices/${device}/messages`);
      await gate.polls(device, 200);
      t.match(await push(gate, device, { key: 'job-7' }), { status: 200, id: first['id'], state: 'cleared' });
      t.equal(await gate.poll(device), 200, 'what has ended is not offered again');
      t.match(await push(gate, device, { key: 'job-8' }), { status: 201, generation: 2 });
      await gate.polls(device, 202);
    },
  );

  t.test(
    'P8: forged sessions spend one budget of quiet; the next generation is not held back by them',
    async (t) => {
      const gate = await startGate(t, { engine });
      const device = mac(2);
      const phone = phoneAt(t, gate, device);
      await phone.start();
      const item = { action: 'WriteItems', items: { realm: 'gate' } } as const;
      const done = gate.service.enqueue(device, [item]);
      await push(gate, device);
      await gate.polls(device, 202);

      const quietFor = async (): Promise<number> => {
        const { body } = await gate.call('GET', `/v1/devices/${device}`);
        const until = body['quiet_until'] as string | null;
        return until === null ? 0 : Date.parse(until) - Date.now();
      };
      /** Says that it is the phone, is given its work, and says nothing more. */
      const forge = async (): Promise<() => Promise<void>> => {
        const stop = await holdForgedSession(gate, device);
        await gate.polls(device, 200);
        return stop;
      };
      let left = 120_000;
      for (let round = 0; round < 3; round++) {
        const stop = await forge();
        const granted = await untilGood('quiet is told', quietFor, (ms) => ms > 0);
        const began = performance.now();
        t.ok(granted <= left, `${granted} ms of quiet where ${left} are left`);
        await untilGood(
          'time passes',
          async () => performance.now() - began,
          (ms) => ms > 700,
        );
        await stop();
        await gate.polls(device, 202);
        left = granted - 600;
      }
      await push(gate, device);
      await gate.polls(device, 202);
      const before = performance.now();
      const stop = await forge();
      const fresh = await untilGood('quiet is told', quietFor, (ms) => ms > 0);
      const atFirst = fresh + performance.now() - before;
      t.ok(
        atFirst > 119_000 && fresh <= 120_000,
        `the next generation has a budget of its own: ${fresh} ms where ${left} were left`,
      );
      await stop();
      await gate.polls(device, 202);
      const session = phone.next('session', ({ reason }) => reason === 'solicited');
      await phone.pollNow();
      t.equal((await session).outcome, 'completed', 'and the phone itself gets its work');
      await done;
      await gate.polls(device, 200);
    },
  );

  t.test(
    'P9: a message is dead after so many fruitless sessions, is shown, and can be held again',
    async (t) => {
      const { gate, how } = await stubbornGate(t, engine, { dead_after_sessions: 2 });
      const device = mac(3);
      const phone = phoneAt(t, gate, device);
      await phone.start();
      const done = gate.service.enqueue(device, [{ action: 'WriteItems', items: { realm: 'gate' } }]);
      const { id } = await push(gate, device);
      const state = async (): Promise<unknown> =>
        (await gate.call('GET', `/v1/messages/${String(id)}`)).body['state'];
      const call = async (): Promise<void> => {
        await gate.polls(device, 202);
        const session = phone.next('session', ({ reason }) => reason === 'solicited');
        await phone.pollNow();
        await session;
      };
      await call();
      await gate.polls(device, 202);
      t.equal(await state(), 'held', 'once is not enough');
      await call();
      await untilGood('it is dead', state, (now) => now === 'dead');
      await gate.polls(device, 200);
      const { body } = await gate.call('GET', '/v1/devices?state=dead');
      t.match(body, { devices: [{ device: device.toLowerCase() }] });
      const metrics = await (await fetch(`${gate.api}/metrics`)).text();
      t.match(metrics, 'sallyport_outbox_messages{state="dead"} 1');
      t.equal((await gate.call('POST', `/v1/messages/${String(id)}/redrive`)).status, 200);
      how.odd = false;
      await call();
      t.equal((await done)[0]?.status, 'accepted');
      await untilGood('it is cleared', state, (now) => now === 'cleared');
      const [device1] = (await gate.call('GET', '/v1/devices?state=dead')).body['devices'] as unknown[];
      t.equal(device1, undefined);
    },
  );

  t.test(
    'P10: what the relay’s clock says ends nothing and keeps nothing',
    { skip: whyNoFakeTime() },
    async (t) => {
      const time = createFakeTime(join(t.testdir(), 'time'));
      const gate = await startGate(t, { engine, wrap: { relay: time.wrap } });
      const [lasting, brief] = [mac(8), mac(9)];
      const { id } = await push(gate, lasting, { ttl_s: 3600 });
      const stateOf = async (id: unknown): Promise<unknown> =>
        (await gate.call('GET', `/v1/messages/${String(id)}`)).body['state'];
      const says = ({ time }: LogLine): number => Date.parse(String(time));
      for (const [jump, jumped] of [
        ['+1d', (said: number) => said > Date.now() + HALF_DAY_MS],
        ['@1970-01-02 00:00:00', (said: number) => said < 20 * HALF_DAY_MS],
      ] as const) {
        time.set(jump);
        const began = performance.now();
        const short = await push(gate, brief, { ttl_s: 5 });
        await gate.polls(brief, 202);
        await untilGood(
          `after ${jump} it expires`,
          () => stateOf(short['id']),
          (state) => state === 'expired',
        );
        const lived = performance.now() - began;
        t.ok(lived > 4_900, `${jump}: it lived for ${Math.round(lived)} ms`);
        t.ok(
          gate.relay.lines.some((line) => jumped(says(line))),
          `${jump}: its log tells of that time`,
        );
        t.equal(await stateOf(id), 'held');
        t.equal(await gate.poll(lasting), 202);
      }
      t.equal(await gate.relay.stop(), 0);
      time.set('-1d');
      await gate.startRelay();
      t.ok(says(gate.relay.ready) < Date.now() - HALF_DAY_MS, 'it is started in the past');
      t.equal(await stateOf(id), 'held');
      await gate.polls(lasting, 202);
    },
  );

  t.test(
    'P11: at its limit the outbox refuses the new push, drops nothing, and takes it once there is room',
    async (t) => {
      const gate = await startGate(t, { engine, relay: { limits: { held: 3 } } });
      const held = [mac(10), mac(11), mac(12)];
      for (const device of held) await push(gate, device);
      const refused = await gate.call('POST', `/v1/devices/${mac(13)}/messages`, {});
      t.match(refused, { status: 503, body: { code: 'OUTBOX_FULL', message: /limit of 3 / } });
      for (const device of held) t.equal(await gate.poll(device), 202);
      t.equal(await gate.poll(mac(13)), 200);
      await gate.call('DELETE', `/v1/devices/${held[0]}/messages`);
      t.match(await push(gate, mac(13)), { status: 201, generation: 1 });
      await gate.polls(mac(13), 202);
    },
  );

  t.test('P15: a relay that was replaced cannot act on what it knew', async (t) => {
    const gate = await startGate(t, { engine });
    const [kept, cleared, late] = [mac(4), mac(5), mac(6)];
    await push(gate, kept);
    await push(gate, cleared);
    // The former one hangs, as a machine does that is moved; its successor has the outbox as of now.
    gate.relay.signal('SIGSTOP');
    const dir = join(gate.dir, 'relay-2');
    const { config: outbox } = await gate.outbox.copy(join(gate.dir, 'relay'), dir);
    const config = parse(await readFile(join(dir, 'relay.yaml'), 'utf8')) as Record<string, unknown>;
    const api = { listen: '127.0.0.1:0' };
    await writeFile(join(dir, 'relay.yaml'), stringify({ ...config, api, outbox, contact_me: undefined }));
    const successor = await startProgram('sallyport-relay', ['run', '--config', join(dir, 'relay.yaml')]);
    t.teardown(() => successor.stop());
    await successor.line(({ msg }) => msg === 'link up');
    const address = `http://${String(successor.ready['api'])}`;
    const removed = await fetch(`${address}/v1/devices/${cleared}/messages`, { method: 'DELETE' });
    t.equal(removed.status, 200);
    await gate.polls(cleared, 200);

    gate.relay.signal('SIGCONT');
    // It was told that it was replaced.
    await gate.relay.line(({ msg, code }) => msg === 'link down' && code === 4003);
    t.equal(
      (await gate.call('POST', `/v1/devices/${late}/messages`, {})).status,
      201,
      'it goes on by itself',
    );
    t.equal((await gate.call('DELETE', `/v1/devices/${kept}/messages`)).status, 200);
    t.equal(await gate.poll(late), 200, 'what it has accepted is not offered');
    t.equal(await gate.poll(cleared), 200, 'what it held is not');
    t.equal(await gate.poll(kept), 202, 'what it has cleared still is');
  });

  t.test('P16: without a link polls are 200, and everything stays pending', async (t) => {
    const gate = await startGate(t, { engine });
    const device = mac(7);
    const { id } = await push(gate, device);
    await gate.polls(device, 202);
    for (const end of ['SIGTERM', 'SIGKILL'] as const) {
      gate.relay.signal(end);
      await gate.relay.exited;
      await gate.polls(device, 200);
      const reasons = (await (await fetch(`${gate.ops}/readyz`)).json()) as { reasons: string[] };
      t.same(reasons.reasons, ['no relay link for site default']);
      await gate.startRelay();
      await gate.polls(device, 202);
      t.equal((await gate.call('GET', `/v1/messages/${String(id)}`)).body['state'], 'held');
    }
    t.equal(await gate.proxy.stop(), 0);
    t.equal((await gate.call('GET', `/v1/messages/${String(id)}`)).body['state'], 'held');
    await gate.startProxy();
    await gate.polls(device, 202);
  });
}

/** All that decisions rest on: the whole outbox, and what the proxy holds and has room for. */
async function stateOf(gate: Gate): Promise<string> {
  const rows = await gate.outbox.rows(
    join(gate.dir, 'relay'),
    ...['store', 'messages', 'devices', "history WHERE event <> 'note'"],
  );
  const { marks, sites } = (await (await fetch(`${gate.ops}/status`)).json()) as {
    marks: { known: number; bytes: number };
    sites: { held: number; pendingDevices: number; position: unknown; sessions: number }[];
  };
  const site = sites.map(({ held, pendingDevices, position, sessions }) => ({
    held,
    pendingDevices,
    position,
    sessions,
  }));
  const text = JSON.stringify([rows, marks, site]);
  return `${createHash('sha256').update(text).digest('hex')} ${JSON.stringify(marks)}`;
}

/** Polls as fast as answers come, some at a time on each of a few connections. */
async function pollMany(url: URL, ids: Iterator<string, void>): Promise<[id: string, status: number][]> {
  const answers: [string, number][] = [];
  const connection = (): Promise<boolean> =>
    new Promise((resolve, reject) => {
      const asked: string[] = [];
      let sent = 0;
      let text = '';
      const ask = (): void => {
        let requests = '';
        // What a door takes on one connection, less than all of it.
        while (asked.length < 100 && sent < 900) {
          const next = ids.next();
          if (next.done === true) break;
          const { value } = next;
          asked.push(value);
          sent++;
          requests += `GET ${url.pathname}contact-me?device-id=${encodeURIComponent(value)} HTTP/1.1\r\nHost: ${url.host}\r\n\r\n`;
        }
        if (asked.length > 0) return void socket.write(requests);
        socket.end();
        resolve(sent >= 900);
      };
      const socket = connect(Number(url.port), url.hostname, ask);
      socket.on('error', reject);
      socket.on('data', (chunk) => {
        text += chunk.toString('latin1');
        for (let end = text.indexOf('\r\n\r\n'); end >= 0; end = text.indexOf('\r\n\r\n')) {
          answers.push([asked.shift()!, Number(text.slice(9, 12))]);
          text = text.slice(end + 4);
        }
        if (asked.length === 0) ask();
      });
      socket.on('close', () => resolve(false));
    });
  const worker = async (): Promise<void> => {
    while (await connection());
  };
  await Promise.all(Array.from({ length: 8 }, worker));
  return answers;
}

/**
 * A session in a phone's name that stops after the service's first word. Resolves once that has come, to what ends the
 * session as a phone may.
 */
async function holdForgedSession(gate: Gate, device: string): Promise<() => Promise<void>> {
  const dialer = createDialer();
  const target = parseTarget(gate.phoneService);
  const connection = await dialer.open(target);
  const say = async (reason: string): Promise<void> => {
    const body = phoneDocument({ reason, items: [['mac-addr', device]] });
    const head =
      `POST /DeploymentService/LoginService HTTP/1.1\r\nHost: ${new URL(gate.phoneService).host}\r\n` +
      `Content-Type: text/xml\r\nContent-Length: ${body.length}\r\n\r\n`;
    await connection.request(Buffer.from(head + String(body)));
  };
  await say('solicited');
  return async () => {
    await say('clean-up');
    connection.close();
    dialer.close();
  };
}

/** A gate whose service answers solicited sessions with what is no document, for as long as it is told to. */
async function stubbornGate(
  t: Test,
  engine: Engine,
  relay: GateOptions['relay'],
): Promise<{ gate: Gate; how: { odd: boolean } }> {
  const how = { odd: true };
  const intercept: PlainServiceOptions['intercept'] = async ({ body }) => {
    if (!how.odd || !body.includes('>solicited<')) return undefined;
    const text = Buffer.from('<b>Notice</b>: Undefined index in service.php\n');
    const head = `HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: ${text.length}\r\n\r\n`;
    return { head: Buffer.from(head), body: text, close: false };
  };
  return {
    gate: await startGate(t, { engine, ...(relay === undefined ? {} : { relay }), service: { intercept } }),
    how,
  };
}

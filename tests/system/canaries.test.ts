import { randomBytes } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { connect } from 'node:net';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import t from 'tap';
import type { Test } from 'tap';
import { parseAddress } from '../../shared/address.ts';
import { startGate } from '../fixtures/gate.ts';
import type { Gate } from '../fixtures/gate.ts';
import { foundInMemory, whyNoMemory } from '../fixtures/process-memory.ts';
import { runProgram } from '../fixtures/program.ts';
import type { LogLine } from '../fixtures/program.ts';
import { createPhone } from '../phones/index.ts';

t.setTimeout(120_000);

const canary = (what: string): string => `canary-${what}-${randomBytes(8).toString('hex')}`;

/** A corporate HTTP proxy, which lets everybody through. Resolves to its port. */
async function startCorporateProxy(t: Test): Promise<number> {
  const server = createServer();
  server.on('connect', (request, socket, head) => {
    const onward = connect({ ...parseAddress(request.url ?? '') }, () => {
      socket.write('HTTP/1.1 200 OK\r\n\r\n');
      onward.write(head);
      onward.pipe(socket).pipe(onward);
    });
    t.teardown(() => onward.destroy());
    for (const each of [socket, onward]) each.on('error', () => undefined);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => server.close());
  return (server.address() as AddressInfo).port;
}

/** Everything in the files below a directory, except those that are named. */
function contentsOf(directory: string, except: string[] = []): string {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && !except.includes(entry.name))
    .map((entry) => readFileSync(join(entry.parentPath, entry.name), 'latin1'))
    .join('\n');
}

/** Lines of a key file that are the key. */
const keyLines = (file: string): string[] =>
  readFileSync(file, 'utf8')
    .split('\n')
    .filter((line) => line.length >= 40 && !/^[#-]/.test(line))
    .map((line) => line.slice(0, 40));

t.test('no secret is anywhere but where it belongs', async (t) => {
  const secrets = {
    'user-pwd': canary('user'),
    'sip-pwd': canary('sip'),
    'admin-pwd': canary('admin'),
    held: canary('held'),
    token: canary('token'),
    via: canary('via'),
  };
  const tokenFile = join(t.testdir({ 'api.token': `${secrets.token}\n` }), 'api.token');
  const via = `http://user:${secrets.via}@127.0.0.1:${await startCorporateProxy(t)}`;
  const gate = await startGate(t, {
    via,
    service: { startUpItems: { 'sip-pwd': secrets['sip-pwd'] } },
    relay: {
      api: { listen: '127.0.0.1:0', token_file: tokenFile },
      courier: { deliver_unauthenticated: true },
    },
  });
  const get = async (path: string): Promise<string> => {
    const response = await fetch(`${gate.api}${path}`, {
      headers: { authorization: `Bearer ${secrets.token}` },
    });
    t.equal(response.status, 200, path);
    return response.text();
  };
  const push = async (device: string, body: object): Promise<string> => {
    const response = await fetch(`${gate.api}/v1/devices/${device}/messages?wait=proxy`, {
      method: 'POST',
      headers: { authorization: `Bearer ${secrets.token}`, 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
    const answer = (await response.json()) as { id: string };
    t.equal(response.status, 201, JSON.stringify(answer));
    return answer.id;
  };
  const invite = await runProgram('sallyport-proxy', ['invite', 'spare', '--config', gate.proxyConfig]);
  const joinString = invite.stdout.trim().split('\n').at(-1) ?? '';

  // The story: a start-up that brings a password, one that the service asks for, one that the relay holds and delivers.
  const device = '00:1A:E8:C0:00:01';
  const phone = createPhone({
    deviceId: device,
    service: gate.phoneService,
    pollUrl: gate.pollUrl,
    pollIntervalMs: 0,
    contactListen: false,
    items: { 'user-pwd': secrets['user-pwd'] },
  });
  t.teardown(() => phone.close());
  t.equal((await phone.start())?.outcome, 'completed');
  t.equal(phone.items.get('sip-pwd'), secrets['sip-pwd']);
  const read = gate.service.enqueue(device, [{ action: 'ReadItems', items: { 'user-pwd': '' } }]);
  await push(device, {});
  await phone.pollNow();
  await read;
  await gate.polls(device, 200);
  const write = (name: string, value: string) => ({ action: 'WriteItems', items: [{ name, value }] });
  const delivered = await push(device, {
    kind: 'dls',
    actions: [
      write('admin-pwd', secrets['admin-pwd']),
      { action: 'ReadItems', items: ['user-pwd', 'admin-pwd'] },
    ],
  });
  // The session before it may still keep polls quiet.
  await gate.polls(device, 202);
  await phone.pollNow();
  await phone.idle();
  t.equal(phone.items.get('admin-pwd'), secrets['admin-pwd'], 'it came through');
  const held = await push('00:1a:e8:c0:00:02', {
    kind: 'dls',
    key: 'k',
    actions: [write('user-pwd', secrets.held)],
  });

  const keys = [
    ...keyLines(join(gate.dir, 'relay', 'relay.key')),
    ...keyLines(join(gate.dir, 'relay', 'outbox.key')),
    ...keyLines(join(gate.dir, 'shown.key')),
    ...keyLines(join(gate.dir, 'proxy', 'proxy.key')),
  ];
  t.ok(keys.length >= 6 && joinString.length > 60);
  const words = [...Object.values(secrets), joinString.slice(-40), ...keys];
  const places: Record<string, string> = {
    'the DMZ’s disk': contentsOf(join(gate.dir, 'proxy'), ['proxy.key']),
    'the outbox, while it runs': contentsOf(join(gate.dir, 'relay', 'outbox')),
    'the proxy’s log': JSON.stringify(gate.proxy.lines),
    'the relay’s log': JSON.stringify(gate.relay.lines),
    'the proxy’s metrics': await (await fetch(`${gate.ops}/metrics`)).text(),
    'the proxy’s status': await (await fetch(`${gate.ops}/status`)).text(),
    events: await eventsOf(gate, secrets.token),
  };
  const routes = ['/', '/metrics', '/openapi.json', '/readyz', '/v1/status', '/v1/proxies', '/v1/services'];
  const things = [
    `/v1/devices/${device}`,
    `/v1/devices/${device}/why`,
    '/v1/devices',
    '/v1/devices/00:1a:e8:c0:00:02',
  ];
  const messages = [`/v1/messages/${delivered}`, `/v1/messages/${held}`];
  for (const path of [...routes, ...things, ...messages]) places[path] = await get(path);
  t.ok(
    places[`/v1/messages/${delivered}`]?.includes('withheld'),
    'the phone has told it, and it is kept back',
  );
  for (const [place, text] of Object.entries(places)) {
    t.ok(text.length > 0, place);
    t.same(
      words.filter((word) => text.includes(word)),
      [],
      place,
    );
  }
  for (const path of [gate.proxyConfig, gate.relayConfig]) {
    const program = path === gate.proxyConfig ? 'sallyport-proxy' : 'sallyport-relay';
    const { stdout, stderr } = await runProgram(program, ['check', '--config', path]);
    t.same(
      words.filter((word) => `${stdout}${stderr}`.includes(word)),
      [],
      `check of ${path}`,
    );
  }

  await t.test(
    'nor in the proxy’s memory, but for what the proxy must know',
    { skip: whyNoMemory() },
    async (t) => {
      const own = keyLines(join(gate.dir, 'proxy', 'proxy.key'));
      t.same(
        foundInMemory(
          gate.proxy.pid,
          words.filter((word) => !own.includes(word)),
        ),
        [],
      );
      t.equal(foundInMemory(gate.relay.pid, [secrets.token]).length, 1, 'what is there is found');
    },
  );
  await gate.relay.stop();
  t.same(
    words.filter((word) => contentsOf(join(gate.dir, 'relay', 'outbox')).includes(word)),
    [],
  );
});

/** All events that are kept, and then the connection is closed. */
async function eventsOf(gate: Gate, token: string): Promise<string> {
  const { sequence } = (await (
    await fetch(`${gate.api}/v1/status`, { headers: { authorization: `Bearer ${token}` } })
  ).json()) as { sequence: number };
  const response = await fetch(`${gate.api}/v1/events?after=0`, {
    headers: { authorization: `Bearer ${token}` },
  });
  let text = '';
  for await (const chunk of response.body!) {
    text += Buffer.from(chunk).toString();
    if (text.includes(`id: ${sequence}\n`) || text.includes(`"seq":${sequence}`)) return text;
  }
  return text;
}

/** Sends bytes and waits until the other side has closed, or has answered. */
async function throwAt(address: string, bytes: string, secure: boolean): Promise<void> {
  const target = { ...parseAddress(address), rejectUnauthorized: false };
  await new Promise<void>((resolve) => {
    const socket = secure ? connectTls(target) : connect(target);
    socket.once('data', () => socket.end());
    socket.once('close', () => resolve());
    socket.on('error', () => undefined);
    socket.write(Buffer.from(bytes, 'latin1'));
    socket.resume();
  });
}

t.test('whatever a stranger writes, a log line stays one line of JSON', async (t) => {
  const gate = await startGate(t, {
    proxy: {
      poll: [{ listen: '127.0.0.1:0' }],
      doors: [{ name: 'wpi', service: 'wpi', listen: '127.0.0.1:0', tls: 'relay' }],
    },
  });
  const forged = '{"level":"error","msg":"forged"}';
  const evil = `x"\\\x1b[31m\x00\x9b\x07'`;
  const folded = `a\r\n\t${forged}`;
  const door = gate.doors['wpi'] ?? '';
  const [poll = ''] = gate.proxy.ready['poll'] as string[];
  const relayDoor = String(gate.proxy.ready['relay']);
  const api = String(gate.relay.ready['api']);
  const wpi = (name: string, value: string): string => {
    const body =
      `<DLSMessage><Message nonce="${value}"><ReasonForContact action="${value}">start-up</ReasonForContact>` +
      `<ItemList><Item name="mac-addr">${value}</Item><Item name="${name}">${value}</Item></ItemList></Message></DLSMessage>`;
    return `POST /DeploymentService/LoginService HTTP/1.1\r\nHost: x\r\nContent-Type: text/xml\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
  };
  const texts = [evil, folded, `\n${forged}\n`, `%0a${forged}`, '\u2028'];
  for (const text of texts) {
    const head = `GET /dcmp/contact-me?device-id=${text} HTTP/1.1\r\nHost: ${text}\r\nCookie: ${text}\r\nX: ${text}\r\n\r\n`;
    await throwAt(poll, head, false);
    for (const address of [door, relayDoor]) await throwAt(address, head, true);
    for (const address of [new URL(gate.ops).host, api]) await throwAt(address, head, false);
    for (const name of ['item', text.replace(/["<&\0]/g, '')]) await throwAt(door, wpi(name, text), true);
    await throwAt(door, wpi('i', text.replace(/[<&\0"]/g, '').replaceAll('\n', '&#10;')), true);
    await gate.call('POST', '/v1/devices/00:1a:e8:c0:00:03/messages', { key: text, campaign: text });
  }
  await gate.call('GET', '/v1/status');
  const { out } = await devicesText(gate);
  t.notMatch(
    out,
    /[\0-\x09\x0b-\x1f\x7f-\x9f]/,
    'the command line shows no character that steers a terminal',
  );
  await Promise.all([gate.relay.stop(), gate.proxy.stop()]);
  for (const program of [gate.proxy, gate.relay]) {
    const strange = program.lines.filter((line: LogLine) => typeof line['time'] !== 'string');
    t.same(strange, [], 'each line is whole, with its time');
    t.notOk(program.lines.some(({ msg }) => msg === 'forged'));
  }
});

async function devicesText(gate: Gate): Promise<{ out: string }> {
  const run = (...words: string[]) => runProgram('sallyport-relay', [...words, '--config', gate.relayConfig]);
  const printed = await Promise.all([run('status'), run('devices'), run('why', '00:1a:e8:c0:00:03')]);
  return { out: printed.map(({ stdout, stderr }) => stdout + stderr).join('') };
}

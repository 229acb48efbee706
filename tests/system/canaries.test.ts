import { execFile, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { EventEmitter, once } from 'node:events';
import { mkdirSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { createServer } from 'node:http';
import { connect } from 'node:net';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import { promisify } from 'node:util';
import t from 'tap';
import type { Test } from 'tap';
import { parseAddress } from '../../shared/address.ts';
import { startGate } from '../fixtures/gate.ts';
import type { Gate } from '../fixtures/gate.ts';
import { foundInMemory, whyNoMemory } from '../fixtures/process-memory.ts';
import { runProgram } from '../fixtures/program.ts';
import type { LogLine } from '../fixtures/program.ts';
import { phoneAt } from '../fixtures/phone-at.ts';

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

const noDebugger = spawnSync('gcore', ['-v']).error === undefined ? false : 'gcore (of gdb) is not installed';

/** Runs a program where its core dump would be seen, and would be allowed by the shell that starts it. */
const whereDumpsShow = (dir: string): string[] => {
  mkdirSync(dir);
  return ['sh', '-c', 'ulimit -c unlimited 2>/dev/null; cd "$0" && exec "$@"', dir];
};

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
    hook: canary('hook'),
    file: canary('file'),
    env: canary('env'),
  };
  const dir = t.testdir({
    'api.token': `${secrets.token}\n`,
    'hook.secret': `${secrets.hook}\n`,
    'password.txt': `${secrets.file}\n`,
    'phones.csv': 'device,password\n00:1a:e8:c0:00:04,@file:password.txt\n',
    'actions.json': JSON.stringify([
      {
        action: 'WriteItems',
        items: [
          { name: 'sip-pwd', value: '{{password}}' },
          { name: 'admin-pwd', value: '{{@env:CANARY}}' },
        ],
      },
    ]),
  });
  const via = `http://user:${secrets.via}@127.0.0.1:${await startCorporateProxy(t)}`;
  const hook = await startReceiver(t);
  const cwd = { proxy: join(dir, 'proxy'), relay: join(dir, 'relay') };
  const gate = await startGate(t, {
    via,
    wrap: { proxy: whereDumpsShow(cwd.proxy), relay: whereDumpsShow(cwd.relay) },
    service: { startUpItems: { 'sip-pwd': secrets['sip-pwd'] } },
    relay: {
      api: { listen: '127.0.0.1:0', token_file: join(dir, 'api.token') },
      courier: { deliver_unauthenticated: true },
      webhooks: [
        {
          name: 'hook',
          url: hook.url,
          secret_file: join(dir, 'hook.secret'),
          events: ['accepted', 'cleared'],
        },
      ],
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
  const phone = phoneAt(t, gate, device, {
    items: { 'user-pwd': secrets['user-pwd'] },
  });
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

  // The same by a template, whose secrets stand in a file and in the environment.
  const printed: string[] = [];
  for (const how of [['--dry-run'], ['--campaign', 'canaries']]) {
    const push = await runProgram(
      'sallyport-relay',
      ['push', '--config', gate.relayConfig, ...how]
        .concat('--file', join(dir, 'actions.json'))
        .concat('--values', join(dir, 'phones.csv')),
      { env: { CANARY: secrets.env } },
    );
    t.equal(push.code, 0, push.stderr);
    printed.push(push.stdout, push.stderr);
  }

  const signedIn = await fetch(`${gate.api}/v1/session`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ token: secrets.token }),
  });
  t.equal(signedIn.status, 200);
  const { csrf } = (await signedIn.json()) as { csrf: string };
  const cookie = (signedIn.headers.get('set-cookie') ?? '').split(';')[0] ?? '';
  const browser = await fetch(`${gate.api}/v1/status`, { headers: { cookie } });
  t.equal(browser.status, 200);

  const keys = [
    ...keyLines(join(gate.dir, 'relay', 'relay.key')),
    ...keyLines(join(gate.dir, 'relay', 'outbox.key')),
    ...keyLines(join(gate.dir, 'shown.key')),
    ...keyLines(join(gate.dir, 'proxy', 'proxy.key')),
  ];
  t.ok(keys.length >= 6 && joinString.length > 60);
  const words = [
    ...Object.values(secrets),
    joinString.slice(-40),
    csrf,
    cookie.slice(cookie.indexOf('=') + 1),
    ...keys,
  ];
  t.ok(words.every((word) => word.length > 16));
  const places: Record<string, string> = {
    'the DMZ’s disk': contentsOf(join(gate.dir, 'proxy'), ['proxy.key']),
    'the outbox, while it runs': contentsOf(join(gate.dir, 'relay', 'outbox')),
    'the proxy’s log': JSON.stringify(gate.proxy.lines),
    'the relay’s log': JSON.stringify(gate.relay.lines),
    'the proxy’s metrics': await (await fetch(`${gate.ops}/metrics`)).text(),
    'the proxy’s status': await (await fetch(`${gate.ops}/status`)).text(),
    events: await eventsOf(gate, secrets.token),
    'what push prints': printed.join('\n'),
    'what webhooks are told': await hook.until(delivered, 'cleared'),
  };
  const campaigns = ['/v1/campaigns', '/v1/campaigns/canaries', '/v1/devices/00:1a:e8:c0:00:04'];
  const routes = [
    ...campaigns,
    '/',
    '/metrics',
    '/openapi.json',
    '/readyz',
    '/v1/status',
    '/v1/proxies',
    '/v1/services',
  ];
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
  await t.test('nor in what a debugger dumps of the programs', { skip: noDebugger }, async (t) => {
    for (const program of ['proxy', 'relay'] as const) {
      const { pid } = gate[program];
      await promisify(execFile)('gcore', ['-o', join(dir, program), String(pid)]);
      const dump = readFileSync(join(dir, `${program}.${pid}`), 'latin1');
      t.equal(dump.slice(0, 4), '\x7fELF');
      t.same(
        words.filter((word) => dump.includes(word)),
        [],
      );
    }
  });
  gate.relay.signal('SIGUSR1');
  // A debugger holds both for seconds, so that the link may be down.
  await get('/healthz');
  t.notOk(listening(gate.relay.pid).includes(INSPECTOR_PORT), 'SIGUSR1 lets no debugger in');
  gate.relay.signal('SIGSEGV');
  gate.proxy.signal('SIGABRT');
  t.same(await Promise.all([gate.relay.exited, gate.proxy.exited]), ['SIGSEGV', 'SIGABRT']);
  for (const [program, dir] of Object.entries(cwd)) {
    t.same(
      readdirSync(dir),
      [],
      `${program}: no core, no report, no snapshot, although its starter allows them`,
    );
  }
  t.same(
    words.filter((word) => contentsOf(join(gate.dir, 'relay', 'outbox')).includes(word)),
    [],
  );
});

/** Receives webhooks. `until` resolves to all that came, once there is a message's event among it. */
async function startReceiver(
  t: Test,
): Promise<{ url: string; until(message: string, event: string): Promise<string> }> {
  let told = '';
  const come = new EventEmitter();
  const server = createServer((request, response) => {
    told += JSON.stringify(request.rawHeaders);
    request.setEncoding('utf8').on('data', (chunk: string) => (told += chunk));
    request.on('end', () => {
      response.end();
      come.emit('some');
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => server.close());
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    async until(message, event) {
      while (!new RegExp(`"event":"${event}"[^{}]*"message":"${message}"`).test(told))
        await once(come, 'some');
      return told;
    },
  };
}

/** What Node's inspector listens on. */
const INSPECTOR_PORT = 9229;

/** The ports of IPv4 at which the process listens. */
function listening(pid: number): number[] {
  const sockets = readdirSync(`/proc/${pid}/fd`).map((fd) => {
    try {
      return readlinkSync(`/proc/${pid}/fd/${fd}`);
    } catch {
      // Closed meanwhile.
      return '';
    }
  });
  return readFileSync(`/proc/${pid}/net/tcp`, 'latin1')
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter((fields) => fields[3] === '0A' && sockets.includes(`socket:[${fields[9]}]`))
    .map((fields) => Number.parseInt(fields[1]?.split(':')[1] ?? '', 16));
}

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

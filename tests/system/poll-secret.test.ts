import { readdirSync, readFileSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { parse, stringify } from 'yaml';
import { readPollSecret } from '../../relay-client/secrets.ts';
import { startGate } from '../fixtures/gate.ts';
import type { Gate } from '../fixtures/gate.ts';
import { runProgram } from '../fixtures/program.ts';
import type { Program } from '../fixtures/program.ts';
import { createPhone } from '../phones/index.ts';
import { until } from '../fixtures/until.ts';

const PHONE = '00:1A:E8:00:00:01';
/** Pushed to, but no phone of the test: its polls are the test's own. */
const GUESSED = '00:1a:e8:00:00:02';
const SITE = { name: 'default', session_gap_s: 0, poll_secret: 'path' };

/** Starts the relay again with something else in its config. */
async function change(gate: Gate, edit: (config: Record<string, unknown>) => void): Promise<void> {
  const config = parse(await readFile(gate.relayConfig, 'utf8')) as Record<string, unknown>;
  edit(config);
  await gate.relay.stop();
  await writeFile(gate.relayConfig, stringify(config));
  await gate.startRelay();
}

/** What the command says, in JSON. */
async function told(gate: Gate, device: string): Promise<Record<string, string>> {
  const { code, stdout, stderr } = await runProgram('sallyport-relay', [
    ...['poll-path', device, '--json', '--config', gate.relayConfig],
  ]);
  t.equal(code, 0, stderr);
  return JSON.parse(stdout) as Record<string, string>;
}

/** The status of a poll under this path below the prefix. */
async function pollAt(gate: Gate, path: string): Promise<number> {
  const response = await fetch(`${gate.pollUrl}${path}`, { headers: { connection: 'close' } });
  t.equal(await response.text(), '');
  return response.status;
}

async function pollsAt(gate: Gate, path: string, status: number): Promise<void> {
  await until(`polls under a secret are ${status}`, async () => (await pollAt(gate, path)) === status);
}

/** Everything in the files of a directory. */
const filesIn = (dir: string): string =>
  readdirSync(dir, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map((entry) => readFileSync(join(entry.parentPath, entry.name), 'latin1'))
    .join('\n');

t.test('a taught phone polls under its secret and is called; without it a poll tells nothing', async (t) => {
  const gate = await startGate(t, { proxy: { sites: [SITE] } });
  const logs: Program[] = [gate.proxy, gate.relay];
  await change(gate, (config) => {
    for (const service of config['services'] as Record<string, unknown>[]) {
      service['teach'] = { 'dcmp-url': gate.pollUrl };
    }
  });
  logs.push(gate.relay);
  const misfit =
    /wpi teaches phones a poll address without a secret, but the site at wss:.* wants one.*write \{poll_secret\}/;
  const { warnings } = (await gate.call('GET', '/readyz')).body as { warnings: string[] };
  t.match(warnings, [misfit], 'readiness warns');
  await gate.relay.line(
    ({ msg, why }) => msg === 'taught phones would poll in vain' && misfit.test(String(why)),
  );
  const doctor = await runProgram('sallyport-relay', ['doctor', '--config', gate.relayConfig]);
  t.match(doctor.stdout, new RegExp(`^warn {2}running .*${misfit.source}`, 'm'), 'and so does doctor');
  await change(gate, (config) => {
    for (const service of config['services'] as Record<string, unknown>[]) {
      service['teach'] = { 'dcmp-url': `${gate.pollUrl}{poll_secret}/`, 'poll-interval': 100 };
    }
  });
  logs.push(gate.relay);
  const phone = createPhone({
    deviceId: PHONE,
    service: gate.phoneService,
    intervalItem: 'poll-interval',
    intervalItemUnitMs: 1,
    forgetPollOnRestart: true,
    contactListen: false,
  });
  t.teardown(() => phone.close());
  await phone.start();
  const own = await told(gate, PHONE);
  t.match(own['poll_secret'], /^[0-9a-f]{32}$/);
  t.equal(phone.pollUrl, `${gate.pollUrl}${own['poll_secret']}/`);
  t.same((await gate.call('GET', '/readyz')).body['warnings'], [], 'all fits now');
  const done = gate.service.enqueue(phone.deviceId, [{ action: 'WriteItems', items: { realm: 'one' } }]);
  t.equal((await gate.service.contact(phone.deviceId)).status, 204);
  t.equal((await done)[0]?.status, 'accepted', 'it polled, was told 202 and came');

  const { status } = await gate.call('POST', `/v1/devices/${GUESSED}/messages?wait=proxy`, {});
  t.equal(status, 201);
  const { poll_path: path = '', poll_secret: secret = '' } = await told(gate, GUESSED);
  t.equal(path, `${secret}/contact-me?device-id=${GUESSED}`);
  t.equal((await gate.call('GET', `/v1/devices/${GUESSED}`)).body['poll_path'], path);
  await pollsAt(gate, path, 202);
  const query = `contact-me?device-id=${GUESSED}`;
  for (const guess of [query, `${own['poll_secret']}/${query}`, `guess/${query}`]) {
    t.equal(await pollAt(gate, guess), 200, 'pending all the while, and nothing tells it');
  }
  t.equal(await pollAt(gate, path), 202);

  const both = await runProgram('sallyport-relay', [
    ...['poll-path', PHONE, GUESSED, '--config', gate.relayConfig],
  ]);
  t.strictSame(both.stdout.split('\n'), [own['poll_path'], path, ''], 'one a line');
  t.equal((await runProgram('sallyport-relay', ['poll-path', 'no id'])).code, 2);

  await gate.relay.stop();
  await pollsAt(gate, path, 200);
  logs.push(await gate.startRelay());
  t.equal((await told(gate, GUESSED))['poll_path'], path, 'the same secret after a restart');
  await pollsAt(gate, path, 202);

  await gate.proxy.stop();
  await gate.startProxy();
  logs.push(gate.proxy);
  await pollsAt(gate, path, 202);
  t.equal(await pollAt(gate, query), 200, 'a proxy that is new learns the secret with the link');

  const site = readPollSecret({
    key: join(gate.dir, 'relay', 'relay.key'),
    outbox: { path: '', keyFile: '', postgres: null },
  });
  const secrets = [secret, own['poll_secret']!, ...spellings(site)];
  const written = [
    filesIn(join(gate.dir, 'proxy')),
    filesIn(join(gate.dir, 'relay', 'outbox')),
    ...(await Promise.all(
      [`${gate.ops}/metrics`, `${gate.ops}/status`, `${gate.api}/metrics`]
        .concat(['status', 'proxies', 'services', 'devices'].map((list) => `${gate.api}/v1/${list}`))
        .map(async (url) => (await fetch(url)).text()),
    )),
    ...logs.map(({ lines }) => lines.map((line) => JSON.stringify(line)).join('\n')),
  ];
  t.ok(written.every((text) => text.length > 20));
  for (const each of secrets) t.notOk(written.some((text) => text.includes(each)));
});

t.test(
  'a new key of the relay makes new secrets, and by former_key the ones before still count',
  async (t) => {
    const gate = await startGate(t, { proxy: { sites: [SITE] } });
    await gate.call('POST', `/v1/devices/${GUESSED}/messages?wait=proxy`, {});
    const { poll_path: before = '' } = await told(gate, GUESSED);
    await pollsAt(gate, before, 202);
    const { stdout } = await runProgram('sallyport-proxy', ['invite', 'hq-1', '--config', gate.proxyConfig]);
    const joined = await runProgram('sallyport-relay', [
      ...['join', stdout.trim().split('\n').at(-1)!, '--dir', join(gate.dir, 'relay'), '--new-key'],
    ]);
    t.equal(joined.code, 0, joined.stderr);
    await change(gate, (config) => {
      config['key'] = 'relay.key.new';
      config['former_key'] = 'relay.key';
    });
    const { poll_path: after = '' } = await told(gate, GUESSED);
    t.not(after, before);
    await pollsAt(gate, after, 202);
    await pollsAt(gate, before, 202);
    await change(gate, (config) => void delete config['former_key']);
    await pollsAt(gate, after, 202);
    t.equal(await pollAt(gate, before), 200);
  },
);

function spellings(secret: Buffer): string[] {
  return (['hex', 'base64', 'base64url', 'latin1'] as const).map((encoding) => secret.toString(encoding));
}

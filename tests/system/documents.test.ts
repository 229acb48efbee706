/** What the pages for operators tell their readers to type is typed as it stands, and what they promise is looked for. */
import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { chmodSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import t from 'tap';
import { parse, stringify } from 'yaml';
import { commandsOf, firstBlock, ROOT } from '../fixtures/documents.ts';
import { startGate } from '../fixtures/gate.ts';
import { createShell } from '../fixtures/shell.ts';
import type { ScriptOutcome } from '../fixtures/shell.ts';
import { createPhone } from '../phones/index.ts';

/** The phones that the pages name, and what `campaigns` calls. */
const PHONE = '00:1A:E8:12:34:56';
const IN_TABLE = ['00:1A:E8:00:00:01', '00:1A:E8:00:00:02'];
const IN_CAMPAIGN = ['00:1A:E8:5C:00:01', '00:1A:E8:5C:00:02', '00:1A:E8:5C:00:03', '00:1A:E8:5C:00:04'];
/** Nobody: what is pending for it stays. */
const ABSENT = '00:1A:E8:5D:00:01';

t.test('commands of the pages for operators', async (t) => {
  const gate = await startGate(t, {
    logLevel: 'info',
    relay: { courier: { allow_sources: ['127.0.0.0/8'] } },
  });
  const home = gate.dir;
  const relayDir = join(home, 'relay');
  const path = `${join(ROOT, 'bin')}:${process.env['PATH'] ?? ''}`;
  const shell = createShell({
    home,
    cwd: relayDir,
    env: { PATH: path, PHONE_ADMIN_PWD: 'admin-of-the-test' },
  });
  /** What a page calls so is at a free port of this machine. */
  const addresses: [written: string, here: string][] = [
    ['proxy.example:18443', gate.doors['wpi'] ?? ''],
    ['proxy.example:8080', new URL(gate.pollUrl).host],
  ];
  /** Runs a page's block, with `copied` in the place of what readers copy from elsewhere. */
  const follow = (page: string, starts: string, copied: [string, string][] = []): Promise<ScriptOutcome> => {
    let script = commandsOf(page, starts);
    for (const [written, here] of [...addresses, ...copied]) script = script.replaceAll(written, here);
    return shell.run(`set -e\n${script}`);
  };
  const fine = async (...block: Parameters<typeof follow>): Promise<string> => {
    const { code, stdout, stderr } = await follow(...block);
    t.equal(code, 0, `${block[0]}: ${block[1]} ${code === 0 ? '' : stdout + stderr}`);
    return stdout;
  };
  const joinString = async (name: string): Promise<string> => {
    const { stdout } = await shell.run(`sallyport-proxy invite ${name} --config ~/proxy/proxy.yaml`);
    return stdout.trim().split('\n').at(-1) ?? '';
  };
  const configure = (change: object): void => {
    const config = parse(readFileSync(gate.relayConfig, 'utf8')) as object;
    writeFileSync(gate.relayConfig, stringify({ ...config, ...change }));
  };
  const restartRelay = async (): Promise<void> => {
    t.equal(await gate.relay.stop(), 0);
    await gate.startRelay();
  };
  const push = async (device: string): Promise<void> => {
    t.equal((await gate.call('POST', `/v1/devices/${device}/messages?wait=proxy`, {})).status, 201);
  };
  const phones = new Map(
    [PHONE, ...IN_TABLE, ...IN_CAMPAIGN].map((deviceId) => {
      const { phoneService: service, pollUrl } = gate;
      const polling = { pollUrl, pollIntervalMs: 250, contactListen: false } as const;
      return [deviceId, createPhone({ deviceId, service, ...polling })];
    }),
  );
  t.teardown(() => Promise.all([...phones.values()].map((phone) => phone.close())));
  const modeOf = (name: string): number => statSync(join(relayDir, name)).mode & 0o777;
  const itemOf = (device: string, name: string): string | undefined => phones.get(device)?.items.get(name);

  await t.test('docs/webhooks.md: a secret, by which a receiver knows who tells it', async (t) => {
    const got: { headers: Record<string, unknown>; body: string }[] = [];
    const receiver = createServer((request, response) => {
      let body = '';
      request.setEncoding('utf8').on('data', (text: string) => (body += text));
      request.on('end', () => {
        got.push({ headers: request.headers, body });
        response.writeHead(204).end();
        receiver.emit('told');
      });
    }).listen(0, '127.0.0.1');
    await once(receiver, 'listening');
    t.teardown(() => {
      receiver.close();
      receiver.closeAllConnections();
    });
    await fine('docs/webhooks.md', '(umask 077; openssl rand');
    t.equal(modeOf('tickets.secret'), 0o600, 'nobody else reads it');
    const { port } = receiver.address() as AddressInfo;
    const shown = firstBlock('docs/webhooks.md', 'yaml');
    configure(parse(shown.replace('https://tickets.internal/', `http://127.0.0.1:${port}/`)) as object);
    await restartRelay();
    await push(ABSENT);
    const told = once(receiver, 'told');
    await gate.call('DELETE', `/v1/devices/${ABSENT}/messages`);
    await told;
    const { headers, body } = got[0]!;
    const secret = readFileSync(join(relayDir, 'tickets.secret'), 'utf8').trimEnd();
    const signed = `${String(headers['webhook-id'])}.${String(headers['webhook-timestamp'])}.${body}`;
    t.equal(
      headers['webhook-signature'],
      `v1,${createHmac('sha256', secret).update(signed).digest('base64')}`,
    );
    t.match(JSON.parse(body), { events: [{ event: 'cleared', device: ABSENT.toLowerCase() }] });
  });

  await t.test('docs/doctor.md: a whole gate has nothing that fails', async (t) => {
    const door = gate.doors['wpi'] ?? '';
    chmodSync(join(home, 'shown.key'), 0o600);
    for (const [starts, says] of [
      ['sallyport-relay doctor --config ~/relay/relay.yaml', /registered there/],
      ['sallyport-proxy doctor', / 0 failed$/m],
      ['sallyport-relay doctor --config ~/relay/relay.yaml --door', new RegExp(`${door}.*speaks TLS 1\\.2`)],
    ] as const) {
      const { code, stdout } = await follow('docs/doctor.md', starts);
      t.match(stdout, says, starts);
      t.equal(code, 0, `${starts} finds nothing that fails: ${stdout}`);
    }
  });

  await t.test('docs/courier.md: actions are held, and a phone does them', async (t) => {
    writeFileSync(join(relayDir, 'actions.json'), firstBlock('docs/courier.md', 'json'));
    await Promise.all([...phones.values()].map((phone) => phone.start({ startUp: false })));
    t.match(await fine('docs/courier.md', 'sallyport-relay push'), /cleared/);
    t.equal(itemOf(PHONE, 'terminal-name'), 'lobby');
  });

  await t.test('docs/templates.md: a table is looked at, and each phone gets what is its own', async (t) => {
    const page = 'docs/templates.md';
    writeFileSync(join(relayDir, 'actions.json'), firstBlock(page, 'json'));
    writeFileSync(join(relayDir, 'phones.csv'), firstBlock(page, 'csv'));
    mkdirSync(join(relayDir, 'secrets'));
    for (const number of ['4911', '4912'])
      writeFileSync(join(relayDir, 'secrets', `${number}.txt`), `pass-of-${number}\n`);
    const said = await fine(page, 'sallyport-relay push');
    t.match(said, /lobby, left/);
    t.notMatch(said, /pass-of-|admin-of-the-test/, 'no secret is shown');
    await shell.run('sallyport-relay campaign watch numbers');
    t.same(
      IN_TABLE.map((device) =>
        ['e164', 'terminal-name', 'sip-pwd', 'admin-pwd'].map((name) => itemOf(device, name)),
      ),
      [
        ['4911', 'room lobby, left', 'pass-of-4911', 'admin-of-the-test'],
        ['4912', 'room kitchen', 'pass-of-4912', 'admin-of-the-test'],
      ],
    );
  });

  await t.test('docs/campaigns.md: phones are called, and it is watched to its end', async (t) => {
    writeFileSync(join(relayDir, 'phones.txt'), `${IN_CAMPAIGN.join('\n')}\n`);
    t.match(await fine('docs/campaigns.md', 'sallyport-relay push --from'), /cleared/);
  });

  await t.test('docs/teaching.md: a phone’s own poll path', async (t) => {
    const said = await fine('docs/teaching.md', 'sallyport-relay poll-path');
    t.match(said, /^[0-9a-f]{32}\/contact-me\?device-id=00:1a:e8:00:00:01\n$/);
  });

  await t.test('docs/operating.md: backup and restore', async (t) => {
    await push(ABSENT);
    await fine('docs/operating.md', 'mkdir -p ~/backups');
    const [name = ''] = readdirSync(join(home, 'backups'));
    await gate.call('DELETE', `/v1/devices/${ABSENT}/messages`);
    await gate.polls(ABSENT, 200);
    t.equal(await gate.relay.stop(), 0);
    await fine('docs/operating.md', 'sallyport-relay restore', [['outbox-20260102T030405Z.db', name]]);
    await gate.startRelay();
    await gate.polls(ABSENT, 202);
  });

  await t.test('docs/operating.md: another key of the outbox', async (t) => {
    const file = join(relayDir, 'outbox.key');
    const former = readFileSync(file, 'utf8');
    const actions = [{ action: 'WriteItems', items: [{ name: 'user-pwd', value: 'sealed' }] }];
    const held = await gate.call('POST', `/v1/devices/${ABSENT}/messages`, { kind: 'dls', actions });
    t.equal(held.status, 201);
    await fine('docs/operating.md', 'cd ~/relay\n(umask 077;');
    await fine('docs/operating.md', 'mv outbox.key.new outbox.key');
    const [above, below] = [readFileSync(file, 'utf8').slice(0, 45), readFileSync(file, 'utf8').slice(45)];
    t.match(above, /^[A-Za-z0-9+/]{43}=\n$/);
    t.equal(below, former);
    t.equal(modeOf('outbox.key'), 0o600, 'nobody else reads it');
    await restartRelay();
    t.equal((await gate.call('GET', `/v1/messages/${String(held.body['id'])}`)).body['state'], 'held');
  });

  await t.test('docs/operating.md: another key of the relay', async (t) => {
    const word = await joinString('hq-1');
    t.equal((await shell.run(`sallyport-relay join ${word} --dir ~/relay --new-key`)).code, 0);
    await fine('docs/operating.md', 'cd ~/relay && mv relay.key relay.key.old');
    configure({ former_key: 'relay.key.old' });
    await restartRelay();
    await gate.polls(ABSENT, 202);
  });

  await t.test('docs/operating.md: a proxy beside the one that goes', async (t) => {
    const script = commandsOf('docs/operating.md', 'sallyport-proxy run --beside').trim();
    const next = shell.stay(script);
    t.teardown(() => next.end());
    await next.prints(/"msg":"ready"/);
    t.equal(await gate.proxy.stop(), 0);
    await next.prints(/"msg":"site current"/);
    await gate.polls(ABSENT, 202);
    await next.end();
    await gate.startProxy();
  });

  await t.test('docs/operating.md: what is readable of a damaged outbox', async (t) => {
    t.equal(await gate.relay.stop(), 0);
    const file = join(relayDir, 'outbox', 'outbox.db');
    const bytes = readFileSync(file);
    for (let at = bytes.indexOf(ABSENT.toLowerCase()); at > 0; at = bytes.indexOf(ABSENT.toLowerCase()))
      bytes[at] = 0x78;
    writeFileSync(file, bytes);
    const relay = shell.stay(commandsOf('docs/operating.md', 'sallyport-relay run --accept-loss').trim());
    t.teardown(() => relay.end());
    await relay.prints(/"msg":"the outbox was damaged[^]*"msg":"link up"/);
    await relay.end();
    t.ok(readdirSync(relayDir, { recursive: true }).some((name) => String(name).endsWith('loss.json')));
  });
});

import { readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { connect } from 'node:tls';
import t from 'tap';
import { WebSocket } from 'ws';
import { parse, stringify } from 'yaml';
import { readJoinString, writeJoinString } from '../../shared/join-string.ts';
import { startGate } from '../fixtures/gate.ts';
import type { Gate } from '../fixtures/gate.ts';
import { runProgram, startProgram } from '../fixtures/program.ts';

const DEVICE = '00:1a:e8:00:00:01';

/** What the relay door does with a connection that brings this certificate: an HTTP status, or that it was cut. */
function knock(
  gate: Gate,
  options: { cert?: string; key?: string; path?: string; origin?: string; protocol?: string },
): Promise<number | 'cut'> {
  const [host, port] = String(gate.proxy.ready['relay']).split(':');
  return new Promise((resolve) => {
    const ws = new WebSocket(
      `wss://${host}:${port}${options.path ?? '/link/control'}`,
      [options.protocol ?? 'sallyport.1'],
      {
        rejectUnauthorized: false,
        ...(options.cert === undefined ? {} : { cert: options.cert }),
        ...(options.key === undefined ? {} : { key: options.key }),
        ...(options.origin === undefined ? {} : { origin: options.origin }),
      },
    );
    ws.on('unexpected-response', (_request, response) => {
      resolve(response.statusCode ?? 0);
      ws.terminate();
    });
    ws.on('open', () => {
      resolve(101);
      ws.terminate();
    });
    ws.on('error', () => resolve('cut'));
  });
}

t.test('pairing: invites are good once, keys never leave, strangers stay outside', async (t) => {
  const gate = await startGate(t);
  const invite = async (...more: string[]) => {
    const made = await runProgram('sallyport-proxy', [
      'invite',
      'hq-2',
      '--config',
      gate.proxyConfig,
      ...more,
    ]);
    return { code: made.code, word: made.stdout.trim().split('\n').at(-1) ?? '', stderr: made.stderr };
  };
  const joinDir = join(gate.dir, 'second');

  await t.test('an invite is good for one relay only', async (t) => {
    const { word } = await invite();
    const first = await runProgram('sallyport-relay', ['join', word, '--dir', joinDir]);
    t.equal(first.code, 0, first.stderr);
    t.equal((await stat(join(joinDir, 'relay.key'))).mode & 0o777, 0o600, 'the key is for its owner alone');
    const again = await runProgram('sallyport-relay', ['join', word, '--dir', join(gate.dir, 'third')]);
    t.equal(again.code, 1);
    t.match(again.stderr, /used already/);
  });

  await t.test(
    'a changed invite, another proxy behind the address, or no invite at all is refused',
    async (t) => {
      const { word } = await invite();
      const ticket = readJoinString(word);
      const forged = writeJoinString({ ...ticket, token: `${ticket.token.slice(0, -2)}AA` });
      t.match(await runProgram('sallyport-relay', ['join', forged, '--dir', joinDir]), {
        code: 1,
        stderr: /not of this proxy/,
      });
      const wrongPin = `sha256:${'A'.repeat(43)}=` as const;
      const elsewhere = writeJoinString({ ...ticket, pin: wrongPin });
      t.match(await runProgram('sallyport-relay', ['join', elsewhere, '--dir', joinDir]), {
        code: 1,
        stderr: /shows sha256:.* where sha256:AAAA/,
      });
      t.match(await runProgram('sallyport-relay', ['join', 'nonsense', '--dir', joinDir]), {
        code: 1,
        stderr: /not a join string/,
      });
    },
  );

  await t.test(
    'an address to dial is a host and a port: what else it says is refused, not dropped',
    async (t) => {
      for (const [url, odd] of [
        ['wss://user:hunter2@proxy.example:9443/path?x', /without user or password, a path, a query/],
        ['https://proxy.example', /begins with wss:/],
      ] as const) {
        const args = ['invite', 'hq-9', '--config', gate.proxyConfig, '--url', url];
        const { code, stdout, stderr } = await runProgram('sallyport-proxy', args);
        t.equal(code, 2, url);
        t.equal(stdout, '');
        t.match(stderr, /--url is to be wss:\/\/HOST:PORT/);
        t.match(stderr, odd);
        t.notMatch(stderr, /hunter2/);
      }
    },
  );

  await t.test('a second join adds a proxy to the config and keeps the rest of it', async (t) => {
    const file = join(joinDir, 'relay.yaml');
    const before = await readFile(file, 'utf8');
    await writeFile(file, before.replace('services: []', 'services: []   # kept'));
    const { word } = await invite('--url', 'wss://127.0.0.1:1');
    const ticket = readJoinString(word);
    // The same proxy by another name.
    const url = `wss://localhost:${String(gate.proxy.ready['relay']).split(':')[1]}`;
    const second = await runProgram('sallyport-relay', [
      'join',
      writeJoinString({ ...ticket, url }),
      '--dir',
      joinDir,
    ]);
    t.equal(second.code, 0, second.stderr);
    const text = await readFile(file, 'utf8');
    t.match(text, '# kept');
    t.equal((parse(text) as { proxies: unknown[] }).proxies.length, 2);
  });

  await t.test(
    'the proxy keeps public keys, hashes of invites and times of revocations on its disk, nothing else',
    async (t) => {
      const state = join(gate.dir, 'proxy', 'state');
      t.same((await readdir(state)).sort(), ['relays', 'revoked', 'used-invites']);
      for (const name of await readdir(join(state, 'revoked'))) {
        t.match(await readFile(join(state, 'revoked', name), 'utf8'), /^\d+\n$/, 'when it was revoked');
      }
      for (const name of await readdir(join(state, 'relays'))) {
        const record = parse(await readFile(join(state, 'relays', name), 'utf8')) as object;
        t.same(Object.keys(record), ['name', 'site', 'pin', 'added']);
      }
      for (const name of await readdir(join(state, 'used-invites'))) t.match(name, /^[0-9a-f]{64}$/);
    },
  );

  await t.test('the relay door tells strangers nothing', async (t) => {
    t.equal(await knock(gate, {}), 'cut', 'no certificate: not even HTTP');
    const stranger = await gate.authority.issue(['stranger']);
    t.equal(await knock(gate, stranger), 403, 'an unknown key');
    t.equal(await knock(gate, { ...stranger, origin: 'https://evil.example' }), 403, 'a browser');
    t.equal(await knock(gate, { ...stranger, path: '/elsewhere' }), 404);
    t.equal(await knock(gate, { ...stranger, protocol: 'sallyport.99' }), 426, 'another version');
  });

  await t.test('TLS below 1.3 is not spoken to relays', async (t) => {
    const [host, port] = String(gate.proxy.ready['relay']).split(':');
    const socket = connect({ host, port: Number(port), maxVersion: 'TLSv1.2', rejectUnauthorized: false });
    const error = await new Promise<Error | null>((resolve) => {
      socket.once('error', resolve);
      socket.once('secureConnect', () => resolve(null));
    });
    socket.destroy();
    t.ok(error);
  });

  await t.test(
    'a relay with the key of another proxy in its config does not link, and says why',
    async (t) => {
      const config = parse(await readFile(gate.relayConfig, 'utf8')) as {
        proxies: { url: string; pin: string }[];
      };
      const wrong = {
        ...config,
        outbox: { path: './other' },
        api: { listen: '127.0.0.1:0' },
        contact_me: null,
      };
      wrong.proxies = config.proxies.map((proxy) => ({ ...proxy, pin: `sha256:${'B'.repeat(43)}=` }));
      const file = join(gate.dir, 'relay', 'wrong.yaml');
      await writeFile(file, stringify(wrong));
      const relay = await startProgram('sallyport-relay', ['run', '--config', file]);
      t.teardown(() => relay.stop());
      const line = await relay.line(({ msg }) => msg === 'link down');
      t.match(line['why'], /shows sha256:.* where sha256:BBBB/);
    },
  );

  await t.test('a revoked relay is cut, its polls turn to 200, and it may not come back', async (t) => {
    await gate.call('POST', `/v1/devices/${DEVICE}/messages?wait=proxy`, {});
    await gate.polls(DEVICE, 202);
    const revoked = await runProgram('sallyport-proxy', ['revoke', 'hq-1', '--config', gate.proxyConfig]);
    t.equal(revoked.code, 0, revoked.stderr);
    await gate.polls(DEVICE, 200);
    const { why } = await gate.relay.line(({ msg }) => msg === 'link down');
    t.match(why, /revoked/, 'the relay is told why');
    const unknown = await runProgram('sallyport-proxy', ['revoke', 'nobody', '--config', gate.proxyConfig]);
    t.match(unknown, { code: 1, stderr: /no relay nobody/ });
  });
});

t.test('what cannot start says what, where and what to do', async (t) => {
  const gate = await startGate(t);

  await t.test('a broken config names every fault, with file and line, and ends with 2', async (t) => {
    for (const [program, text, faults] of [
      [
        'sallyport-proxy',
        'poll: nowhere\nrelay: {listen: x}\nbogus: 1\n',
        ['poll', 'relay.listen', 'relay.tls', 'relay.state', 'bogus'],
      ],
      [
        'sallyport-relay',
        'name: "no good"\nproxies: []\nservices: [{kind: wpi}]\n',
        ['name', 'key', 'proxies', 'services[0].name', 'services[0].upstream'],
      ],
    ] as const) {
      const file = join(gate.dir, 'broken.yaml');
      await writeFile(file, text);
      for (const verb of ['check', 'run']) {
        const { code, stderr } = await runProgram(program, [verb, '--config', file]);
        t.equal(code, 2, stderr);
        for (const fault of faults) t.match(stderr, `${fault} is`, `${program} ${verb} names ${fault}`);
        t.match(stderr, `${file}:1`);
      }
    }
    for (const program of ['sallyport-proxy', 'sallyport-relay'] as const) {
      t.match(await runProgram(program, ['run', '--config', '/nonexistent.yaml']), {
        code: 2,
        stderr: /config file \/nonexistent\.yaml: there is no such file/,
      });
    }
    t.match(await runProgram('sallyport-proxy', ['sing']), { code: 2, stderr: /unknown command/ });
  });

  await t.test('a secret in a config is not shown when it is wrong', async (t) => {
    const file = join(gate.dir, 'secret.yaml');
    await writeFile(file, 'proxies: [{url: "wss://x:1", pin: x, via: "ftp://user:hunter2@proxy"}]\n');
    const { code, stderr } = await runProgram('sallyport-relay', ['check', '--config', file]);
    t.equal(code, 2);
    t.match(stderr, /proxies\[0\]\.via is \(hidden\)/);
    t.notMatch(stderr, /hunter2/);
  });

  await t.test('an occupied port is named, and nothing is left running', async (t) => {
    const again = await runProgram('sallyport-proxy', ['run', '--config', gate.proxyConfig], {
      withinMs: 20_000,
    });
    t.equal(again.code, 1);
    t.match(again.stderr, /cannot listen on 127\.0\.0\.1:\d+: another program does/);
    const relay = await runProgram('sallyport-relay', ['run', '--config', gate.relayConfig], {
      withinMs: 20_000,
    });
    t.equal(relay.code, 1);
    t.match(relay.stderr, /outbox/, 'two relays on one outbox are told apart before any port');
  });

  await t.test('a state directory that is a file is named', async (t) => {
    const config = parse(await readFile(gate.proxyConfig, 'utf8')) as { relay: object };
    const blocked = join(gate.dir, 'proxy', 'blocked');
    await writeFile(blocked, '');
    const file = join(gate.dir, 'proxy', 'blocked.yaml');
    await writeFile(file, stringify({ ...config, relay: { ...config.relay, state: './blocked' } }));
    const { code, stderr } = await runProgram('sallyport-proxy', ['run', '--config', file]);
    t.equal(code, 1);
    t.match(stderr, new RegExp(`cannot use the state directory ${blocked}`));
  });

  await t.test('init never overwrites', async (t) => {
    const { code, stderr } = await runProgram('sallyport-proxy', ['init', join(gate.dir, 'proxy')]);
    t.equal(code, 1);
    t.match(stderr, /is there already/);
  });

  await t.test('health tells whether the relay is there, by its exit code', async (t) => {
    t.match(await runProgram('sallyport-proxy', ['health', '--config', gate.proxyConfig]), {
      code: 0,
      stdout: /ready/,
    });
    t.match(await runProgram('sallyport-relay', ['health', '--config', gate.relayConfig]), { code: 0 });
    t.equal(await gate.relay.stop(), 0, 'SIGTERM ends the relay with 0');
    const down = await runProgram('sallyport-proxy', ['health', '--config', gate.proxyConfig]);
    t.match(down, { code: 1, stdout: /no relay link/ });
    t.match(await runProgram('sallyport-relay', ['health', '--config', gate.relayConfig]), { code: 1 });
    t.equal(await gate.proxy.stop(), 0, 'SIGTERM ends the proxy with 0');
  });
  await rm(join(gate.dir, 'broken.yaml'));
});

import { writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { once } from 'node:events';
import { join } from 'node:path';
import t from 'tap';
import { parseDuration } from '../../../relay-client/cli/duration.ts';
import { pairs, table } from '../../../shared/table.ts';
import { device, linkedProxy, PROXY_URL, wpiService } from '../../fixtures/fake-view.ts';
import { programPath, runProgram } from '../../fixtures/program.ts';
import { runCli } from '../../fixtures/run-cli.ts';
import { createShell } from '../../fixtures/shell.ts';
import { startApi } from '../../fixtures/start-api.ts';

const MAC = device('00:1a:e8:00:00:01');

t.test('clear clears devices and cancels a single message', async (t) => {
  const { url, client } = await startApi(t);
  await client.push('aa');
  const { id } = await client.push('bb');
  t.match(await runCli(['clear', 'aa', 'cc', '--api', url]), {
    code: 0,
    out: 'aa: 1 cleared\ncc: nothing was held\n',
  });
  t.match(await runCli(['clear', '--message', id, '--api', url]), {
    code: 0,
    out: `bb: message ${id} cancelled\n`,
  });
  t.match(await runCli(['clear', 'aa', '--json', '--api', url]), { json: [{ device: 'aa', count: 0 }] });
  t.match(await runCli(['clear', '--message', 'none', '--api', url]), {
    code: 1,
    err: /There is no message|none/,
  });
});

t.test(
  'clear and redrive read device ids from standard input, and a refused one hinders no other',
  async (t) => {
    const { url, client } = await startApi(t);
    await client.push('aa');
    await client.push('bb');
    const shell = createShell({ home: t.testdir() });
    const given = (verb: string, input: string) =>
      shell.run(`'${programPath('sallyport-relay')}' ${verb} bb - --api ${url}`, input);
    t.match(await given('clear', '# a list\naa\n\nno id\ncc # nobody\n'), {
      code: 1,
      stdout: 'bb: 1 cleared\naa: 1 cleared\ncc: nothing was held\n',
      stderr: /^no id: .+\n$/,
    });
    t.match(await given('redrive', 'no id\naa\n'), {
      code: 1,
      stderr: /^bb: nothing is dead\nno id: .+\naa: nothing is dead\n$/,
    });
  },
);

t.test('a config that is not there, or is none, is told with what to do', async (t) => {
  const dir = t.testdir();
  const [missing, directory] = await Promise.all([
    runProgram('sallyport-relay', ['status', '--config', join(dir, 'no.yaml')]),
    runProgram('sallyport-proxy', ['relays', '--config', dir]),
  ]);
  t.match(missing, { code: 2, stderr: /no\.yaml: there is no such file; .* --config FILE/ });
  t.match(directory, { code: 2, stderr: /it is a directory; name the file in it/ });
});

t.test('redrive holds again what is dead: actions in their order, and the newest call', async (t) => {
  const { url, client, outbox } = await startApi(t);
  const dls = { kind: 'dls', actions: [{ action: 'Restart', items: [] }] } as const;
  const ids: string[] = [];
  for (const push of [{}, dls, dls, {}]) {
    const { id, generation } = await client.push(MAC, push);
    ids.push(id);
    await outbox.fruitless(MAC, generation, 1);
  }
  t.same(
    (await client.messages(MAC)).map(({ state }) => state),
    ['dead', 'dead', 'dead', 'dead'],
  );
  const done = await runCli(['redrive', MAC, '--json', '--api', url]);
  t.match(done, { code: 0, json: ids.slice(1).map((id, i) => ({ id, state: 'held', generation: 5 + i })) });
  t.match(
    await runCli(['redrive', MAC, 'bb', '--api', url]),
    {
      code: 1,
      out: '',
      err: `${MAC}: nothing is dead\nbb: nothing is dead\n`,
    },
    'a call that was taken over by a newer one stays dead',
  );
  t.match(await runCli(['redrive', '--message', ids[0]!, '--api', url]), {
    code: 0,
    out: `${MAC}: message ${ids[0]} held again, generation 8\n`,
  });
  t.match(await runCli(['redrive', '--message', ids[0]!, '--api', url]), {
    code: 1,
    err: /not dead|is held/,
  });
  t.match(await runCli(['redrive', '--api', url]), { code: 2, err: /Name at least one device/ });
});

t.test('status lays out links, services and counts', async (t) => {
  const { url, client, view } = await startApi(t);
  await client.push(MAC);
  view.state.proxies.push(
    linkedProxy({ url: 'wss://b:1', state: 'down', why: 'refused', roundTripMs: null, lag: null }),
  );
  view.state.services = [wpiService(false)];
  const { code, out } = await runCli(['status', '--api', url]);
  t.equal(code, 0);
  t.match(out, /relay +hq-1, site default/);
  t.match(out, /ready +no: proxy wss:\/\/b:1 is down/);
  t.match(out, /held +1\n/);
  t.match(out, new RegExp(`${PROXY_URL} +up .* 1\\.5 ms +0 `));
  t.match(out, /wss:\/\/b:1 +down .* - +- .* refused\n/);
  t.match(out, /wpi +wpi +down .*ECONNREFUSED/);
  t.match(await runCli(['status', '--json', '--api', url]), {
    json: [{ name: 'hq-1', outbox: { held: 1 } }],
  });
});

t.test('devices lists page after page up to the limit, and the unknown', async (t) => {
  const { url, client, view } = await startApi(t);
  for (const id of ['aa', 'bb', 'cc']) await client.push(id);
  await client.clear('bb');
  const all = await runCli(['devices', '--api', url]);
  t.match(all, { code: 0, out: /^DEVICE .*\naa +pending +1 +1 .*\nbb +idle +0 +1 .*\ncc .*\n$/ });
  t.match(await runCli(['devices', '--limit', '2', '--api', url]), {
    out: /aa[^]*bb/,
    err: /There are more/,
  });
  t.match(await runCli(['devices', '--state', 'idle', '--json', '--api', url]), { json: [{ device: 'bb' }] });
  t.match(await runCli(['devices', '--q', 'zz', '--api', url]), { out: 'No such device was pushed to.\n' });
  t.match(await runCli(['devices', '--unknown', '--api', url]), { out: 'No unknown device polls.\n' });
  view.state.unknown.push({ device: 'ghost', at: Date.now(), address: '192.0.2.9', proxy: PROXY_URL });
  t.match(await runCli(['devices', '--unknown', '--api', url]), { out: /ghost +0 s ago +192\.0\.2\.9/ });
});

t.test(
  'why says in a line where the work stands and what to do, and in another at which proxies',
  async (t) => {
    const { url, client, view } = await startApi(t);
    await client.push(MAC);
    const { code, out } = await runCli(['why', '001AE8000001', '--api', url]);
    t.equal(code, 0);
    const [line, where, ...rest] = out.split('\n');
    t.match(line, /^00:1a:e8:00:00:01 has not polled any proxy.* Check that .*\[never-polled\]$/);
    t.equal(where, `At the proxies: ${PROXY_URL} has yet to be told.`);
    t.same(rest, ['']);
    view.state.heldAt.set(1, [{ proxy: PROXY_URL, since: Date.now() - 5_000, exact: false }]);
    t.match((await runCli(['why', MAC, '--api', url])).out, /has held it for \d+ s or longer\.\n$/);
    t.match(await runCli(['why', MAC, '--json', '--api', url]), {
      json: [{ verdict: 'never-polled', facts: { pending: 1 } }],
    });
  },
);

t.test('health exits 0 while ready and 1 with the reasons while not', async (t) => {
  const { url, view } = await startApi(t, { token: 'secret' });
  t.match(await runCli(['health', '--api', url]), { code: 0, out: 'ready\n' }, 'it needs no token');
  view.state.proxies = [linkedProxy({ state: 'down', why: 'refused' })];
  t.match(await runCli(['health', '--api', url]), {
    code: 1,
    out: /^not ready\n {2}proxy .* is down since .*: refused\n$/,
  });
  t.match(await runCli(['health', '--json', '--api', url]), { code: 1, json: [{ ready: false }] });
});

t.test('events follows until it is stopped', async (t) => {
  const { url, client, view } = await startApi(t);
  const stop = new AbortController();
  const { code, out } = await runCli(['events', '--api', url], {
    signal: stop.signal,
    onOut(text) {
      const lines = text.split('\n').length - 1;
      if (lines === 1) void client.push('aa');
      if (lines === 2) view.emit({ type: 'link', proxy: linkedProxy({ state: 'down', why: 'gone' }) });
      if (lines === 3) view.emit({ type: 'session', device: null, phase: 'ended', outcome: 'cut' });
      if (lines === 4) view.emit({ type: 'service', name: 'wpi', health: { up: true, why: null, since: 0 } });
      if (lines === 5) stop.abort();
    },
  });
  t.equal(code, 0);
  t.match(out.split('\n'), [
    'following hq-1 from 0',
    /^\S+Z #1 aa generation 1 accepted \(contact-me\)$/,
    `link ${PROXY_URL} down: gone`,
    'session of an unidentified phone ended: cut',
    'service wpi up',
  ]);
  const second = new AbortController();
  const past = await runCli(['events', '--after', '0', '--json', '--api', url], {
    signal: second.signal,
    onOut: (text) => void (text.split('\n').length > 2 && second.abort()),
  });
  t.match(past.json, [{ type: 'hello' }, { type: 'history', entry: { seq: 1, device: 'aa' } }]);
});

t.test('the address comes from --api, else SALLYPORT_API, else the config; the token likewise', async (t) => {
  const { url } = await startApi(t, { token: 'secret' });
  const file = join(t.testdir({}), 'api.token');
  writeFileSync(file, 'secret\n');
  const config = { url, token: 'secret' };
  t.match(await runCli(['status', '--config', 'relay.yaml'], { config }), {
    code: 0,
    configs: ['relay.yaml'],
  });
  t.match(await runCli(['status'], { config }), { code: 0, configs: [undefined] });
  t.match(await runCli(['status', '--api', url, '--token-file', file]), { code: 0, configs: [] });
  t.match(await runCli(['status'], { env: { SALLYPORT_API: url, SALLYPORT_TOKEN_FILE: file } }), {
    code: 0,
    configs: [],
  });
  t.match(
    await runCli(['status', '--api', url, '--config', 'r.yaml'], {
      config: { url: 'http://wrong', token: 'secret' },
    }),
    { code: 0 },
  );
});

t.test('a relay that does not run, a wrong token and a stranger on the port are told apart', async (t) => {
  const { url } = await startApi(t, { token: 'secret' });
  t.match(await runCli(['status', '--api', url]), { code: 1, err: /No token was sent.*--token-file/ });
  t.match(await runCli(['push', 'aa', '--api', url]), { code: 1, err: /No token was sent/ });
  t.match(await runCli(['push', 'aa', 'bb', '--api', url]), { code: 1, err: /No token was sent/ });
  t.match(await runCli(['events', '--api', url]), { code: 1, err: /No token was sent/ });
  t.match(await runCli(['status', '--api', url, '--token-file', '/nonexistent/token']), {
    code: 1,
    err: /Token file \/nonexistent\/token cannot be read/,
  });

  const closed = createServer().listen(0, '127.0.0.1');
  await once(closed, 'listening');
  const { port } = closed.address() as { port: number };
  closed.close();
  await once(closed, 'close');
  const gone = await runCli(['status', '--api', `http://127.0.0.1:${port}`]);
  t.match(gone, { code: 1, err: /cannot be reached: .*ECONNREFUSED.*is the relay running/ });
  t.match(await runCli(['push', 'aa', 'bb', '--api', `http://127.0.0.1:${port}`]), {
    code: 1,
    err: /ECONNREFUSED/,
  });
  t.match(await runCli(['status', '--api', 'nonsense']), { code: 1, err: /"nonsense" is no URL/ });

  const stranger = createServer((_request, response) => response.end('<html>')).listen(0, '127.0.0.1');
  t.teardown(() => stranger.close());
  await once(stranger, 'listening');
  const address = stranger.address() as { port: number };
  t.match(await runCli(['status', '--api', `http://127.0.0.1:${address.port}`]), {
    code: 1,
    err: /something else than JSON/,
  });
});

t.test(
  'to ask a running relay, of its config three fields are read, and no library that has no part in it',
  async (t) => {
    const { url } = await startApi(t, { token: 'secret' });
    const dir = t.testdir({
      'api.token': 'secret\n',
      'relay.yaml': `api: { listen: ${new URL(url).host}, token_file: api.token }\nservices: [{ name: half written\n`,
      'other.yaml': `api: { listen: ${new URL(url).host}, token_file: api.token }\nservices: [{ name: 17, kind: none }]\n`,
      'wrong.yaml': `api: { listen: nowhere }\nservices: [{ name: 17, kind: none }]\n`,
      'watch.mjs': `
      import { registerHooks } from 'node:module';
      const names = new Set();
      registerHooks({
        load(url, context, next) {
          const name = /node_modules\\/((?:@[^/]+\\/)?[^/]+)/.exec(url)?.[1];
          if (name !== undefined) names.add(name);
          return next(url, context);
        },
      });
      process.on('exit', () => process.stderr.write([...names].sort().join(' ')));`,
    });
    const status = (config: string) =>
      runProgram('sallyport-relay', ['status', '--json', '--config', join(dir, config)], {
        env: { NODE_OPTIONS: `--import=${join(dir, 'watch.mjs')}` },
      });
    const asked = await status('other.yaml');
    t.match(
      asked,
      { code: 0, stdout: /"name":"hq-1"/, stderr: 'commander yaml' },
      'a fault elsewhere hinders nobody',
    );
    t.match(await status('relay.yaml'), {
      code: 2,
      stderr: /relay\.yaml has 2 faults:.*not readable as YAML/s,
    });
    t.match(await status('wrong.yaml'), { code: 2, stderr: /services\[0\].*api\.listen is "nowhere"/s });
  },
);

t.test('help exits 0', async (t) => {
  t.match(await runCli(['push', '--help']), { code: 0, out: /--wait <for>/ });
});

t.test('lengths of time', async (t) => {
  t.same(
    ['90', '90s', '10m', '1h30m', '7d', '2w', '250ms', '0.5h'].map(parseDuration),
    [90_000, 90_000, 600_000, 5_400_000, 604_800_000, 1_209_600_000, 250, 1_800_000],
  );
  for (const text of ['', 'm', '5 m', '-5m', '5x', '5m5', '1e3'])
    t.throws(() => parseDuration(text), { code: 'REQUEST_INVALID' }, text);
});

t.test('tables are as wide as they need to be', async (t) => {
  t.equal(
    table(
      ['A', 'LONG'],
      [
        ['x', 1],
        ['yyyy', null],
      ],
    ),
    'A     LONG\nx     1\nyyyy  -\n',
  );
  t.equal(
    pairs([
      ['a', 1],
      ['long', null],
    ]),
    'a     1\nlong  -\n',
  );
});

import { writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import t from 'tap';
import { device, PROXY_URL } from '../../fixtures/fake-view.ts';
import { runCli } from '../../fixtures/run-cli.ts';
import { startApi } from '../../fixtures/start-api.ts';

const MAC = '00:1a:e8:00:00:01';

t.test('push holds a message and says so', async (t) => {
  const { url, client } = await startApi(t);
  const pushed = await runCli(['push', '001AE8000001', '--ttl', '1d', '--api', url]);
  t.match(pushed, { code: 0, err: '', out: new RegExp(`^${MAC}: held \\(message \\S+, generation 1\\)\n$`) });
  const [message] = await client.messages(MAC);
  const life = Date.parse(message?.expires_at ?? '') - Date.parse(message?.accepted_at ?? '');
  t.ok(Math.abs(life - 86_400_000) < 5000);
});

t.test('push --json prints what the API answered, and tells a known key', async (t) => {
  const { url } = await startApi(t);
  const first = await runCli(['push', MAC, '--key', 'job', '--json', '--api', url]);
  t.match(first.json, [{ device: MAC, generation: 1, state: 'held', known: false, id: String }]);
  const again = await runCli(['push', MAC, '--key', 'job', '--api', url]);
  t.match(again, { code: 0, out: /known by its key/ });
});

t.test('push takes many devices; a refused one fails the command and hinders no other', async (t) => {
  const { url, client } = await startApi(t);
  const pushed = await runCli(['push', 'aa', 'b b', 'cc', '--api', url]);
  t.match(pushed, { code: 1, out: /^aa: held .*\ncc: held .*\n$/, err: /^line 2: .*device id/ });
  t.match(await client.status(), { outbox: { held: 2 } });
});

t.test('push reads devices from a file and spreads them under a campaign', async (t) => {
  const { url, client } = await startApi(t);
  const file = join(t.testdir({}), 'devices.txt');
  writeFileSync(file, '# the branch\naa\n\nbb # lobby\n');
  const pushed = await runCli(['push', '--from', file, '--spread', '10m', '--campaign', 'c1', '--api', url]);
  t.match(pushed, { code: 0, out: /^aa: held .*\nbb: held .*\n$/ });
  t.match(await client.campaign('c1'), { total: 2, held: 2 });
  t.match((await client.messages('aa'))[0]?.not_before, /Z$/);
});

t.test('push --not-before takes a date-time or a length of time', async (t) => {
  const { url, client } = await startApi(t);
  const inAnHour = Date.now() + 3_600_000;
  for (const when of ['1h', new Date(inAnHour).toISOString()]) {
    t.equal((await runCli(['push', 'aa', '--not-before', when, '--api', url])).code, 0);
    const at = Date.parse((await client.messages('aa'))[0]?.not_before ?? '');
    t.ok(Math.abs(at - inAnHour) < 5000, `${when} became ${at}`);
  }
});

t.test('push --wait proxy says which proxies hold it, and fails where one was late', async (t) => {
  const { url, view } = await startApi(t);
  const waited = await runCli(['push', MAC, '--wait', 'proxy', '--api', url]);
  t.match(waited, { code: 0, out: new RegExp(`; at ${PROXY_URL}\n$`) });
  const many = await runCli(['push', 'aa', 'bb', '--wait', 'proxy', '--json', '--api', url]);
  t.match(many, {
    code: 0,
    json: [
      { device: 'aa', waited: true },
      { device: 'bb', waited: true },
    ],
  });
  view.state.heldBy = { all: false, proxies: [] };
  t.match(await runCli(['push', MAC, '--wait', 'proxy', '--api', url]), {
    code: 1,
    out: /at no proxy, others did not take it in time/,
  });
  const mixed = await runCli(['push', 'aa', 'not a device', '--wait', 'proxy', '--api', url]);
  t.match(mixed, { code: 1, err: /^not a device: .*device id/ });
});

t.test('push --wait cleared ends with the message: 0 when cleared, 1 otherwise', async (t) => {
  const { url, outbox } = await startApi(t);
  const end = (state: 'cleared' | 'cancelled') => (out: string) => {
    if (out.split('\n').length === 2) void outbox.clear(device('aa'), { state, by: 'session' });
  };
  const cleared = await runCli(['push', 'aa', '--wait', 'cleared', '--api', url], { onOut: end('cleared') });
  t.match(cleared, { code: 0, out: /^aa: held .*\naa: cleared \(session\)\n$/ });
  const cancelled = await runCli(['push', 'aa', '--wait', 'cleared', '--api', url], {
    onOut: end('cancelled'),
  });
  t.match(cancelled, { code: 1, out: /aa: cancelled/ });
});

t.test('push --wait cleared waits for every device', async (t) => {
  const { url, outbox } = await startApi(t);
  const waited = await runCli(['push', 'aa', 'bb', '--wait', 'cleared', '--json', '--api', url], {
    onOut(out) {
      const lines = out.split('\n').length - 1;
      if (lines === 2) void outbox.clear(device('bb'), { state: 'cleared', by: 'session' });
      if (lines === 3) void outbox.clear(device('aa'), { state: 'cleared', by: 'session' });
    },
  });
  t.match(waited, {
    code: 0,
    json: [
      { state: 'held' },
      { state: 'held' },
      { device: 'bb', state: 'cleared' },
      { device: 'aa', state: 'cleared' },
    ],
  });
});

t.test('push --wait cleared gives up after --timeout', async (t) => {
  const { url } = await startApi(t);
  const waited = await runCli(['push', 'aa', '--wait', 'cleared', '--timeout', '1s', '--api', url]);
  t.match(waited, { code: 1, err: /^aa: not cleared in time; "why aa" says/ });
});

t.test('push --wait cleared fails when its time is over before it could push', async (t) => {
  const silent = createServer();
  t.teardown(() => silent.close());
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
  const { port } = silent.address() as AddressInfo;
  const api = `http://127.0.0.1:${port}`;
  const waited = await runCli(['push', 'aa', '--wait', 'cleared', '--timeout', '50ms', '--api', api]);
  t.match(waited, { code: 1, out: '', err: /nothing was pushed/ });
});

t.test('a list of devices that cannot be read is named, not taken for a relay that is away', async (t) => {
  const { url } = await startApi(t);
  t.match(await runCli(['push', '--from', '/nowhere/devices.txt', '--api', url]), {
    code: 1,
    out: '',
    err: /^sallyport-relay: \/nowhere\/devices\.txt cannot be read: ENOENT[^;]+$/,
  });
});

t.test('a command line that makes no sense exits with 2 and says why', async (t) => {
  const { url } = await startApi(t);
  const wrong: [string[], RegExp][] = [
    [['push'], /at least one device/],
    [['push', 'aa', '--ttl', 'long'], /--ttl: "long" is no length of time/],
    [['push', 'aa', '--wait', 'forever'], /--wait .* choices are proxy, cleared/],
    [['push', 'aa', '--not-before', '2026-99-99T00:00Z'], /--not-before/],
    [['push', 'aa', '--spread', '1m', '--wait', 'proxy'], /--wait proxy goes with neither/],
    [['push', 'aa', '--colour', 'red'], /unknown option/],
    [['clear'], /at least one device/],
    [['why'], /missing required argument/],
    [['devices', '--limit', 'x'], /--limit/],
    [['devices', '--state', 'x'], /--state/],
    [['events', '--after', 'x'], /--after/],
    [['nothing'], /unknown command/],
  ];
  for (const [argv, text] of wrong) {
    const told = await runCli([...argv, '--api', url]);
    t.equal(told.code, 2, argv.join(' '));
    t.match(told.err, text, argv.join(' '));
    t.equal(told.out, '', argv.join(' '));
  }
});

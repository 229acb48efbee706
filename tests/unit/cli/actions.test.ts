import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import type { Test } from 'tap';
import { parseDeviceId } from '../../../shared/device-id.ts';
import type { DeviceId } from '../../../shared/device-id.ts';
import { runCli } from '../../fixtures/run-cli.ts';
import { startApi } from '../../fixtures/start-api.ts';
import type { StartedApi } from '../../fixtures/start-api.ts';

const MAC = '00:1a:e8:00:00:01';
const DEVICE = parseDeviceId(MAC) as DeviceId;
const XML =
  '<DLSMessage><Message><Action>WriteItems</Action><ItemList><Item name="sip-pwd">hunter2</Item><Item name="realm">x</Item></ItemList></Message></DLSMessage>';
const ACTIONS = [
  {
    action: 'WriteItems',
    items: [
      { name: 'sip-pwd', value: 'hunter2' },
      { name: 'realm', value: 'x' },
    ],
  },
];

function written(t: Test, name: string, text: string): string {
  const file = join(t.testdir({}), name);
  writeFileSync(file, text);
  return file;
}

/** Ends the next message of the device as a phone's answers would. */
function answer({ outbox }: StartedApi, results: object[]): void {
  const stop = outbox.onCommit(() => {
    void outbox.nextActions(DEVICE).then((message) => {
      if (message === null) return;
      stop();
      return outbox.end(message.id, {
        state: 'cleared',
        by: 'courier',
        results: JSON.stringify(results.map((result) => ({ at: 0, ...result }))),
      });
    });
  });
}

t.test('push --file holds what a file says, JSON or WPI', async (t) => {
  const { url, outbox } = await startApi(t);
  for (const [name, text] of [
    ['actions.xml', XML],
    ['actions.json', JSON.stringify(ACTIONS)],
    ['action.json', JSON.stringify(ACTIONS[0])],
  ] as const) {
    const pushed = await runCli(['push', MAC, '--file', written(t, name, text), '--api', url]);
    t.match(pushed, { code: 0, err: '', out: /held/ });
    const message = await outbox.nextActions(DEVICE);
    t.equal(message?.actions, JSON.stringify(ACTIONS));
    await outbox.clear(DEVICE, { state: 'cancelled', by: 'test' });
  }
});

t.test('what is wrong in a file is told by its place, and nothing is sent', async (t) => {
  const { url, outbox } = await startApi(t);
  const wrong: [text: string, told: RegExp][] = [
    ['{"action":', /neither JSON nor a WPI document/],
    ['[{"action":"Fly"}]', /\.0\.action: expected one of/],
    [XML.replace('sip-pwd', '1'), /items\.0\.name/],
    ['<a', /not taken/],
    ['<!DOCTYPE a><a/>', /DOCTYPE/],
  ];
  for (const [text, told] of wrong) {
    const pushed = await runCli(['push', MAC, '--file', written(t, 'file', text), '--api', url]);
    t.match(pushed, { code: 1, out: '', err: told }, text);
    t.notMatch(pushed.err, /hunter2/);
  }
  t.match(await runCli(['push', MAC, '--file', '/no/such', '--api', url]), {
    code: 1,
    err: /cannot be read/,
  });
  t.match(await runCli(['push', MAC, '--kind', 'dls', '--api', url]), { code: 2, err: /--file/ });
  t.match(await runCli(['push', MAC, '--dry-run', '--api', url]), { code: 2, err: /--file/ });
  t.equal((await outbox.counts()).accepted, 0);
});

t.test('--dry-run shows what would be held, and no secret', async (t) => {
  const file = written(t, 'actions.xml', XML);
  const nowhere = ['--api', 'http://127.0.0.1:1'];
  const shown = await runCli(['push', MAC, 'bb', '--file', file, '--dry-run', ...nowhere]);
  t.match(shown, { code: 0, err: '' });
  t.equal(shown.out, `${MAC}, bb:\n  WriteItems\n    sip-pwd = ***\n    realm = x\nNothing was sent.\n`);
  const json = await runCli(['push', MAC, '--file', file, '--dry-run', '--json', ...nowhere]);
  t.match(json.json, [
    { device: MAC, kind: 'dls', actions: [{ items: [{ value: '***' }, { value: 'x' }] }] },
  ]);
  const config = { url: 'http://127.0.0.1:1', token: null, secretItems: ['realm'] };
  const own = await runCli(['push', MAC, '--file', file, '--dry-run'], { config });
  t.match(own.out, /realm = \*\*\*/, 'what is secret is as the relay is configured');
  t.match(await runCli(['read', MAC, 'e164', 'key:3', '--dry-run', ...nowhere]), {
    code: 0,
    out: `${MAC}:\n  ReadItems\n    e164\n    key:3\nNothing was sent.\n`,
  });
});

t.test('read waits for the phone and prints the values', async (t) => {
  const api = await startApi(t);
  const results = [
    {
      action: 'ReadItems',
      status: 'accepted',
      items: [
        { name: 'e164', status: 'accepted', value: '4711' },
        { name: 'key', index: '3', status: 'accepted', value: 'a\nb\u001b[2J' },
        { name: 'admin-pwd', status: 'accepted', withheld: true },
      ],
    },
  ];
  answer(api, results);
  const read = await runCli(['read', MAC, 'e164', 'key:3', 'admin-pwd', '--api', api.url]);
  t.match(read, { code: 0, err: '' });
  t.equal(
    read.out,
    `${MAC}: cleared (courier)\n    e164 = 4711\n    key:3 = "a\\nb\\u001b[2J"\n    admin-pwd = (withheld)\n`,
  );
  answer(api, [{ action: 'ReadItems', status: 'accepted', items: [{ name: 'x', status: 'failed' }] }]);
  t.match(await runCli(['read', MAC, 'x', '--api', api.url]), { code: 1, out: /x: failed/ });
  answer(api, results);
  const json = await runCli(['read', MAC, 'e164', '--json', '--api', api.url]);
  t.match(json, { code: 0, json: [{ state: 'cleared', results: [{ items: [{ value: '4711' }] }] }] });
  t.match(await runCli(['read', MAC, 'e164', '--timeout', '300ms', '--api', api.url]), {
    code: 1,
    err: /still held/,
  });
  t.match(await runCli(['read', MAC, 'not a name', '--api', api.url]), { code: 1, err: /items\.0\.name/ });
});

t.test('restart holds a Restart, and waits where asked to', async (t) => {
  const api = await startApi(t);
  t.match(await runCli(['restart', MAC, '--api', api.url]), { code: 0, out: /held/ });
  t.match(await api.outbox.nextActions(DEVICE), { actions: '[{"action":"Restart","items":[]}]' });
  await api.outbox.clear(DEVICE, { state: 'cancelled', by: 'test' });
  answer(api, [{ action: 'Restart', status: 'accepted', items: [] }]);
  t.match(await runCli(['restart', MAC, '--wait', '--api', api.url]), { code: 0, out: /Restart: accepted/ });
});

t.test('push --wait cleared tells what the phone answered', async (t) => {
  const api = await startApi(t);
  const file = written(t, 'actions.xml', XML);
  answer(api, [
    { action: 'WriteItems', status: 'accepted', items: [{ name: 'realm', status: 'read only' }] },
  ]);
  const pushed = await runCli(['push', MAC, '--file', file, '--wait', 'cleared', '--api', api.url]);
  t.match(pushed, {
    code: 1,
    out: /cleared \(courier\)\n.*\n {2}WriteItems: accepted\n {4}realm: read only\n$/s,
  });
});

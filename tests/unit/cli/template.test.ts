import { join } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import { readTemplate } from '../../../relay-client/cli/template.ts';
import { readDeviceValues } from '../../../relay-client/cli/values.ts';
import type { DeviceId } from '../../../shared/device-id.ts';
import { runCli } from '../../fixtures/run-cli.ts';
import { startApi } from '../../fixtures/start-api.ts';

const ENV = { ADMIN_PWD: 'from-env' };
const ACTIONS = [
  {
    action: 'WriteItems',
    items: [
      { name: 'e164', value: '{{number}}' },
      { name: 'terminal-name', value: 'room {{ room }} / {{number}}' },
      { name: 'sip-pwd', value: '{{password}}' },
      { name: 'admin-pwd', value: '{{@env:ADMIN_PWD}}' },
      { name: 'realm', value: 'example' },
    ],
  },
  { action: 'ReadItems', items: ['e164'] },
];

t.test('each device gets its own values, and secrets come by reference', async (t) => {
  const dir = t.testdir({
    'phones.csv':
      '\ufeffdevice,number,room,password\r\n' +
      '00:1A:E8:00:00:01,4911,"lobby, left",@file:one.pwd\r\n' +
      '\r\n001ae8000002,4912,"he said ""no""",plain\r\n',
    'one.pwd': 'secret-one\n',
  });
  const file = join(dir, 'phones.csv');
  const devices = readDeviceValues(file, ENV);
  t.same(
    devices.map(({ device }) => device),
    ['00:1a:e8:00:00:01', '00:1a:e8:00:00:02'],
  );
  const template = readTemplate(ACTIONS, join(dir, 'actions.json'), ENV);
  t.same(template.columns, ['number', 'room', 'password']);
  const [one, two] = devices.map((device) => template.fill(device));
  t.same(
    one!.actions[0]!.items.map(({ value }) => value),
    ['4911', 'room lobby, left / 4911', 'secret-one', 'from-env', 'example'],
  );
  t.same([...one!.secrets], ['0.2', '0.3'], 'what came by reference is known as such');
  t.same(two!.actions[0]!.items[1], { name: 'terminal-name', value: 'room he said "no" / 4912' });
  t.same([...two!.secrets], ['0.3']);
  t.same(one!.actions[1], { action: 'ReadItems', items: [{ name: 'e164' }] });
});

t.test('WPI documents are templates too, and JSON lists hold values', async (t) => {
  const dir = t.testdir({ 'phones.json': JSON.stringify([{ device: 'desk-1', number: 7 }]) });
  const xml =
    '<DLSMessage><Message><Action>WriteItems</Action><ItemList><Item name="e164">{{number}}</Item></ItemList></Message></DLSMessage>';
  const [device] = readDeviceValues(join(dir, 'phones.json'), {});
  t.match(readTemplate(xml, 'a.xml', {}).fill(device!).actions, [
    { action: 'WriteItems', items: [{ name: 'e164', value: '7' }] },
  ]);
});

t.test('what is wrong is named by file and line, and no value is told', async (t) => {
  const secret = 'hunter2';
  const cases: [string, string, RegExp][] = [
    ['none.csv', 'device,a\n', /names no device/],
    ['id.csv', `device,a\n${secret}!,x\n`, /id\.csv:2 has no device id/],
    [
      'column.csv',
      `mac,a\n001ae8000001,${secret}\n`,
      /column\.csv:2 has no device id in its column "device"/,
    ],
    [
      'twice.csv',
      `device,a\n001ae8000001,x\n00:1a:e8:00:00:01,y\n`,
      /twice\.csv:3 names .* again, after .*:2/,
    ],
    ['ragged.csv', `device,a\n001ae8000001,${secret},more\n`, /ragged\.csv is no CSV file/],
    ['quote.csv', `device,a\n001ae8000001,"${secret}\n`, /quote\.csv is no CSV file/],
    ['env.csv', 'device,a\n001ae8000001,@env:NONE\n', /env\.csv:2 refers to NONE/],
    ['file.csv', 'device,a\n001ae8000001,@file:none\n', /cannot read .*none/],
    ['bad.json', `{"device": "${secret}"`, /bad\.json is not JSON/],
    ['object.json', '{}', /should hold a list/],
    ['nested.json', `[{"device":"a1","a":{"b":"${secret}"}}]`, /entry 1, has a value of "a"/],
  ];
  const dir = t.testdir(Object.fromEntries(cases.map(([name, text]) => [name, text])));
  for (const [name, , message] of cases) {
    const error = t.throws(() => readDeviceValues(join(dir, name), {}), { message }, name);
    t.notMatch(String((error as Error | null)?.message), secret, name);
  }
  const device = {
    device: 'desk-1' as DeviceId,
    values: new Map([['long', { text: secret.repeat(9_000), secret: true }]]),
  };
  const places = (value: string) =>
    readTemplate([{ action: 'WriteItems', items: [{ name: 'e164', value }] }], 'a.json', {});
  t.throws(() => places('{{nowhere}}').fill(device), { message: /place for \{\{nowhere\}\}.*desk-1/ });
  const tooLong = t.throws(() => places('{{long}}').fill(device), { message: /desk-1/ });
  t.notMatch(String((tooLong as Error | null)?.message), secret);
  t.throws(() => places('{{@env:NONE}}'), { message: /a\.json, item e164, refers to NONE/ });
});

t.test('a value is put in as it is, whatever it looks like', async () => {
  fc.assert(
    fc.property(
      fc.string({ maxLength: 40 }).filter((text) => /^[\x20-\x7e]*$/.test(text)),
      (text) => {
        const device = { device: 'desk-1' as DeviceId, values: new Map([['v', { text, secret: false }]]) };
        const template = readTemplate(
          [{ action: 'WriteItems', items: [{ name: 'e164', value: '<{{v}}>' }] }],
          'a',
          {},
        );
        return template.fill(device).actions[0]?.items[0]?.value === `<${text}>`;
      },
    ),
  );
});

t.test('push fills a template for each device, or shows what it would send, secrets masked', async (t) => {
  const { url, client, outbox } = await startApi(t);
  const dir = t.testdir({
    'actions.json': JSON.stringify([
      {
        action: 'WriteItems',
        items: [
          { name: 'e164', value: '{{number}}' },
          { name: 'terminal-name', value: '{{@env:TITLE}}' },
          { name: 'sip-pwd', value: '{{password}}' },
        ],
      },
    ]),
    'phones.csv': 'device,number,password\ndesk-1,4911,pw-one\ndesk-2,4912,pw-two\n',
  });
  const files = ['--file', join(dir, 'actions.json'), '--values', join(dir, 'phones.csv')];
  const env = { TITLE: 'a title by reference' };
  const shown = await runCli(['push', ...files, '--dry-run', '--api', url], { env });
  t.equal(shown.code, 0, shown.err);
  t.match(
    shown.out,
    /desk-1:\n  WriteItems\n    e164 = 4911\n    terminal-name = \*\*\*\n    sip-pwd = \*\*\*\n/,
  );
  t.notMatch(shown.out, /pw-one|by reference/);
  t.equal((await outbox.counts()).held, 0, 'nothing was sent');

  const pushed = await runCli(['push', ...files, '--campaign', 'numbers', '--api', url], { env });
  t.equal(pushed.code, 0, pushed.err);
  t.match(await client.campaign('numbers'), { total: 2, held: 2 });
  const [held] = await outbox.messages('desk-2' as DeviceId, 1);
  t.match(JSON.parse(held?.actions ?? ''), [
    { items: [{ value: '4912' }, { value: 'a title by reference' }, { value: 'pw-two' }] },
  ]);

  for (const [args, message] of [
    [['push', 'desk-1', ...files], /name no others/],
    [['push', '--values', join(dir, 'phones.csv')], /give both/],
    [['push', ...files], /refers to TITLE/],
  ] as const) {
    const refused = await runCli([...args, '--api', url], {});
    t.not(refused.code, 0);
    t.match(refused.err, message);
  }
  t.equal((await outbox.counts()).held, 2, 'nothing of what was refused is held');
});

import { join } from 'node:path';
import { z } from 'zod';
import t from 'tap';
import type { Test } from 'tap';
import { isSallyportError } from '../../../shared/errors.ts';
import { ConfigError } from '../../../shared/config-error.ts';
import { readConfigParts } from '../../../shared/config-file.ts';
import { EXIT, explainFailure } from '../../../shared/program.ts';
import { loadProxyConfig } from '../../../proxy/config.ts';
import { loadRelayConfig } from '../../../relay-client/config.ts';

const LOADERS = [loadProxyConfig, loadRelayConfig];

function report(t: Test, load: (file: string) => unknown, text: string): ConfigError {
  const file = join(t.testdir({ 'a.yaml': text }), 'a.yaml');
  try {
    load(file);
  } catch (error) {
    if (error instanceof ConfigError) return error;
    throw error;
  }
  throw new Error('it was loaded');
}

const BOMB = [
  'a: &a [1,1,1,1,1,1,1,1,1,1]',
  ...'bcd'.split('').map((name, i) => {
    const inner = 'abc'[i];
    return `${name}: &${name} [${Array.from({ length: 10 }, () => `*${inner}`).join(',')}]`;
  }),
].join('\n');

t.test('whatever stands in the file, what comes is one report', async (t) => {
  const odd: Record<string, string> = {
    'an empty file': '',
    'a list at top level': '- a\n- b\n',
    'a word': 'hello\n',
    tabs: 'poll:\n\t- listen: x\n',
    'an alias to nothing': 'poll: *none\n',
    'an alias to itself': 'poll: &x { a: *x }\n',
    'aliases that grow': BOMB,
    'two documents': 'a: 1\n---\nb: 2\n',
    'a key twice': 'name: a\nname: b\n',
    'an unquoted IPv6 address': 'poll: [{ listen: [::]:8080 }]\n',
    'sections without content':
      'poll:\nrelay:\nsites:\nops:\nlimits:\nname:\nkey:\nproxies:\noutbox:\napi:\n',
    'binary rubbish': '\u0000\u0001\u0002',
  };
  for (const [name, text] of Object.entries(odd)) {
    for (const load of LOADERS) {
      const error = report(t, load, text);
      t.ok(isSallyportError(error, 'CONFIG_INVALID') && error.faults.length > 0, name);
    }
  }
});

t.test('faults are told with file, line, field, value and what is expected, and exit 2', async (t) => {
  const error = report(t, loadProxyConfig, 'poll:\n  - listen: nowhere\nrelay: 7\ntypo: 1\n');
  t.match(error.message, /a\.yaml:2: poll\[0\]\.listen is "nowhere"; expected an address/);
  t.match(error.message, /a\.yaml:3: relay is 7; expected a map/);
  t.match(error.message, /a\.yaml:4: typo is 1; expected no such field/);
  const write = process.stderr.write.bind(process.stderr);
  process.stderr.write = () => true;
  const code = explainFailure('test', error);
  process.stderr.write = write;
  t.equal(code, EXIT.usage);
});

t.test('no report shows a secret, wherever it stands', async (t) => {
  const texts = [
    'proxies: { url: "wss://p", via: "http://u:hunter2@h:1" }\n',
    'proxies: { via: "http://u:hun/ter2@h:1" }\n',
    'proxies: [{ url: "wss://u:hun/ter2@h", via: 7 }]\n',
    '- { token: hunter2 }\n- { password: hunter2 }\n',
    'outbox: { path: 7, postgres: "postgres://u:hunter2@h/db" }\n',
  ];
  for (const text of texts) {
    for (const load of LOADERS) t.notMatch(report(t, load, text).message, /hun\/?ter2/, text);
  }
});

t.test('a directory is no file', async (t) => {
  const error = report(t, loadRelayConfig, 'name: a\nkey: .\nproxies: []\n');
  t.match(
    error.faults.find(({ path }) => path === 'key'),
    { expected: /a file that can be read .*directory/ },
  );
});

t.test('Windows line ends and a byte order mark are taken', async (t) => {
  const error = report(t, loadRelayConfig, '\ufeffname: a\r\nkey: nowhere\r\nproxies: []\r\n');
  t.same(
    error.faults.map(({ path, line }) => [path, line]),
    [
      ['key', 2],
      ['proxies', 3],
    ],
  );
});

t.test('what is left of a config that is wrong in parts', async (t) => {
  const entry = z.strictObject({ name: z.string(), port: z.number().optional() });
  const schema = z.strictObject({
    name: z.string(),
    list: z.array(entry).default([]),
    map: z.strictObject({ on: z.boolean() }).prefault({ on: true }),
  });
  const read = (text: string, standIns: Record<string, unknown> | null = { name: 'stand-in' }) =>
    readConfigParts(
      join(t.testdir({ 'c.yaml': text }), 'c.yaml'),
      schema,
      (written, fault) => {
        if (written.text('name') === 'taken') fault(['name'], 'another name');
      },
      standIns,
    );
  t.match(read('name: a\nlist: [{ name: b }]'), { value: { name: 'a' }, faults: [], leftOut: [] });
  t.match(
    read('name: a\nlist: [{ name: 1 }, { name: b, port: x }, { port: 2 }, { name: c, q: 1 }]\nodd: 1'),
    {
      value: { name: 'a', list: [{ name: 'b' }, { name: 'c' }] },
      faults: { length: 5 },
      leftOut: ['list[1].port', 'list[3].q', 'odd', 'list[0]', 'list[2]'].sort(),
    },
  );
  t.match(read('name: a\nmap: { on: perhaps }'), { value: { map: { on: true } }, leftOut: ['map'] });
  t.match(read('name: taken'), {
    value: { name: 'stand-in' },
    faults: [{ path: 'name' }],
    leftOut: ['name'],
  });
  t.match(read('name: 7', {}), { value: null, faults: [{ path: 'name', line: 1 }] });
  t.match(read('[]'), { value: null });
  t.match(read('name: 7', null), { value: null, leftOut: [] });
});

import { createHash } from 'node:crypto';
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
    'services: [{ name: t, kind: tcp, upstream: "u:hunter2@h:1" }]\nrelay: { advertise: "u:hunter2@h:1" }\n',
    'webhooks: [{ url: "ftp://h/?token=hunter2" }]\npoll: [{ listen: "http://h/?token=hunter2" }]\n',
  ];
  for (const text of texts) {
    for (const load of LOADERS) t.notMatch(report(t, load, text).message, /hun\/?ter2/, text);
  }
});

t.test('what a URL says beyond what is looked at is a fault, not dropped', async (t) => {
  const relay = report(
    t,
    loadRelayConfig,
    `name: a
proxies: [{ url: "wss://u:p@h:1/x?y", pin: "sha256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=" }]
services:
  - { name: path, kind: wpi, upstream: "https://h:1/DeploymentService" }
  - { name: user, kind: wpi, upstream: "http://u:p@h" }
  - { name: none, kind: tcp, upstream: "h:0" }
contact_me: { listen: "127.0.0.1:0", advertise: "http://h/behind?x" }
poll_source: { url: "http://h/dcmp" }
`,
  );
  const expected = (path: string): unknown => relay.faults.find((fault) => fault.path === path)?.expected;
  t.equal(expected('proxies[0].url'), 'a URL without user or password, a path, a query or #');
  t.equal(expected('services[0].upstream'), 'a URL without a path');
  t.equal(expected('services[1].upstream'), 'a URL without user or password');
  t.equal(expected('services[2].upstream'), 'a host and a port such as dls.internal:18444');
  t.equal(expected('contact_me.advertise'), 'a URL without a query or #');
  t.equal(expected('poll_source.url'), 'a URL with a slash at its end');
  const proxy = report(t, loadProxyConfig, 'relay: { advertise: "wss://h:1/relay" }\n');
  t.match(proxy.message, /relay\.advertise is "wss:\/\/h:1\/relay"; expected a URL without a path/);
});

t.test('what is missing is named whatever else is wrong', async (t) => {
  const pin = 'sha256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=';
  const { faults } = report(
    t,
    loadRelayConfig,
    `proxies:\n  - url: "ws://x"\n  - { url: wss://y, pin: x, ca: nowhere }\n  - { url: wss://z, pin: "${pin}" }\n`,
  );
  t.same(
    faults.map(({ path }) => path).filter((path) => path.startsWith('proxies')),
    ['proxies[0].url', 'proxies[1].pin', 'proxies[1].ca', 'proxies[0]', 'proxies[1]'],
  );
});

t.test(
  'the pin of nothing, which openssl makes when nobody answers, is told from that of a key',
  async (t) => {
    const pin = `sha256:${createHash('sha256').digest('base64')}`;
    const { message } = report(
      t,
      loadRelayConfig,
      `services: [{ name: a, kind: wpi, upstream: "https://x", upstream_tls: { pin: "${pin}" } }]\n`,
    );
    t.match(message, /upstream_tls\.pin is .*; expected the pin of a key; .* not shown a certificate/);
  },
);

t.test('a map that has a default for each of its fields may leave out any', async (t) => {
  t.notMatch(report(t, loadRelayConfig, 'api: { hosts: [a] }\n').message, /api/);
  t.notMatch(report(t, loadRelayConfig, 'api: {}\noutbox: {}\n').message, /api|outbox/);
  t.notMatch(report(t, loadProxyConfig, 'ops: {}\n').message, /ops/);
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

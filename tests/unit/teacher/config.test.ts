import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { pollSecretWarnings } from '../../../relay-client/teacher/poll-secret-fit.ts';
import type { Test } from 'tap';
import { stringify } from 'yaml';
import { loadRelayConfig } from '../../../relay-client/config.ts';
import type { RelayConfig } from '../../../relay-client/config.ts';

function load(t: Test, service: Record<string, unknown>): RelayConfig {
  const directory = mkdtempSync(join(tmpdir(), 'teach-'));
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  writeFileSync(join(directory, 'relay.key'), '');
  const file = join(directory, 'relay.yaml');
  writeFileSync(
    file,
    stringify({
      name: 'hq-1',
      key: 'relay.key',
      proxies: [{ url: 'wss://proxy.example:9443', pin: `sha256:${'A'.repeat(43)}` }],
      services: [{ name: 'wpi', ...service }],
    }),
  );
  return loadRelayConfig(file);
}

const wpi = (teach: unknown): Record<string, unknown> => ({
  kind: 'wpi',
  upstream: 'https://dls.example:18443',
  teach,
});

t.test('items to teach are names with values, numbers too', async (t) => {
  const { services } = load(t, wpi({ 'dcmp-url': 'http://proxy.example:8080/{device-id}/', interval: 300 }));
  t.match(services, [{ teach: { 'dcmp-url': 'http://proxy.example:8080/{device-id}/', interval: '300' } }]);
  t.match(load(t, wpi(null)).services, [{ teach: null }]);
});

t.test('items that no phone could make sense of are refused', async (t) => {
  const long = 'x'.repeat(1_001);
  const many = Object.fromEntries(Array.from({ length: 33 }, (_, n) => [`item-${n}`, 'x']));
  for (const [teach, expected] of [
    ['http://proxy/', /teach is "http.*; expected a map of item names and values/],
    [{}, /teach is \{\}; expected 1 to 32 items, or null/],
    [many, /expected 1 to 32 items/],
    [{ 'two words': 'x' }, /expected an item name such as dcmp-url/],
    [{ realm: long }, /teach\.realm.*expected at most 1000 characters/],
    [{ realm: '\u0001' }, /without control characters/],
    [{ realm: true }, /expected a text or a number/],
    [{ 'dcmp-url': 'http://proxy.example:8080/dcmp' }, /with a slash at its end/],
    [{ 'dcmp-url': 'ftp://proxy.example/' }, /expected a URL such as http:/],
  ] as const)
    t.throws(() => load(t, wpi(teach)), { code: 'CONFIG_INVALID', message: expected });
});

t.test('a service that sees nothing of the sessions is told why it cannot teach', async (t) => {
  const tcp = { kind: 'tcp', upstream: 'dls.example:18444', teach: { 'dcmp-url': 'http://proxy.example/' } };
  t.throws(() => load(t, tcp), {
    message:
      /has 1 fault:\n.*services\[0\]\.teach is .*; expected nothing: a service of kind tcp passes sessions unread/,
  });
});

t.test('a taught poll address that does not fit what a proxy wants is warned of', async (t) => {
  const teaching = (url: string | null) => [
    { name: 'wpi', kind: 'wpi', teach: url === null ? null : { 'dcmp-url': url } } as unknown as Parameters<
      typeof pollSecretWarnings
    >[0][number],
  ];
  const proxies = (...wants: (boolean | null)[]) =>
    wants.map((pollSecret, i) => ({ url: `wss://p${i}`, pollSecret }));
  const [plain, secret] = ['http://p/dcmp/', 'http://p/dcmp/{poll_secret}/'];
  t.same(pollSecretWarnings(teaching(plain), proxies(false, null)), []);
  t.same(pollSecretWarnings(teaching(secret), proxies(true, null)), []);
  t.same(pollSecretWarnings(teaching(null), proxies(true)), []);
  t.match(pollSecretWarnings(teaching(plain), proxies(false, true)), [
    /at wss:\/\/p1 wants one.*\{poll_secret\}\//,
  ]);
  t.match(pollSecretWarnings(teaching(secret), proxies(false, true)), [
    /at wss:\/\/p0 wants none.*take \{poll_secret\} out/,
  ]);
});

import { once } from 'node:events';
import { chmodSync, existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import t from 'tap';
import type { Test } from 'tap';
import { writeJoinString } from '../../../shared/join-string.ts';
import {
  createPrivateKeyPem,
  pinOf,
  readPrivateKey,
  selfSignedCertificate,
} from '../../../shared/key-pair.ts';
import { loadRelayConfig } from '../../../relay-client/config.ts';
import { joinProxy } from '../../../relay-client/links/join.ts';

const OPTIONS = { now: new Date(), via: null };

/** A pinned proxy that answers each join with `answer`, and the join string that leads to it. */
async function openProxy(t: Test, answer: unknown) {
  const pem = createPrivateKeyPem();
  const key = readPrivateKey(pem, 'test');
  const cert = await selfSignedCertificate(key, { commonName: 'proxy', hosts: [] }, new Date());
  let asked = 0;
  const server = createServer(
    { key: pem, cert, requestCert: true, rejectUnauthorized: false },
    (_request, response) => {
      asked += 1;
      response.end(typeof answer === 'string' ? answer : JSON.stringify(answer));
    },
  );
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  const url = `wss://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const pin = pinOf(key);
  return { url, pin, joinString: writeJoinString({ url, pin, token: 'token' }), asked: () => asked };
}

t.test('a join makes a key and a config that the relay can run with, for its owner alone', async (t) => {
  const proxy = await openProxy(t, { relay: 'hq-1', site: 'north', pin: '' });
  const dir = join(t.testdir({}), 'relay');
  const joined = await joinProxy(`  ${proxy.joinString}\n`, dir, OPTIONS);
  t.match(joined, { relay: 'hq-1', site: 'north', added: false });
  const config = loadRelayConfig(joined.config);
  t.match(config, { name: 'hq-1', site: 'north', proxies: [{ trust: { pins: [proxy.pin] } }] });
  for (const name of ['relay.key', 'relay.yaml']) {
    t.equal(statSync(join(dir, name)).mode & 0o777, 0o600, name);
  }
});

t.test('the outbox may be elsewhere; its key stays with the config', async (t) => {
  const proxy = await openProxy(t, { relay: 'hq-1', site: 'default' });
  const dir = join(t.testdir({}), 'relay');
  const outbox = join(t.testdir({}), 'kept: #1');
  const { config } = await joinProxy(proxy.joinString, dir, { ...OPTIONS, outbox });
  t.match(loadRelayConfig(config).outbox, { path: outbox, keyFile: join(dir, 'outbox.key') });
  t.ok(existsSync(join(dir, 'outbox.key')));
});

t.test('names that YAML would take for something else stay names', async (t) => {
  for (const name of ['123', '1e3', 'true', 'null', 'no']) {
    const proxy = await openProxy(t, { relay: name, site: name });
    const { config } = await joinProxy(proxy.joinString, join(t.testdir({}), 'relay'), OPTIONS);
    t.match(loadRelayConfig(config), { name, site: name });
  }
});

t.test('a captured proxy cannot write into the config of the relay that joins', async (t) => {
  const evil = [
    { relay: 'x\nservices: [{ name: wpi, kind: tcp, upstream: "10.0.0.1:22" }]', site: 'default' },
    { relay: 'hq-1', site: 'default"\ncontact_me: {}' },
    { relay: ['hq-1'], site: 'default' },
    { relay: 'hq-1' },
    null,
    [],
    'no JSON at all',
  ];
  for (const answer of evil) {
    const dir = join(t.testdir({}), 'relay');
    const proxy = await openProxy(t, answer);
    await t.rejects(joinProxy(proxy.joinString, dir, OPTIONS), { code: 'LINK_REFUSED' });
    t.notOk(existsSync(join(dir, 'relay.yaml')), JSON.stringify(answer));
  }
});

t.test('a config that cannot take one more proxy does not cost the invite', async (t) => {
  const proxy = await openProxy(t, { relay: 'hq-1', site: 'default' });
  for (const text of ['proxies: nowhere\n', '- a list\n', 'proxies: [\n', '', 'proxies:\n']) {
    const dir = t.testdir({ 'relay.yaml': text });
    await t.rejects(joinProxy(proxy.joinString, dir, OPTIONS), {
      code: 'CONFIG_INVALID',
      message: /no readable list of proxies/,
    });
    t.equal(readFileSync(join(dir, 'relay.yaml'), 'utf8'), text, 'it is left as it was');
  }
  t.equal(proxy.asked(), 0, 'the proxy was never asked');
});

t.test(
  'a second join renews the pin of a proxy that is there already, however its URL is written',
  async (t) => {
    const proxy = await openProxy(t, { relay: 'hq-1', site: 'default' });
    const dir = t.testdir({
      'ca.pem': 'x',
      'relay.yaml': `name: hq-1\nkey: relay.key # kept\nproxies:\n  - url: "${proxy.url.replace('wss', 'WSS')}/"\n    ca: ca.pem\n`,
    });
    const file = join(dir, 'relay.yaml');
    chmodSync(file, 0o640);
    t.match(await joinProxy(proxy.joinString, dir, OPTIONS), { added: true });
    const { proxies } = loadRelayConfig(file);
    t.equal(proxies.length, 1);
    t.match(proxies[0], { trust: { pins: [proxy.pin] } });
    t.match(readFileSync(file, 'utf8'), /relay\.key # kept/);
    t.equal(statSync(file).mode & 0o777, 0o640, 'its mode is left as it was');
  },
);

t.test('a second join adds a proxy, and refuses one of another site', async (t) => {
  const dir = join(t.testdir({}), 'relay');
  const first = await openProxy(t, { relay: 'hq-1', site: 'default' });
  const { config } = await joinProxy(first.joinString, dir, OPTIONS);
  const second = await openProxy(t, { relay: 'hq-1', site: 'default' });
  await joinProxy(second.joinString, dir, OPTIONS);
  t.same(
    loadRelayConfig(config).proxies.map(({ url }) => url.host),
    [first, second].map(({ url }) => new URL(url).host),
  );
  const other = await openProxy(t, { relay: 'hq-1', site: 'south' });
  await t.rejects(joinProxy(other.joinString, dir, OPTIONS), { message: /for site south.*of site default/ });
});

t.test(
  'what is no join string, and a key that is none, are refused before anything is dialled',
  async (t) => {
    const dir = t.testdir({ 'relay.key': 'no key' });
    const encode = (value: unknown): string =>
      `sallyport-join-1.${Buffer.from(JSON.stringify(value)).toString('base64url')}`;
    for (const text of ['', 'x', 'sallyport-join-1.', encode(null), encode(1), encode({ url: 'wss://x' })]) {
      await t.rejects(joinProxy(text, dir, OPTIONS), { code: 'INVITE_INVALID' }, JSON.stringify(text));
    }
    const proxy = await openProxy(t, { relay: 'hq-1', site: 'default' });
    await t.rejects(joinProxy(proxy.joinString, dir, OPTIONS), { code: 'KEY_INVALID' });
    writeFileSync(join(dir, 'relay.key'), createPrivateKeyPem());
    t.match(await joinProxy(proxy.joinString, dir, OPTIONS), { relay: 'hq-1' }, 'an older key is used again');
  },
);

t.test('a relay that is there can be given its next key, and keeps the present one', async (t) => {
  const proxy = await openProxy(t, { relay: 'hq-1', site: 'default' });
  const dir = join(t.testdir({}), 'relay');
  await t.rejects(joinProxy(proxy.joinString, dir, { ...OPTIONS, newKey: true }), { code: 'CONFIG_INVALID' });
  t.equal(proxy.asked(), 0);
  await joinProxy(proxy.joinString, dir, OPTIONS);
  const key = readFileSync(join(dir, 'relay.key'), 'utf8');
  await joinProxy(proxy.joinString, dir, { ...OPTIONS, newKey: true });
  const next = readFileSync(join(dir, 'relay.key.new'), 'utf8');
  t.not(next, key);
  t.equal(readFileSync(join(dir, 'relay.key'), 'utf8'), key);
  t.equal(statSync(join(dir, 'relay.key.new')).mode & 0o777, 0o600);
  await joinProxy(proxy.joinString, dir, { ...OPTIONS, newKey: true });
  t.equal(readFileSync(join(dir, 'relay.key.new'), 'utf8'), next, 'the same one for the next proxy');
});

const PINS = ['A', 'B'].map((letter) => `sha256:${letter.repeat(43)}=`);

/** Writes a relay's config with these proxies. */
function writeConfig(t: { testdir(files: Record<string, string>): string }, proxies: object[]): string {
  const file = join(t.testdir({ 'relay.key': '', 'relay.yaml': '' }), 'relay.yaml');
  writeFileSync(file, JSON.stringify({ name: 'hq-1', key: 'relay.key', proxies }));
  return file;
}

t.test('of a proxy whose key is replaced a config may hold both pins', async (t) => {
  const load = (pin: unknown) => loadRelayConfig(writeConfig(t, [{ url: 'wss://x:1', pin }])).proxies;
  t.match(load(PINS), [{ trust: { pins: PINS } }]);
  t.match(load(PINS[0]), [{ trust: { pins: [PINS[0]] } }]);
  for (const wrong of [[], ['x'], Array<unknown>(17).fill(PINS[0])]) t.throws(() => load(wrong));
});

t.test('a config says how a name is resolved, and where that makes no sense it is told so', async (t) => {
  const load = (proxy: object) =>
    loadRelayConfig(writeConfig(t, [{ url: 'wss://gate.example:9443', pin: PINS[0], ...proxy }])).proxies;
  t.match(load({ resolve: 'all' }), [
    { name: { family: 'all', interval: 30_000, grace: 300_000, servers: null } },
  ]);
  t.match(load({ resolve: 'ipv4', resolve_by: ['10.0.0.53', '[2001:db8::53]:5353'], resolve_grace_s: 0 }), [
    { name: { family: 'ipv4', grace: 0, servers: ['10.0.0.53', '[2001:db8::53]:5353'] } },
  ]);
  t.equal(load({})[0]?.name, undefined);
  for (const [proxy, told] of [
    [{ resolve: 'all', url: 'wss://10.0.0.1:9443' }, /resolve is .*no name/],
    [{ resolve: 'all', url: 'wss://[2001:db8::1]:9443' }, /resolve is .*no name/],
    [{ resolve: 'all', via: 'http://proxy:3128' }, /resolve is .*looks names up by itself/],
    [{ resolve_interval_s: 5 }, /resolve_interval_s is 5; expected nothing, since resolve is none/],
    [{ resolve: 'all', resolve_by: ['ns.example'] }, /resolve_by.*the address of a name server/],
    [{ resolve: 'some' }, /resolve is "some"/],
  ] as const) {
    t.throws(() => load(proxy), { message: told });
  }
});

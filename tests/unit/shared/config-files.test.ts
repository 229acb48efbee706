import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import type { Test } from 'tap';
import { stringify } from 'yaml';
import { loadProxyConfig } from '../../../proxy/config.ts';
import { loadRelayConfig } from '../../../relay-client/config.ts';
import { endOfChain, expiryWarnings, watchExpiry } from '../../../shared/certificates.ts';
import { ConfigError } from '../../../shared/config-error.ts';
import { createPrivateKeyPem } from '../../../shared/key-pair.ts';
import { createLog } from '../../../shared/log.ts';
import { createAuthority } from '../../fixtures/certificates.ts';
import { createFakeClock } from '../../fixtures/fake-clock.ts';
import { runProgram } from '../../fixtures/program.ts';

const PIN = `sha256:${'A'.repeat(43)}=`;

/** A directory with good pairs of both kinds, and with what is none. */
async function writeFiles(t: Test): Promise<string> {
  const authority = await createAuthority();
  const [rsa, ec] = [await authority.issue(['phones'], { rsa: true }), await authority.issue(['phones'])];
  const dir = t.testdir({
    'rsa.pem': rsa.cert,
    'rsa.key': rsa.key,
    'ec.pem': ec.cert,
    'ec.key': ec.key,
    'ca.pem': authority.cert,
    'link.key': createPrivateKeyPem(),
    'rubbish.pem': 'hello\n',
    'empty.token': ' \n',
    'api.token': 'a long random word\n',
  });
  const encrypt = ['pkey', '-in', 'ec.key', '-aes256', '-passout', 'pass:hunter2', '-out', 'locked.key'];
  execFileSync('openssl', encrypt, { cwd: dir });
  return dir;
}

function faultsOf(load: () => unknown): Record<string, string> {
  try {
    load();
    return {};
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return Object.fromEntries(error.faults.map(({ path, expected }) => [path, expected]));
  }
}

t.test('one report names every proxy file that is not what it should be', async (t) => {
  const dir = await writeFiles(t);
  const file = join(dir, 'proxy.yaml');
  const tls = (cert: string, key: string) => ({ listen: '127.0.0.1:0', tls: { cert, key } });
  const door = (name: string, cert: string, key: string, more: object = {}) => ({
    name,
    service: 'wpi',
    listen: '127.0.0.1:0',
    tls: 'proxy',
    cert,
    key,
    ...more,
  });
  const config = {
    poll: [tls('rsa.pem', 'rsa.key'), tls('rsa.pem', 'ec.key'), tls('rubbish.pem', 'rsa.key')],
    doors: [
      door('a', 'ec.pem', 'ec.key', { client_ca: 'ca.pem' }),
      door('b', 'ec.pem', 'locked.key'),
      door('c', 'ec.pem', 'ec.key', { client_ca: 'rubbish.pem' }),
      door('d', 'ec.pem', 'link.key'),
    ],
    relay: { listen: '127.0.0.1:0', tls: { cert: 'rsa.pem', key: 'rsa.key' }, state: './state' },
    ops: { listen: 'nowhere' },
  };
  writeFileSync(file, stringify(config));
  const found = faultsOf(() => loadProxyConfig(file, 'into files'));
  t.match(found, {
    'poll[1].tls.key': /private key of the certificate/,
    'poll[2].tls.cert': /chain in PEM/,
    'doors[1].key': /unencrypted/,
    'doors[2].client_ca': /authorities/,
    'doors[3].key': /private key of the certificate/,
    'relay.tls.key': /P-256/,
    'ops.listen': /address/,
  });
  t.equal(Object.keys(found).length, 7);
  t.same(Object.keys(faultsOf(() => loadProxyConfig(file))), ['ops.listen'], 'revoke needs no certificates');

  const checked = await runProgram('sallyport-proxy', ['check', '--config', file]);
  t.equal(checked.code, 2);
  t.match(checked.stderr, /has 7 faults[^]*poll\[1\]\.tls\.key is "ec\.key"/);
  t.notMatch(checked.stderr, /hunter2|PRIVATE KEY-/);
});

t.test('one report names every relay file that is not what it should be', async (t) => {
  const dir = await writeFiles(t);
  const file = join(dir, 'relay.yaml');
  const service = (name: string, cert: string, key: string, more: object = {}) => ({
    name,
    kind: 'wpi',
    upstream: 'https://dls.internal:18443',
    tls: { cert, key },
    ...more,
  });
  const config = (over: object) => ({
    name: 'hq-1',
    key: 'link.key',
    proxies: [{ url: 'wss://proxy.example:9443', pin: PIN }],
    services: [service('wpi', 'rsa.pem', 'rsa.key')],
    api: { listen: '127.0.0.1:0', token_file: 'api.token' },
    ...over,
  });
  writeFileSync(file, stringify(config({})));
  t.same(
    faultsOf(() => loadRelayConfig(file, 'into files')),
    {},
  );
  const bad = {
    key: 'rsa.key',
    proxies: [{ url: 'wss://proxy.example:9443', ca: 'rubbish.pem' }],
    services: [
      service('a', 'rsa.pem', 'ec.key'),
      service('b', 'ec.pem', 'ec.key', { upstream_tls: { ca: 'rubbish.pem' } }),
    ],
    outbox: { path: './outbox', key: './outbox/the.key' },
    api: { listen: '127.0.0.1:0', token_file: 'empty.token' },
  };
  writeFileSync(file, stringify(config(bad)));
  const found = faultsOf(() => loadRelayConfig(file, 'into files'));
  t.match(found, {
    key: /P-256/,
    'proxies[0].ca': /authorities/,
    'services[0].tls.key': /private key of the certificate/,
    'services[1].upstream_tls.ca': /authorities/,
    'outbox.key': /outside/,
    'api.token_file': /empty/,
  });
  t.equal(Object.keys(found).length, 6);
  writeFileSync(file, stringify(config({ api: { listen: '127.0.0.1:0', token_file: 'nowhere' } })));
  t.match(
    faultsOf(() => loadRelayConfig(file, 'into files')),
    { 'api.token_file': /can be read .*ENOENT/ },
  );
});

t.test('check says what expires soon, or has', async (t) => {
  const dir = await writeFiles(t);
  for (const [name, days] of [
    ['soon', '10'],
    ['later', '60'],
  ] as const) {
    const made = ['-x509', '-nodes', '-newkey', 'rsa:2048', '-subj', `/CN=${name}`, '-days', days];
    const files = ['-keyout', `${name}.key`, '-out', `${name}.pem`];
    execFileSync('openssl', ['req', ...made, ...files], { cwd: dir, stdio: 'ignore' });
  }
  const service = (name: string) => ({
    name,
    kind: 'wpi',
    upstream: 'https://dls.internal:18443',
    tls: { cert: `${name}.pem`, key: `${name}.key` },
  });
  const config = {
    name: 'hq-1',
    key: 'link.key',
    proxies: [{ url: 'wss://proxy.example:9443', pin: PIN }],
    services: [service('soon'), service('later')],
  };
  writeFileSync(join(dir, 'relay.yaml'), stringify(config));
  const { code, stdout } = await runProgram('sallyport-relay', [
    'check',
    '--config',
    join(dir, 'relay.yaml'),
  ]);
  t.equal(code, 0);
  t.match(stdout, /certificate of service soon expires in (9|10) days/);
  t.notMatch(stdout, /service later/);
});

t.test('warnings come a month ahead, and once a day in the log', async (t) => {
  const day = 86_400_000;
  const clock = createFakeClock();
  const uses = [{ name: 'door old', notAfter: clock.wall() + 31 * day }];
  const lines: string[] = [];
  const watch = watchExpiry({
    uses: () => uses,
    clock,
    log: createLog('info', { write: (l) => void lines.push(l) }),
  });
  t.same(lines, []);
  clock.advance(day);
  t.equal(lines.length, 1);
  t.match(lines[0], /door old expires in 30 days/);
  clock.advance(31 * day);
  t.equal(lines.length, 32);
  t.match(expiryWarnings(uses, clock.wall()), [/door old expired 1 day ago/]);
  watch.look();
  t.equal(lines.length, 33);
  watch.cancel();
  clock.advance(3 * day);
  t.equal(lines.length, 33);
});

t.test('a chain is as good as the first of it that expires', async (t) => {
  const authority = await createAuthority();
  const { cert } = await authority.issue(['phones']);
  const old = execFileSync('openssl', [
    ...[
      'req',
      '-x509',
      '-nodes',
      '-newkey',
      'rsa:2048',
      '-subj',
      '/CN=old',
      '-days',
      '3',
      '-keyout',
      '/dev/null',
    ],
  ]).toString();
  t.equal(endOfChain(`${cert}\n${old}`), endOfChain(old));
  t.ok(endOfChain(old) < endOfChain(cert));
  t.ok(Number.isNaN(endOfChain('none')));
});

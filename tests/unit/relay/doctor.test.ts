import { createServer as createHttpServer } from 'node:http';
import { createServer } from 'node:net';
import type { AddressInfo, Server, Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import type { Test } from 'tap';
import type { RelayConfig } from '../../../relay-client/config.ts';
import type { ProxyConfig } from '../../../relay-client/links/config.ts';
import { lookAtDatabase } from '../../../relay-client/doctor/database.ts';
import { lookAtDoor } from '../../../relay-client/doctor/door.ts';
import { lookAtExposure } from '../../../relay-client/doctor/exposure.ts';
import { lookAtKeys } from '../../../relay-client/doctor/keys.ts';
import { namesOf } from '../../../relay-client/doctor/names.ts';
import { lookAtOutbox } from '../../../relay-client/doctor/outbox.ts';
import { lookAtPollUrl, pollUrlsOf } from '../../../relay-client/doctor/phones.ts';
import { lookAtDescriptors, lookAtRunning } from '../../../relay-client/doctor/running.ts';
import { lookAtUpstream } from '../../../relay-client/doctor/upstream.ts';
import type { WpiServiceConfig } from '../../../relay-client/services/config.ts';
import { systemClock } from '../../../shared/clock.ts';
import { pinOf } from '../../../shared/key-pair.ts';
import { X509Certificate } from 'node:crypto';
import { createAuthority } from '../../fixtures/certificates.ts';
import { createShownKey, startRealProxy } from '../../fixtures/real-proxy.ts';

const never = new AbortController().signal;

async function listening(t: Test, server: Server): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => server.close());
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** An address at which nobody listens. */
async function deserted(): Promise<string> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return `127.0.0.1:${port}`;
}

t.test('a relay door', async (t) => {
  const proxy = await startRealProxy(t);
  const key = await createShownKey('hq-1');
  const good = proxy.target(key);
  const look = async (change: Partial<ProxyConfig> = {}, withinMs?: number) => {
    const config: ProxyConfig = { url: good.url, trust: good.trust as { pins: [] }, via: null, ...change };
    const target = { ...good, ...config, trust: config.trust as { pins: [] } };
    return lookAtDoor(config, target, systemClock, never, withinMs);
  };

  t.match(await look(), {
    looks: [
      { level: 'fail', says: /403.*not known here/, fix: /invite NAME there, sallyport-relay join here/ },
    ],
    clocks: [{ level: 'ok' }],
  });
  proxy.register('hq-1', 'north', key);
  t.match(await look(), {
    looks: [{ level: 'ok', says: /TLS 1\.3.*trusted one.*is registered there/ }],
    clocks: [{ level: 'ok', says: /goes as this machine’s does/ }],
  });
  proxy.revoke('hq-1');
  t.match((await look()).looks[0], { level: 'fail', fix: /was revoked/ });

  const other = (await createShownKey('other')).pin;
  t.match((await look({ trust: { pins: [other] } })).looks[0], {
    level: 'fail',
    says: /shows sha256:.* where sha256:.* is pinned/,
    fix: /invite and join again; if not, find out who answers there/,
  });
  t.match((await look({ trust: { pins: [other, (good.trust as { pins: [never] }).pins[0]] } })).looks[1], {
    level: 'warn',
    says: /1 of 2 are not those of the key/,
    fix: /leave only the pin of the present one/,
  });
  const at = (host: string): { url: URL } => ({ url: new URL(`wss://${host}`) });
  t.match((await look(at(await deserted()))).looks[0], {
    level: 'fail',
    says: /ECONNREFUSED/,
    fix: /start the proxy .* or correct the port/,
  });
  t.match((await look(at('nowhere.invalid:9443'))).looks[0], {
    level: 'fail',
    fix: /correct the name in url/,
  });

  const talker = createServer((socket) => void socket.on('error', () => undefined).end('220 mail ready\r\n'));
  t.match((await look(at(await listening(t, talker)))).looks[0], {
    level: 'fail',
    fix: /no relay door at this port/,
  });
  const sockets = new Set<{ destroy(): void }>();
  t.teardown(() => sockets.forEach((socket) => socket.destroy()));
  const silent = createServer((socket) => void sockets.add(socket));
  t.match((await look(at(await listening(t, silent)), 200)).looks[0], {
    level: 'fail',
    says: /not done within 200 ms/,
    fix: /let the firewalls pass this host to 127\.0\.0\.1 tcp \d+, outbound; or name the corporate proxy/,
  });
  const authority = await createAuthority();
  const old = createTlsServer({ ...(await authority.issue(['x'])), maxVersion: 'TLSv1.2' });
  old.on('tlsClientError', () => undefined);
  t.match((await look(at(await listening(t, old)))).looks[0], { level: 'fail', fix: /breaks TLS 1\.3/ });

  const refusing = createHttpServer();
  refusing.on('connect', (_request, socket) =>
    socket.end('HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n'),
  );
  const via = new URL(`http://user:hunter2@${await listening(t, refusing)}`);
  const refused = (await look({ via })).looks[0];
  t.match(refused, { level: 'fail', says: /407/, fix: /user and password in via, .* allow CONNECT/ });
  t.notMatch(JSON.stringify(refused), /hunter2/);
  const nobody = new URL(`http://${await deserted()}`);
  t.match((await look({ via: nobody })).looks[0], { level: 'fail', fix: /is the corporate proxy .* right/ });
});

const wpi = (upstream: string, change: Partial<WpiServiceConfig> = {}): WpiServiceConfig => ({
  name: 'wpi',
  kind: 'wpi',
  tls: null,
  upstream,
  upstreamTls: {},
  forwarded: 'none',
  rewriteContactMe: true,
  limits: {},
  ...change,
});

t.test('a service', async (t) => {
  const authority = await createAuthority();
  const own = await authority.issue(['localhost']);
  const dir = t.testdir({ 'ca.pem': authority.cert, 'other.pem': (await createAuthority()).cert });
  const ca = { ca: join(dir, 'ca.pem') };
  const answer = (date: string) => (socket: Socket) =>
    void socket
      .on('error', () => undefined)
      .once('data', () => socket.end(`HTTP/1.1 404 No\r\nDate: ${date}\r\n\r\n`));
  const serve = async (cert: { cert: string; key: string }, ahead = 0) => {
    const server = createTlsServer(cert, answer(new Date(Date.now() + ahead).toUTCString()));
    server.on('tlsClientError', () => undefined);
    return `https://localhost:${(await listening(t, server)).split(':')[1]}`;
  };
  const url = await serve(own);
  const look = async (...given: Parameters<typeof wpi>) => lookAtUpstream(wpi(...given), systemClock);

  t.match(await look(url, { upstreamTls: ca }), {
    looks: [{ level: 'ok', says: /answers HTTP \(404/ }],
    clocks: [{ level: 'ok' }],
  });
  t.match((await look(url)).looks, [{ level: 'fail', fix: /upstream_tls: \{ ca: FILE \}/ }]);
  t.match((await look(url, { upstreamTls: { ca: join(dir, 'other.pem') } })).looks, [
    { level: 'fail', fix: /upstream_tls: \{ ca: FILE \}/ },
  ]);
  t.match((await look(url, { upstreamTls: { pin: pinOf(new X509Certificate(authority.cert)) } })).looks, [
    { level: 'fail', says: /another key than the pin/, fix: /put its new pin in upstream_tls/ },
  ]);
  t.match((await look(url, { upstreamTls: { verify: false } })).looks, [
    { level: 'ok' },
    { level: 'warn', says: /verify: false/, fix: /pin/ },
  ]);
  t.match((await look(url.replace('localhost', '127.0.0.1'), { upstreamTls: ca })).looks, [
    { level: 'fail', fix: /write in upstream the name that the certificate has/ },
  ]);
  const expired = await serve(await authority.issue(['localhost'], { days: [-9, -3] }));
  t.match((await look(expired, { upstreamTls: ca })).looks, [
    { level: 'fail', fix: /renew the service’s certificate/ },
  ]);
  const soon = await serve(await authority.issue(['localhost'], { days: [-9, 5] }));
  t.match((await look(soon, { upstreamTls: ca })).looks[1], { level: 'warn', says: /expires in [45] days/ });
  const skewed = await serve(own, 600_000);
  t.match((await look(skewed, { upstreamTls: ca })).clocks[0], {
    level: 'fail',
    says: /(599|600|601) s ahead/,
    fix: /let NTP set both/,
  });
  const gone = await deserted();
  t.match((await look(`https://${gone}`, { upstreamTls: ca })).looks, [
    { level: 'fail', says: /ECONNREFUSED/, fix: /start the service, or correct the port/ },
  ]);
  const plain = `http://localhost:${URL.parse(url)?.port}`;
  t.match((await look(plain)).looks, [
    { level: 'fail', fix: /does this port speak HTTPS/ },
    { level: 'warn', says: /without TLS/ },
  ]);
  const http = await listening(t, createServer(answer(new Date().toUTCString())));
  t.match((await look(`https://${http}`, { upstreamTls: ca })).looks, [
    { level: 'fail', fix: /does this port speak plain HTTP/ },
  ]);
  const tcp = (upstream: string) => lookAtUpstream({ name: 'sec', kind: 'tcp', upstream }, systemClock);
  t.match((await tcp(http)).looks, [{ level: 'ok', says: /takes connections/ }]);
  t.match((await tcp(gone)).looks, [{ level: 'fail', fix: /start the service/ }]);
});

const config = (dir: string, change: Partial<RelayConfig> = {}): RelayConfig =>
  ({
    key: join(dir, 'relay.key'),
    formerKey: null,
    proxies: [{ url: new URL('wss://proxy.example:9443'), trust: { pins: [] }, via: null }],
    outbox: { path: join(dir, 'outbox'), keyFile: join(dir, 'outbox.key'), postgres: null },
    services: [],
    contactMe: null,
    api: { listen: { host: '127.0.0.1', port: 9470 }, tokenFile: join(dir, 'token') },
    pollSource: null,
    webhooks: [],
    warnings: { pollUrls: [] },
    limits: { lane_streams: 4_096, stream_lanes: 1 },
    ...change,
  }) as unknown as RelayConfig;

t.test('keys, tokens and what else is secret', async (t) => {
  const dir = t.testdir({ token: 'short', 'relay.yaml': '' });
  await chmod(join(dir, 'token'), 0o600);
  await writeFile(join(dir, 'relay.key'), (await createShownKey('x')).pem, { mode: 0o640 });
  const via = new URL('http://user:hunter2@corporate:3128');
  const change = { proxies: [{ url: new URL('wss://p:1'), trust: { pins: [] }, via }] };
  const look = () => lookAtKeys(join(dir, 'relay.yaml'), config(dir, change));
  t.match(look(), [
    { level: 'warn', about: /^relay key/, fix: /^chmod 600 .*relay\.key$/ },
    { level: 'ok', about: /^outbox key/, says: /the first start makes it/ },
    { level: 'ok', about: /^API token/ },
    { level: 'warn', about: /^API token/, says: /short enough to be guessed/, fix: /openssl rand -hex 32/ },
    { level: 'warn', about: /^password in .*relay\.yaml/, fix: /^chmod 600/ },
  ]);
  t.notMatch(JSON.stringify(look()), /hunter2|"short"|PRIVATE KEY/);
  await mkdir(join(dir, 'outbox'));
  t.match(look()[1], { level: 'fail', says: /is not there, but the outbox is/, fix: /put back the copy/ });
  await writeFile(join(dir, 'outbox.key'), 'rubbish\n', { mode: 0o600 });
  t.match(look()[1], { level: 'fail', says: /no key/ });
  await writeFile(join(dir, 'relay.key'), 'rubbish', { mode: 0o600 });
  t.match(look()[0], { level: 'fail', says: /not a private key/, fix: /join again/ });
});

t.test('names, exposure, limits and the outbox’s place', async (t) => {
  const dir = t.testdir();
  const via = new URL('http://corporate.example:3128');
  const through = config(dir, {
    proxies: [{ url: new URL('wss://proxy.example'), trust: { pins: [] }, via }],
    services: [wpi('https://[::1]:1'), { name: 'tcp', kind: 'tcp', upstream: 'dls.internal:18444' }],
  });
  t.match(namesOf(through), [
    { host: 'corporate.example', use: 'via' },
    { host: 'proxy.example', elsewhere: 'the corporate proxy corporate.example:3128' },
    { host: '::1' },
    { host: 'dls.internal' },
  ]);
  const open = { listen: { host: '0.0.0.0', port: 8_085 }, devicePort: 8_085 } as RelayConfig['contactMe'];
  t.match(lookAtExposure(config(dir, { contactMe: open })), [
    { level: 'ok', says: /loopback/ },
    { level: 'warn', fix: /write the inside address in the place of 0\.0\.0\.0/, elsewhere: /\/8085' 2>/ },
  ]);
  const inside = { ...open, listen: { host: '10.0.0.5', port: 8_085 } } as RelayConfig['contactMe'];
  t.match(lookAtExposure(config(dir, { contactMe: inside }))[1], {
    level: 'ok',
    elsewhere: /on the proxy's host this must print nothing/,
  });
  t.match(lookAtDescriptors(config(dir), 1_024), {
    level: 'warn',
    says: /the running relay|may open 1024/,
    fix: /4596/,
  });
  t.equal(lookAtDescriptors(config(dir), 65_536).level, 'ok');
  t.match(await lookAtOutbox(join(dir, 'deep', 'outbox'), never), [
    { level: 'ok', says: /not there yet/ },
    { says: /a sync takes/ },
    { says: /free$/ },
  ]);
  // Nothing can be made there, by root neither.
  t.match(await lookAtOutbox('/proc/self/outbox', never), [
    { level: 'fail', fix: /on a read-only mount name another path/ },
  ]);
});

t.test('a PostgreSQL server that is not there, or is none', async (t) => {
  const look = (host: string) =>
    lookAtDatabase(new URL(`postgres://relay:hunter2@${host}/sallyport`), systemClock);
  const gone = await look(await deserted());
  t.match(gone, [
    { level: 'fail', about: /^PostgreSQL 127.*\/sallyport$/, fix: /start the server, or correct the port/ },
  ]);
  t.match(await look('nowhere.invalid:5432'), [
    { level: 'warn', says: /without TLS.*sslmode=verify-full/, fix: /several-relays/ },
    { level: 'fail', fix: /correct the name in outbox\.postgres/ },
  ]);
  t.notMatch(JSON.stringify(gone), /hunter2/);
});

t.test('poll addresses as phones are taught them', async (t) => {
  const statuses: string[] = [];
  const door = createHttpServer((request, response) => {
    statuses.push(request.url ?? '');
    response.writeHead(request.url?.startsWith('/dcmp/') === true ? 200 : 404).end();
  });
  const host = await listening(t, door);
  const taught = wpi('https://x', { teach: { 'dcmp-url': `http://${host}/dcmp/{poll_secret}/` } });
  const [url = ''] = pollUrlsOf(config('/', { services: [taught] }));
  t.match(await lookAtPollUrl(url, never), { level: 'ok', says: /unknown device with 200/ });
  t.match(statuses[0], /^\/dcmp\/x{22}\/contact-me\?device-id=/, 'no phone’s secret is sent');
  t.match(await lookAtPollUrl(`http://${host}/other/`, never), { level: 'fail', fix: /poll_prefixes/ });
  t.match(await lookAtPollUrl(`http://${await deserted()}/dcmp/`, never), {
    level: 'warn',
    says: /ECONNREFUSED/,
    fix: /curl -i 'http:\/\/127/,
  });
});

t.test('the running relay, or what has its ports', async (t) => {
  const stranger = createHttpServer((_request, response) => void response.end('hello'));
  const taken = await listening(t, stranger);
  const [host = '', port] = taken.split(':');
  const at = (address: string) => ({ url: `http://${address}`, token: null });
  const listen = { host, port: Number(port) };
  t.match((await lookAtRunning(config('/'), at(taken))).looks, [
    { level: 'fail', fix: /something else listens there/ },
  ]);
  const free = await deserted();
  t.match(
    (await lookAtRunning(config('/', { api: { listen, tokenFile: null, hosts: [] } }), at(free))).looks,
    [
      { level: 'warn', says: /does not run/, fix: /sallyport-relay run/ },
      { level: 'fail', says: /another program does/, fix: /ss -ltnp/ },
    ],
  );
});

import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { createServer as createHttpServer } from 'node:http';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import t from 'tap';
import type { DoorTls, ProxyConfig, SessionDoorConfig } from '../../../proxy/config.ts';
import { proxyChecks } from '../../../proxy/doctor/checks.ts';
import { lookAtOps, lookAtPollDoors, lookAtRelayDoor } from '../../../proxy/doctor/exposure.ts';
import {
  lookAtDescriptors,
  lookAtPrivileges,
  lookAtReusePort,
  lookAtWorkers,
} from '../../../proxy/doctor/machine.ts';
import { lookAtPorts } from '../../../proxy/doctor/ports.ts';
import { askRunning } from '../../../proxy/doctor/running.ts';
import { lookAtClock, lookAtRelays, lookAtState } from '../../../proxy/doctor/state.ts';
import { openRegistry } from '../../../proxy/relays/registry.ts';
import { systemClock } from '../../../shared/clock.ts';
import { diagnose } from '../../../shared/doctor/diagnose.ts';
import { createAuthority } from '../../fixtures/certificates.ts';
import { createShownKey } from '../../fixtures/real-proxy.ts';

const host = '127.0.0.1';
const site = { name: 'default', pollPrefixes: null, pollSecret: 'none' } as ProxyConfig['sites'][number];
const pollDoor = { listen: { host, port: 0 }, allow: ['0.0.0.0/0'], proxyProtocol: false, tls: null };
const door = (name: string, port: number): SessionDoorConfig => ({
  ...pollDoor,
  name,
  service: 'wpi',
  listen: { host, port },
  tls: 'relay',
});

const config = (change: Partial<ProxyConfig> = {}): ProxyConfig => ({
  poll: [pollDoor],
  doors: [],
  relay: { listen: { host, port: 0 }, advertise: null, tls: { cert: '', key: '' }, state: '/nowhere' },
  sites: [site],
  ops: { listen: { host, port: 0 } },
  workers: 2,
  limits: {
    poll_connections: 1_000,
    session_connections: 100,
    relay_connections: 64,
  } as ProxyConfig['limits'],
  ...change,
});

t.test('ports: free, one’s own, another program’s, twice the same, none of this machine', async (t) => {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, host, resolve));
  t.teardown(() => server.close());
  const { port } = server.address() as AddressInfo;
  const look = async (doors: SessionDoorConfig[], running: Parameters<typeof lookAtPorts>[1] = null) =>
    (await lookAtPorts(config({ doors }), running)).slice(1, 1 + doors.length);
  t.match(await look([door('a', port)]), [
    { level: 'fail', says: 'is held by another program', fix: new RegExp(`ss -ltnp 'sport = :${port}'`) },
  ]);
  const running = {
    pid: 4_711,
    addresses: [`${host}:${port}`],
    ready: true,
    reasons: [],
    warnings: [],
    descriptors: null,
  };
  t.match(await look([door('a', port)], running), [{ level: 'ok', says: /running proxy \(pid 4711\)/ }]);
  await new Promise((resolve) => server.close(resolve));
  t.match(await look([door('a', port)]), [{ level: 'ok', says: 'is free' }]);
  t.match(await look([door('a', port)], { ...running, addresses: [] }), [
    { level: 'warn', says: /started with another config/, fix: /restart it/ },
  ]);
  t.match(await look([door('a', port), door('b', port)]), [
    { level: 'ok' },
    { level: 'fail', says: 'is that of door a, too', fix: 'give each its own port' },
  ]);
  t.match(await look([{ ...door('a', port), listen: { host: '192.0.2.1', port } }]), [
    { level: 'fail', says: /no such address/, fix: /ip -brief address/ },
  ]);
  t.match((await lookAtPorts(config(), null))[0], { level: 'warn', says: /another port at each start/ });
});

t.test('who answers at the ops address', async (t) => {
  const stranger = createHttpServer((_request, response) => void response.end('hello'));
  await new Promise<void>((resolve) => stranger.listen(0, host, resolve));
  const { port } = stranger.address() as AddressInfo;
  t.match(await askRunning({ host, port }), { stranger: /JSON/ });
  await new Promise((resolve) => stranger.close(resolve));
  t.equal(await askRunning({ host, port }), null);
});

t.test('exposure', async (t) => {
  t.equal(lookAtOps(config()).level, 'ok');
  t.match(lookAtOps(config({ ops: { listen: { host: '10.0.0.1', port: 9_464 } } })), {
    level: 'fail',
    says: /from other machines, and has no password/,
    fix: /127\.0\.0\.1 in ops\.listen/,
  });
  const relay = { ...config().relay, listen: { host: '0.0.0.0', port: 9_443 } };
  t.match(lookAtRelayDoor(config({ relay })), {
    level: 'warn',
    fix: /write relay\.advertise/,
    elsewhere: /ADDRESS-OF-THIS-HOST\/9443/,
  });
  const advertise = new URL('wss://proxy.example:9443');
  t.equal(lookAtRelayDoor(config({ relay: { ...relay, advertise } })).level, 'ok');
  t.match(lookAtPollDoors(config()), [{ level: 'ok', says: 'takes polls from everywhere' }]);
  t.match(lookAtPollDoors(config({ poll: [{ ...pollDoor, proxyProtocol: true }] })), [
    { level: 'warn', says: /PROXY header from anybody/, fix: /proxy_protocol_from/ },
  ]);
  const open = { ...pollDoor, listen: { host: '0.0.0.0', port: 8_080 } };
  t.match(lookAtPollDoors(config({ poll: [open], sites: [{ ...site, pollSecret: 'path' }] })), [
    { level: 'warn', says: /path is a secret without TLS/, fix: /give the door tls/ },
  ]);
});

t.test('the machine', async (t) => {
  t.match(lookAtDescriptors(config(), 1_024), { level: 'warn', fix: /LimitNOFILE=2664/ });
  t.equal(lookAtDescriptors(config(), 65_536).level, 'ok');
  t.match(lookAtWorkers(config({ workers: 9 }), 2), {
    level: 'warn',
    says: '9 poll workers on 2 cores',
    fix: /auto/,
  });
  t.equal(lookAtWorkers(config({ workers: 1 }), 1).level, 'ok');
  t.match(lookAtPrivileges(config(), 0), { level: 'warn', fix: /a user of its own/ });
  const old = { cert: '', key: '', profile: 'legacy', clientCa: null, runAs: { uid: 1, gid: 1 } } as DoorTls;
  t.equal(lookAtPrivileges(config({ doors: [{ ...door('old', 1), tls: old }] }), 0).level, 'ok');
  t.equal(lookAtPrivileges(config(), 1_000).level, 'ok');
  t.equal((await lookAtReusePort(2)).level, 'ok');
});

t.test('state, relays and the clock beside what was written', async (t) => {
  const dir = t.testdir();
  const state = join(dir, 'state');
  await mkdir(state, { mode: 0o700 });
  const { cert } = await (await createAuthority()).issue(['proxy']);
  await writeFile(join(dir, 'proxy.pem'), cert);
  const here = config({
    relay: { ...config().relay, state, tls: { cert: join(dir, 'proxy.pem'), key: '' } },
    sites: [site, { ...site, name: 'south' }],
  });
  const now = Date.now();
  t.equal(lookAtState(here).level, 'ok');
  t.match(lookAtState(config()), { level: 'fail', fix: /make it, writable/ });
  await chmod(state, 0o755);
  t.match(lookAtState(here), { level: 'warn', fix: `chmod 700 ${state}` });
  t.match(lookAtRelays(here, now), [
    { level: 'warn', says: /has no relay/, fix: /invite NAME --site default/ },
    { level: 'warn', fix: /--site south/ },
  ]);
  const { pin } = await createShownKey('hq-1');
  const registry = openRegistry(state, () => undefined);
  registry.put({ name: 'hq-1', site: 'default', pin, added: '' });
  registry.put({ name: 'gone', site: 'north', pin, added: '' });
  await writeFile(join(state, 'relays', 'broken.json'), '{');
  t.match(lookAtRelays(here, now), [
    { level: 'fail', says: /broken\.json is not the record of a relay/, fix: /revoke NAME/ },
    { level: 'ok', says: 'may be served by hq-1' },
    { level: 'warn', about: 'site south' },
    { level: 'warn', about: 'relay gone', fix: /add the site, or sallyport-proxy revoke gone/ },
  ]);
  t.match(lookAtClock(here, now), { level: 'ok', elsewhere: /sallyport-relay doctor/ });
  t.match(lookAtClock(here, now - 3 * 3_600_000), {
    level: 'fail',
    says: /but things here are from/,
    fix: /let NTP set the clock/,
  });
});

t.test('all checks are made, whatever is broken, and none prints a key', async (t) => {
  const dir = t.testdir();
  const authority = await createAuthority();
  const [one, other] = [await authority.issue(['a'], { days: [-9, -3] }), await authority.issue(['b'])];
  await writeFile(join(dir, 'a.pem'), one.cert);
  await writeFile(join(dir, 'a.key'), one.key, { mode: 0o644 });
  await writeFile(join(dir, 'b.key'), other.key, { mode: 0o600 });
  const files = { cert: join(dir, 'a.pem'), key: join(dir, 'a.key') };
  const broken = config({
    poll: [{ ...pollDoor, tls: { ...files, profile: 'intermediate', clientCa: null } }],
    relay: {
      ...config().relay,
      tls: { cert: files.cert, key: join(dir, 'b.key') },
      state: join(dir, 'none'),
    },
    ops: { listen: { host, port: 1 } },
  });
  const findings = await diagnose(proxyChecks({ config: broken, clock: systemClock, cores: 2 }));
  const said = findings.map(({ level, check, says, fix }) => `${level} ${check}: ${says} → ${fix}`);
  for (const line of [
    /^fail keys: .*b\.key does not fit → it should be the private key of the certificate/,
    /^warn keys: .*mode 0644\) → chmod 600/,
    /^fail state: cannot be used/,
    /^warn running: does not run/,
    /^fail certificates: the certificate expired/,
    /^warn relays: has no relay/,
    /^ok limits: works, so that workers \(2\) can share/,
  ]) {
    t.ok(
      said.some((each) => line.test(each)),
      `${line}\n${said.join('\n')}`,
    );
  }
  t.notMatch(JSON.stringify(findings), /PRIVATE KEY/);
});

import { connect } from 'node:net';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import type { Test } from 'tap';
import { systemClock } from '../../../shared/clock.ts';
import { SallyportError } from '../../../shared/errors.ts';
import { silentLog } from '../../../shared/log.ts';
import type { ProxyConfig, SessionDoorConfig } from '../../../proxy/config.ts';
import { createSessionSlots } from '../../../proxy/sessions/session-door.ts';
import { createSessionDoors } from '../../../proxy/sessions/session-doors.ts';
import type { Site } from '../../../proxy/site.ts';
import { createAuthority } from '../../fixtures/certificates.ts';

const door = (name: string, more: Partial<SessionDoorConfig> = {}): SessionDoorConfig => ({
  name,
  service: 'wpi',
  listen: { host: '127.0.0.1', port: 0 },
  allow: ['0.0.0.0/0'],
  proxyProtocol: false,
  tls: 'relay',
  ...more,
});

const configOf = (...doors: SessionDoorConfig[]): ProxyConfig =>
  ({ doors, sites: [{ name: 'default', doors: doors.map(({ name }) => name) }] }) as unknown as ProxyConfig;

async function open(t: Test, config: ProxyConfig) {
  const refusing = {
    name: 'default',
    config: { sessionConnections: 100, bytesPerSecond: 0 },
    open() {
      throw new SallyportError('LINK_DOWN', 'no link in this test');
    },
    sessions: () => 0,
  } as unknown as Site;
  const doors = await createSessionDoors(config, {
    sites: [refusing],
    slots: createSessionSlots(10, 10),
    handshakeMs: 1_000,
    drainMs: 100,
    clock: systemClock,
    log: silentLog,
  });
  t.teardown(() => doors.close());
  return doors;
}

/** Whether somebody listens there: the doors of these tests take a connection and cut it. */
function listens(address: string | undefined): Promise<boolean> {
  const [host = '', port] = (address ?? '').split(':');
  return new Promise((resolve) => {
    const socket = connect({ host, port: Number(port) });
    const heard = (listening: boolean): void => {
      resolve(listening);
      socket.destroy();
    };
    socket.on('connect', () => heard(true));
    socket.on('error', (error: NodeJS.ErrnoException) => heard(error.code !== 'ECONNREFUSED'));
  });
}

t.test('doors come and go; what stays as it was keeps its port', async (t) => {
  const doors = await open(t, configOf(door('a'), door('b')));
  const before = doors.addresses();
  await doors.change(configOf(door('a'), door('c')));
  const after = doors.addresses();
  t.same(Object.keys(after).sort(), ['a', 'c']);
  t.equal(after['a'], before['a']);
  t.notOk(await listens(before['b']));
  t.ok(await listens(after['c']));
  t.same(doors.of('default'), [
    { name: 'a', service: 'wpi', tls: 'relay' },
    { name: 'c', service: 'wpi', tls: 'relay' },
  ]);
});

t.test('a door that changes takes over its own port', async (t) => {
  const doors = await open(t, configOf(door('a')));
  const port = Number(doors.addresses()['a']?.split(':')[1]);
  const fixed = { listen: { host: '127.0.0.1', port } };
  await doors.change(configOf());
  await doors.change(configOf(door('a', fixed)));
  await doors.change(configOf(door('renamed', { ...fixed, service: 'other' })));
  t.same(doors.addresses(), { renamed: `127.0.0.1:${port}` });
  t.ok(await listens(`127.0.0.1:${port}`));
});

t.test('a door that cannot be opened leaves the others as they were', async (t) => {
  const doors = await open(t, configOf(door('a'), door('b')));
  const before = doors.addresses();
  const taken = Number(before['a']?.split(':')[1]);
  const clash = door('c', { listen: { host: '127.0.0.1', port: taken } });
  await t.rejects(doors.change(configOf(door('a'), clash)), { code: 'ADDRESS_IN_USE' });
  t.same(doors.addresses(), before);
  for (const address of Object.values(before)) t.ok(await listens(address));
});

t.test('a door that gave up its port for one that cannot be opened listens again', async (t) => {
  const { cert } = await (await createAuthority()).issue(['door']);
  const dir = t.testdir({ 'c.pem': cert });
  writeFileSync(join(dir, 'k.pem'), 'no key');
  const first = await open(t, configOf(door('a')));
  const port = Number(first.addresses()['a']?.split(':')[1]);
  const fixed = { listen: { host: '127.0.0.1', port } };
  await first.close();
  const doors = await open(t, configOf(door('a', fixed)));
  const unusable = { cert: join(dir, 'c.pem'), key: join(dir, 'k.pem'), clientCa: null };
  await t.rejects(doors.change(configOf(door('a', { ...fixed, tls: { ...unusable, profile: 'modern' } }))));
  t.same(doors.addresses(), { a: `127.0.0.1:${port}` });
  t.ok(await listens(`127.0.0.1:${port}`));
  t.match(doors.of('default'), [{ tls: 'relay' }]);
});

t.test('doors of which one cannot be opened are not opened at all', async (t) => {
  const other = await open(t, configOf(door('x')));
  const taken = Number(other.addresses()['x']?.split(':')[1]);
  const config = configOf(door('a'), door('b', { listen: { host: '127.0.0.1', port: taken } }));
  await t.rejects(open(t, config), { code: 'ADDRESS_IN_USE', message: /Session door b cannot listen/ });
});

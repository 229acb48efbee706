import { once } from 'node:events';
import { rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:https';
import { connect as connectPlain } from 'node:net';
import { join } from 'node:path';
import { connect } from 'node:tls';
import type { TLSSocket } from 'node:tls';
import t from 'tap';
import type { Test } from 'tap';
import { WebSocket } from 'ws';
import { systemClock } from '../../../shared/clock.ts';
import {
  createPrivateKeyPem,
  pinOf,
  readPrivateKey,
  selfSignedCertificate,
} from '../../../shared/key-pair.ts';
import { createLog } from '../../../shared/log.ts';
import { signInvite } from '../../../proxy/relays/invite.ts';
import { openRegistry } from '../../../proxy/relays/registry.ts';
import { createRelayDoor } from '../../../proxy/relays/relay-door.ts';

async function makeKey(name: string) {
  const pem = createPrivateKeyPem();
  const key = readPrivateKey(pem, name);
  const cert = await selfSignedCertificate(key, { commonName: name, hosts: [] }, new Date());
  return { pem, key, cert, pin: pinOf(key) };
}

/** A relay door whose links are never made: what it does before there is one. */
async function openDoor(t: Test) {
  const proxy = await makeKey('proxy');
  const dir = t.testdir({ 'proxy.key': proxy.pem, 'proxy.pem': proxy.cert });
  const state = join(dir, 'state');
  const lines: string[] = [];
  const log = createLog('debug', { write: (line) => void lines.push(line) });
  const registry = openRegistry(state, (why) => log.error('relay record unusable', { why }));
  const door = await createRelayDoor({
    listen: { host: '127.0.0.1', port: 0 },
    tls: { cert: join(dir, 'proxy.pem'), key: join(dir, 'proxy.key') },
    guests: { most: 64, perAddress: 8 },
    relayMsPerSecond: 250,
    registry,
    link: () => null,
    onRevoked: () => undefined,
    siteExists: (site) => site === 'default',
    clock: systemClock,
    log,
  });
  t.teardown(() => door.close());
  const { port } = door.address;
  const invite = (relay: string, site = 'default') =>
    signInvite(proxy.key, { relay, site }, Date.now(), Buffer.from(`${relay} ${Math.random()}`));
  return { door, port, dir, state, registry, proxy, lines, invite };
}

type Key = Awaited<ReturnType<typeof makeKey>>;

/** Asks for a control lane; resolves to the status and text of the refusal, or that the connection was cut. */
function knock(port: number, key: Key | null): Promise<string> {
  return new Promise((resolve) => {
    const ws = new WebSocket(`wss://127.0.0.1:${port}/link/control`, ['sallyport.1'], {
      rejectUnauthorized: false,
      ...(key === null ? {} : { cert: key.cert, key: key.pem }),
    });
    ws.on('unexpected-response', (_request, response) => {
      let text = '';
      response.on('data', (chunk: Buffer) => (text += chunk.toString()));
      response.on('end', () => resolve(`${response.statusCode} ${text}`));
    });
    ws.on('error', () => resolve('cut'));
  });
}

/** Posts a join; resolves to status and text. */
function postJoin(port: number, key: Key, body: string): Promise<string> {
  return new Promise((resolve) => {
    const asked = request(
      {
        host: '127.0.0.1',
        port,
        path: '/link/join',
        method: 'POST',
        agent: false,
        rejectUnauthorized: false,
        cert: key.cert,
        key: key.pem,
      },
      (response) => {
        let text = '';
        response.on('data', (chunk: Buffer) => (text += chunk.toString()));
        response.on('end', () => resolve(`${response.statusCode} ${text}`));
      },
    );
    asked.on('error', () => resolve('cut'));
    asked.end(body);
  });
}

t.test(
  'a join registers the key that was shown, once per invite, under the name of the invite',
  async (t) => {
    const { port, registry, invite } = await openDoor(t);
    const [first, second] = [await makeKey('first'), await makeKey('second')];
    const token = invite('hq-1');
    t.match(await knock(port, first), /^403 this key is not known here/);
    t.match(await postJoin(port, first, JSON.stringify({ token })), /^200 .*"relay":"hq-1","site":"default"/);
    t.match(registry.list(), [{ name: 'hq-1', pin: first.pin }]);
    t.match(await postJoin(port, second, JSON.stringify({ token })), /^403 .*used already/);
    t.match(await postJoin(port, second, JSON.stringify({ token: `${token}=` })), /^403 /);
    t.match(
      await postJoin(port, first, JSON.stringify({ token: invite('hq-2') })),
      /^403 .*that of relay hq-1 already/,
    );
    t.match(
      await postJoin(port, second, JSON.stringify({ token: invite('hq-2', 'gone') })),
      /^403 site gone of the invite is not configured/,
    );
    t.equal(registry.list().length, 1);
  },
);

t.test('what is no join is refused, and nothing of a token gets into the log', async (t) => {
  const { port, lines, invite } = await openDoor(t);
  const key = await makeKey('relay');
  const token = invite('hq-1');
  const [head = ''] = token.split('.');
  for (const body of ['', 'null', '[]', '{}', '{"token":1}', `{"token":"${token}`, `${token}`]) {
    t.match(
      await postJoin(port, key, body),
      /^403 the join request (is not JSON|has no token)/,
      body.slice(0, 12),
    );
  }
  await postJoin(port, key, JSON.stringify({ token: `${token}x` }));
  t.notOk(lines.join('').includes(head.slice(0, 6)), 'no part of the token was logged');
});

t.test('a record that is damaged concerns its own relay only', async (t) => {
  const { port, state, registry, lines } = await openDoor(t);
  const key = await makeKey('relay');
  registry.put({ name: 'hq-1', site: 'default', pin: key.pin, added: '' });
  writeFileSync(join(state, 'relays', 'hq-2.json'), '{"name":');
  t.match(await knock(port, key), /^403 site default is no longer configured/, 'it is known');
  t.ok(lines.some((line) => line.includes('hq-2.json')));
});

t.test('a state directory that cannot be read refuses relays, and the proxy lives on', async (t) => {
  const { port, state, registry } = await openDoor(t);
  const key = await makeKey('relay');
  registry.put({ name: 'hq-1', site: 'default', pin: key.pin, added: '' });
  rmSync(state, { recursive: true });
  t.match(await knock(port, key), /^503 the proxy cannot read its registry/);
  t.match(await postJoin(port, key, '{"token":"x"}'), /^403 the invite is not of this proxy/);
});

t.test('who shows no certificate is cut, and of many strangers the oldest gives way', async (t) => {
  const { port, door } = await openDoor(t);
  t.equal(await knock(port, null), 'cut');
  const key = await makeKey('stranger');
  const dial = async (): Promise<TLSSocket> => {
    const socket = connect({
      host: '127.0.0.1',
      port,
      rejectUnauthorized: false,
      cert: key.cert,
      key: key.pem,
    });
    socket.on('error', () => undefined);
    t.teardown(() => socket.destroy());
    await once(socket, 'secureConnect');
    return socket;
  };
  const strangers: TLSSocket[] = [];
  for (let i = 0; i < 8; i++) strangers.push(await dial());
  const [first, ...others] = strangers;
  const gone = once(first!.resume(), 'close');
  const ninth = await dial();
  await gone;
  t.match(door.refused(), { 'no-certificate': 1, 'address-full': 1 });
  t.ok([...others, ninth].every((socket) => !socket.destroyed));
});

t.test('a certificate that does not fit its key is not taken over, and the old pair goes on', async (t) => {
  const { door, dir, proxy, port, invite } = await openDoor(t);
  const fresh = await makeKey('fresh');
  writeFileSync(join(dir, 'proxy.key'), fresh.pem);
  t.throws(() => door.reload());
  t.equal(door.pin, proxy.pin);
  const relay = await makeKey('relay');
  t.match(
    await postJoin(port, relay, JSON.stringify({ token: invite('hq-1') })),
    /^200 /,
    'old invites are good',
  );
  writeFileSync(join(dir, 'proxy.pem'), fresh.cert);
  door.reload();
  t.equal(door.pin, fresh.pin);
});

t.test('closing waits neither for who never makes a handshake nor for strangers', async (t) => {
  const { door, port } = await openDoor(t);
  const silent = connectPlain({ host: '127.0.0.1', port });
  await once(silent, 'connect');
  const key = await makeKey('stranger');
  const stranger = connect({
    host: '127.0.0.1',
    port,
    rejectUnauthorized: false,
    cert: key.cert,
    key: key.pem,
  });
  await once(stranger, 'secureConnect');
  const began = performance.now();
  const gone = Promise.all([silent, stranger].map((socket) => once(socket.resume(), 'close')));
  await door.close();
  t.ok(performance.now() - began < 9_000, 'well before their handshake times out');
  await gone;
});

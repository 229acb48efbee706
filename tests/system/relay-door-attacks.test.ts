import { once } from 'node:events';
import { request } from 'node:https';
import { connect as connectPlain } from 'node:net';
import type { Socket } from 'node:net';
import { connect } from 'node:tls';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { TLSSocket } from 'node:tls';
import t from 'tap';
import type { Test } from 'tap';
import type { WebSocket } from 'ws';
import { until } from '../fixtures/faults/until.ts';
import { createShownKey, startRealProxy } from '../fixtures/real-proxy.ts';
import type { HonestRelay, RealProxy, ShownKey } from '../fixtures/real-proxy.ts';

const PENDING = '00:1a:e8:00:00:01';
/** What all attacks together may leave behind: less than one of the messages that some of them send. */
const LEFT_BYTES = 8 * 1_048_576;

/** What this process holds once everything that nobody needs any more was collected. */
function bytesHeld(): number {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  collect();
  collect();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

/** One way to abuse the door; resolves once the door has done what it should. */
type Attack = (t: Test, proxy: RealProxy, known: ShownKey) => Promise<void>;

const closed = async (ws: WebSocket): Promise<number> => {
  const [code] = (await once(ws, 'close')) as [number];
  return code;
};

/** Resolves to the status of the refusal, 101 for none, or 0 where the connection is just cut. */
const knock = (ws: WebSocket): Promise<number> =>
  new Promise((resolve) => {
    ws.once('open', () => resolve(101));
    ws.once('unexpected-response', (_request, response) => {
      response.resume();
      resolve(response.statusCode ?? 0);
    });
    ws.once('close', () => resolve(0));
  });

/** A lane of a relay with a key that is known, whose bytes the test writes itself. */
async function openRaw(proxy: RealProxy, key: ShownKey): Promise<{ ws: WebSocket; raw: Socket }> {
  const ws = proxy.socket('/link/control', key);
  const [[response]] = (await Promise.all([once(ws, 'upgrade'), once(ws, 'open')])) as [
    [{ socket: Socket }],
    [],
  ];
  return { ws, raw: response.socket };
}

/** A WebSocket frame's header (RFC 6455 §5.2) with a mask of zeros. */
function frameHeader(first: number, length: bigint): Buffer {
  const header = Buffer.alloc(14);
  header[0] = first;
  header[1] = 0x80 | 127;
  header.writeBigUInt64BE(length, 2);
  return header;
}
const smallFrame = (first: number, text: string): Buffer =>
  Buffer.concat([Buffer.of(first, 0x80 | text.length, 0, 0, 0, 0), Buffer.from(text)]);

const TEXT = 0x01;
const FIN = 0x80;
const RSV1 = 0x40;
const PING = 0x89;

/** Opens connections that say nothing, from addresses of loopback in turn. */
async function openSilent(t: Test, port: number, count: number, addresses: number): Promise<Socket[]> {
  return Promise.all(
    Array.from({ length: count }, async (_, i) => {
      const socket = connectPlain({
        host: '127.0.0.1',
        port,
        localAddress: `127.0.1.${1 + (i % addresses)}`,
      });
      socket.on('error', () => undefined);
      t.teardown(() => socket.destroy());
      await Promise.race([new Promise((resolve) => socket.once('connect', resolve)), over(socket)]);
      return socket;
    }),
  );
}

/** Resolves when the connection is over, in whatever way. */
const over = (socket: Socket): Promise<void> =>
  new Promise((resolve) =>
    socket.destroyed ? resolve() : void socket.resume().once('close', () => resolve()),
  );

const postJoin = (proxy: RealProxy, key: ShownKey, token: string, headers = {}): Promise<number> =>
  new Promise((resolve) => {
    const { cert, pem } = key;
    const asked = request(
      {
        host: '127.0.0.1',
        port: proxy.port,
        path: '/link/join',
        method: 'POST',
        agent: false,
        headers,
        rejectUnauthorized: false,
        cert,
        key: pem,
      },
      (response) => {
        response.resume();
        resolve(response.statusCode ?? 0);
      },
    );
    asked.on('error', () => resolve(0));
    asked.end(JSON.stringify({ token }));
  });

const attacks: Record<string, Attack> = {
  async 'no certificate'(t, proxy) {
    const ends = await Promise.all(
      Array.from({ length: 20 }, () => knock(proxy.socket('/link/control', null))),
    );
    t.ok(ends.every((status) => status === 0));
  },
  async 'a key that nobody has registered'(t, proxy) {
    const key = await createShownKey('stranger');
    t.equal(await knock(proxy.socket('/link/control', key)), 403);
    t.equal(await knock(proxy.socket('/link/stream?link=x', key)), 403);
  },
  async 'a revoked key'(t, proxy) {
    const key = await createShownKey('gone');
    proxy.register('gone', 'south', key);
    t.equal(await knock(proxy.socket('/link/control', key)), 101);
    const out = proxy.invite('gone', 'south');
    proxy.revoke('gone');
    t.equal(await knock(proxy.socket('/link/control', key)), 403);
    t.equal(await postJoin(proxy, key, out), 403, 'nor does it come back by an invite of before');
    t.equal(
      await postJoin(proxy, key, proxy.invite('gone', 'south', Date.now() + 1)),
      200,
      'by a new one it does',
    );
    proxy.revoke('gone');
  },
  async 'an expired invite, and one used twice'(t, proxy) {
    const key = await createShownKey('late');
    t.equal(await postJoin(proxy, key, proxy.invite('late', 'south', Date.now() - 25 * 3_600_000)), 403);
    const token = proxy.invite('late', 'south');
    t.equal(await postJoin(proxy, key, token), 200);
    t.equal(await postJoin(proxy, await createShownKey('second'), token), 403);
    proxy.revoke('late');
  },
  async 'a browser'(t, proxy, known) {
    const origin = 'https://evil.example';
    t.equal(await knock(proxy.socket('/link/control', known, { origin })), 403);
    t.equal(await postJoin(proxy, known, proxy.invite('page', 'south'), { origin }), 403);
  },
  async 'a frame of a terabyte'(t, proxy, known) {
    const { ws, raw } = await openRaw(proxy, known);
    raw.write(frameHeader(FIN | TEXT, 1n << 40n));
    t.equal(await closed(ws), 1009);
  },
  async 'a message of many pieces that never ends'(t, proxy, known) {
    const { ws, raw } = await openRaw(proxy, known);
    raw.write(smallFrame(TEXT, 'x'));
    for (let i = 0; i < 20; i++) raw.write(smallFrame(0, 'x'));
    t.equal(await closed(ws), 1008);
  },
  async 'compressed frames'(t, proxy, known) {
    const { ws, raw } = await openRaw(proxy, known);
    t.equal(ws.extensions, '', 'offered, and not taken');
    raw.write(smallFrame(FIN | RSV1 | TEXT, 'xxxx'));
    t.equal(await closed(ws), 1002);
  },
  async 'a flood of pings'(t, proxy, known) {
    const { ws, raw } = await openRaw(proxy, known);
    for (let i = 0; i < 1_000; i++) raw.write(smallFrame(PING, ''));
    t.equal(await closed(ws), 1008);
  },
  async 'a long header and a long join'(t, proxy) {
    const key = await createShownKey('long');
    t.ok([0, 431].includes(await postJoin(proxy, key, 'x', { x: 'x'.repeat(20_000) })));
    t.ok([0, 403].includes(await postJoin(proxy, key, 'x'.repeat(1_000_000))));
  },
  async 'more connections with one key than a relay has use for'(t, proxy, known) {
    const open = Array.from({ length: 24 }, () => proxy.socket('/link/control', known));
    const ends = await Promise.all(open.map(knock));
    t.equal(ends.filter((status) => status === 101).length, 18);
    open.forEach((ws) => ws.terminate());
  },
  async 'a hundred silent connections from one address'(t, proxy) {
    const sockets = await openSilent(t, proxy.port, 100, 1);
    await Promise.all(sockets.slice(0, 92).map(over));
    t.ok(
      sockets.slice(92).every((socket) => !socket.destroyed),
      'the last eight may wait for their end',
    );
    await proxy.relay('newcomer', 'south').then(({ links }) => links.close());
    proxy.revoke('newcomer');
    sockets.forEach((socket) => socket.destroy());
  },
  async 'three hundred silent connections from as many addresses, and a relay that comes'(t, proxy) {
    const sockets = await openSilent(t, proxy.port, 300, 250);
    await proxy.relay('newcomer', 'south').then(({ links }) => links.close());
    proxy.revoke('newcomer');
    t.ok(sockets.filter((socket) => !socket.destroyed).length <= 64);
    sockets.forEach((socket) => socket.destroy());
  },
  async 'strangers that stay'(t, proxy) {
    const { cert, pem } = await createShownKey('stranger');
    const dial = async (): Promise<TLSSocket> => {
      const socket = connect({
        host: '127.0.0.1',
        port: proxy.port,
        rejectUnauthorized: false,
        cert,
        key: pem,
      });
      socket.on('error', () => undefined);
      t.teardown(() => socket.destroy());
      await Promise.race([new Promise((resolve) => socket.once('secureConnect', resolve)), over(socket)]);
      return socket;
    };
    const strangers = await Promise.all(Array.from({ length: 16 }, dial));
    const joined = await createShownKey('joined');
    t.equal(await postJoin(proxy, joined, proxy.invite('joined', 'south')), 200, 'there is room to join');
    proxy.revoke('joined');
    strangers.forEach((socket) => socket.destroy());
  },
};

t.test('whatever is done to the relay door, links stay up and polls are answered', async (t) => {
  const proxy = await startRealProxy(t);
  const relay = await proxy.relay('hq-1', 'north');
  await relay.push(PENDING);
  const known = await createShownKey('hostile');
  proxy.register('hostile', 'south', known);

  let polling = true;
  const statuses = new Map<number, number>();
  const poller = (async () => {
    while (polling) {
      const status = await proxy.poll('north', PENDING);
      statuses.set(status, (statuses.get(status) ?? 0) + 1);
    }
  })();
  const before = bytesHeld();
  for (const [name, attack] of Object.entries(attacks)) {
    await t.test(name, async (t) => {
      await attack(t, proxy, known);
      t.equal(relay.links.states()[0]?.state, 'up');
      t.equal(await proxy.poll('north', PENDING), 202);
    });
  }
  polling = false;
  await poller;
  t.same([...statuses.keys()], [202], `${statuses.get(202)} polls, all of them 202`);
  t.equal(proxy.log.filter(({ msg, site }) => msg === 'relay link up' && site === 'north').length, 1);
  let left = Infinity;
  // What was closed last is given up some turns later.
  await until(
    'what the attacks cost is given back',
    () => (left = bytesHeld() - before) < LEFT_BYTES,
  ).finally(() => t.comment(`${(left / 1_048_576).toFixed(1)} MiB are left`));
});

t.test('what a proxy says that it holds is told at the very next poll', async (t) => {
  const proxy = await startRealProxy(t);
  const { push } = await proxy.relay('north-1', 'north');
  for (let n = 10; n < 40; n++) {
    const device = `00:1a:e8:00:00:${n}`;
    await push(device);
    t.equal(await proxy.poll('north', device), 202);
  }
});

t.test('a relay touches its own site only', async (t) => {
  const proxy = await startRealProxy(t);
  const north = await proxy.relay('north-1', 'north');
  await north.push(PENDING);
  const known = await createShownKey('hostile');
  proxy.register('hostile', 'south', known);
  t.equal(await proxy.poll('north', PENDING), 202);

  const { ws } = await openRaw(proxy, known);
  const say = (frame: object): void => ws.send(JSON.stringify(frame));
  const heard: { type: string; link?: string }[] = [];
  ws.on('message', (data: Buffer) => heard.push(JSON.parse(data.toString()) as { type: string }));
  const hello = {
    type: 'hello',
    relay: 'hostile',
    incarnation: 'x',
    seq: 0,
    software: 'x',
    services: [],
    blind: false,
  };
  say({ ...hello, site: 'south' });
  say({ type: 'snapshot', incarnation: 'x', seq: 0, first: true, last: true, entries: [] });
  say({ type: 'known', devices: [PENDING] });
  say({ type: 'quiet', device: PENDING, generation: 1, ms: 100_000 });
  say({ type: 'gap', device: PENDING });
  say({ type: 'changes', seq: 1, changes: [{ op: 'end', id: 'any', device: PENDING, generation: 99 }] });
  say({ type: 'health', ready: false, sessions: 1_000_000, services: [] });
  say({ type: 'drain' });
  say({ type: 'ping', n: 7 });
  while (!heard.some(({ type }) => type === 'pong')) await once(ws, 'message');
  t.equal(await proxy.poll('north', PENDING), 202, 'nothing of it reaches the other site');
  t.equal(await proxy.poll('south', PENDING), 200);

  // Its link's name opens no lane for another relay, and nobody else's is known to it.
  const { link = '' } = heard.find(({ type }) => type === 'welcome') ?? {};
  t.equal(await knock(proxy.socket(`/link/stream?link=${link}`, north.key)), 409);
  t.equal(await knock(proxy.socket('/link/stream?link=guess', known)), 409);

  const liar = await openRaw(proxy, known);
  liar.ws.send(JSON.stringify({ ...hello, site: 'north' }));
  t.equal(await closed(liar.ws), 4001, 'nor may it say that it is of the other site');
  t.equal(north.links.states()[0]?.state, 'up');
});

t.test('a second live link with one key fences the older one, and that is told', async (t) => {
  const proxy = await startRealProxy(t);
  const { links, key } = await proxy.relay('hq-1', 'north');
  const down = new Promise<string | null>((resolve) =>
    links.onChange(({ state, why }) => state === 'down' && resolve(why)),
  );
  const { ws } = await openRaw(proxy, key);
  ws.send(
    JSON.stringify({
      type: 'hello',
      relay: 'hq-1',
      site: 'north',
      incarnation: 'stolen',
      seq: 0,
      software: 'x',
      services: [],
      blind: false,
    }),
  );
  await once(ws, 'message');
  t.match(await down, /a newer link of this relay took over/);
  t.ok(
    proxy.log.some(({ msg, level }) => level === 'error' && msg.startsWith('two live links with the key')),
  );
  t.match(await proxy.metrics(), /^sallyport_links_fenced_total 1$/m);
});

t.test(
  'with several relays of a site a second live link of one fences that one alone, and is told',
  async (t) => {
    const proxy = await startRealProxy(t);
    const { links, key, outbox } = await proxy.relay('hq-1', 'north');
    const siblings = await createShownKey('hq-2');
    proxy.register('hq-2', 'north', siblings);
    const link = async (
      relay: string,
      by: ShownKey,
      incarnation = outbox.incarnation,
    ): Promise<WebSocket> => {
      const { ws } = await openRaw(proxy, by);
      const hello = {
        type: 'hello',
        relay,
        site: 'north',
        incarnation,
        seq: 0,
        software: 'x',
        services: [],
        blind: false,
      };
      ws.send(JSON.stringify(hello));
      return ws;
    };
    const sibling = await link('hq-2', siblings);
    await once(sibling, 'message');
    let siblingClosed = false;
    sibling.on('close', () => (siblingClosed = true));

    const fenced = (): unknown[] =>
      proxy.log
        .filter(({ msg, level }) => level === 'error' && msg.startsWith('two live links with the key'))
        .map(({ relay }) => relay);
    const stranger = await link('hq-1', key, 'another outbox');
    t.equal(await closed(stranger), 4004, 'who speaks for another outbox takes no place');
    t.equal(links.states()[0]?.state, 'up', 'nor anybody’s link');

    const down = new Promise<string | null>((resolve) =>
      links.onChange(({ state, why }) => state === 'down' && resolve(why)),
    );
    await once(await link('hq-1', key), 'message');
    t.match(await down, /a newer link of this relay took over/);
    t.equal(fenced()[0], 'hq-1');
    t.equal(siblingClosed, false);

    // By another's name, but with the own key: names come from the registry, not from the hello.
    const over = closed(sibling);
    await once(await link('hq-1', siblings), 'message');
    await over;
    t.ok(fenced().includes('hq-2'), 'it fenced itself');
  },
);

t.test('a revoked relay is cut within a minute, and one whose key is replaced is not', async (t) => {
  const proxy = await startRealProxy(t);
  const first = await proxy.relay('hq-1', 'north');
  const second = await proxy.relay('hq-2', 'south');
  // Its next key, joined by an invite: the present link goes on beside it.
  const next = await createShownKey('hq-2');
  t.equal(await postJoin(proxy, next, proxy.invite('hq-2', 'south')), 200);
  // Of another proxy, one whose key is known again at once, for another site: the link of before is not that site's.
  const elsewhere = await startRealProxy(t);
  const moved = await elsewhere.relay('hq-1', 'north');
  elsewhere.revoke('hq-1');
  elsewhere.register('hq-1', 'south', moved.key);
  await keepBack(proxy, second, PENDING);
  t.equal(await proxy.poll('south', PENDING), 200, 'so much a relay of the site can do');
  proxy.revoke('rogue');
  proxy.revoke('hq-1');
  const since = performance.now();
  const down = [first, moved].map(
    ({ links }) =>
      new Promise<string | null>((resolve) =>
        links.onChange(({ state, why }) => state === 'down' && resolve(why)),
      ),
  );
  for (const why of await Promise.all(down)) t.match(why, /revoked/);
  t.ok(performance.now() - since < 60_000, `after ${Math.round(performance.now() - since)} ms`);
  t.equal(await knock(proxy.socket('/link/control', next)), 101);
  // Of what the rogue one had said nothing is left, though nobody restarted anything.
  const pollSouth = async (): Promise<boolean> => (await proxy.poll('south', PENDING)) === 202;
  await until('its sibling has told everything anew', pollSouth);
});

/**
 * A rogue relay beside an honest one says that nothing happened in the change to come, before the honest one can tell what
 * did: the push is on disk, and phones are not told.
 */
async function keepBack(proxy: RealProxy, { outbox, push }: HonestRelay, device: string): Promise<void> {
  const key = await createShownKey('rogue');
  proxy.register('rogue', 'south', key);
  const { ws } = await openRaw(proxy, key);
  const said: string[] = [];
  ws.on('message', (data: Buffer) => said.push((JSON.parse(data.toString()) as { type: string }).type));
  const say = (frame: object): void => ws.send(JSON.stringify(frame));
  const { incarnation } = outbox;
  say({
    ...{ type: 'hello', relay: 'rogue', site: 'south', incarnation, seq: 0, software: 'x' },
    ...{ services: [], blind: false },
  });
  say({ type: 'changes', seq: outbox.sequence() + 1, changes: [] });
  await until('the proxy took it', () => said.includes('applied'));
  await push(device);
}

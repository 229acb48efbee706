import { randomBytes } from 'node:crypto';
import t from 'tap';
import { SILENCE_MS } from '../../../shared/protocol.ts';
import type { RelayFrame } from '../../../shared/protocol.ts';
import { STUBBORN_WAIT_MS } from '../../../relay-client/links/reconnect.ts';
import type { DeviceId } from '../../../shared/device-id.ts';
import { createModelDisk, createModelOutbox } from '../../../relay-client/outbox/model.ts';
import type { ModelDisk } from '../../../relay-client/outbox/model.ts';
import { createFakeClock } from '../../fixtures/fake-clock.ts';
import { createProxySide, createRelaySide, rest } from '../../fixtures/linked-pair.ts';

const DEVICE = '00:1a:e8:00:00:01' as DeviceId;
const OTHER = '00:1a:e8:00:00:02' as DeviceId;
const HEALTHY: RelayFrame = { type: 'health', ready: true, sessions: 0, services: [] };

function createOutbox(clock = createFakeClock(), disk: ModelDisk = createModelDisk()) {
  return createModelOutbox({ clock, random: (size) => randomBytes(size), disk });
}

const push = (device: DeviceId, delay = 0) => ({
  device,
  kind: 'contact-me' as const,
  ttl: 3_600_000,
  delay,
});

/** Moves the clock on in steps, so that what a step causes happens before the next. */
async function pass(clock: ReturnType<typeof createFakeClock>, ms: number): Promise<void> {
  for (let left = ms; left > 0; left -= 500) {
    clock.advance(Math.min(500, left));
    await rest();
  }
}

t.test('what is pushed is offered at every proxy, and what is cleared is not', async (t) => {
  const clock = createFakeClock();
  const outbox = createOutbox(clock);
  const proxies = [createProxySide(clock), createProxySide(clock)];
  await outbox.push(push(DEVICE));
  const links = createRelaySide(clock, outbox, proxies);
  await rest();
  t.same(
    proxies.map((proxy) => proxy.verdict(DEVICE)),
    ['offer', 'offer'],
    'by the snapshot',
  );
  await outbox.push(push(OTHER));
  const held = await links.heldBy(outbox.sequence(), 1_000);
  t.same(held, { all: true, proxies: ['wss://proxy-0', 'wss://proxy-1'] });
  t.same(
    proxies.map((proxy) => proxy.verdict(OTHER)),
    ['offer', 'offer'],
    'by changes',
  );
  await outbox.clear(DEVICE, { state: 'cleared', by: 'test' });
  await rest();
  t.same(
    proxies.map((proxy) => proxy.verdict(DEVICE)),
    ['idle', 'idle'],
  );
  t.same(
    links.states().map(({ state, lag }) => [state, lag]),
    [
      ['up', 0],
      ['up', 0],
    ],
  );
  await links.close();
});

t.test('where work stands is known from each proxy, also to a relay that was restarted', async (t) => {
  const clock = createFakeClock();
  const outbox = createOutbox(clock);
  const proxies = [createProxySide(clock), createProxySide(clock)];
  let links = createRelaySide(clock, outbox, proxies);
  await rest();
  proxies[1]!.network.down = true;
  proxies[1]!.cut();
  clock.advance(1_000);
  const pushed = clock.wall();
  const { message } = await outbox.push(push(DEVICE));
  const seq = outbox.sequence();
  await rest();
  t.same(links.heldAt(seq), [{ proxy: 'wss://proxy-0', since: pushed, exact: true }], 'of those linked');
  t.same(links.heldAt(seq + 1), [{ proxy: 'wss://proxy-0', since: null, exact: false }]);
  proxies[1]!.network.down = false;
  await pass(clock, 15_000);
  const [, late] = links.heldAt(seq);
  t.match(late, { proxy: 'wss://proxy-1', exact: true });
  t.ok((late?.since ?? 0) > pushed, 'the other holds it since it was told');
  await links.close();
  clock.advance(60_000);
  // One of the proxies was restarted, too, and has forgotten all.
  proxies[1] = createProxySide(clock);
  const again = clock.wall();
  links = createRelaySide(clock, outbox, proxies);
  await rest();
  t.same(links.heldAt(seq), [
    { proxy: 'wss://proxy-0', since: again, exact: false },
    { proxy: 'wss://proxy-1', since: again, exact: true },
  ]);
  t.match(links.states(), [
    { lag: 0, applied: seq },
    { lag: 0, applied: seq },
  ]);
  t.same(
    await links.heldBy(seq, 1_000),
    { all: true, proxies: ['wss://proxy-0', 'wss://proxy-1'] },
    'nobody waits for a proxy to say again what it holds',
  );
  await outbox.end(message.id, { state: 'cleared', by: 'test' });
  await links.close();
});

t.test('a link that falls silent turns its polls to 200 within ten seconds, and is made anew', async (t) => {
  const clock = createFakeClock();
  const outbox = createOutbox(clock);
  const proxy = createProxySide(clock);
  await outbox.push(push(DEVICE));
  const links = createRelaySide(clock, outbox, [proxy]);
  await rest();
  proxy.vanish();
  proxy.network.down = true;
  clock.advance(SILENCE_MS);
  t.equal(proxy.verdict(DEVICE), 'link_down', 'the lease alone ends it, whatever timers do');
  await pass(clock, 3_000);
  t.equal(links.states()[0]?.state, 'down', 'the relay has noticed too');
  t.match(links.states()[0]?.why, /down|heard/);
  proxy.network.down = false;
  await pass(clock, 12_000);
  t.equal(proxy.verdict(DEVICE), 'offer');
  await links.close();
});

t.test(
  'after a cut the proxy is brought up to date, with what was pushed and cleared meanwhile',
  async (t) => {
    const clock = createFakeClock();
    const outbox = createOutbox(clock);
    const proxy = createProxySide(clock);
    await outbox.push(push(DEVICE));
    const links = createRelaySide(clock, outbox, [proxy]);
    await rest();
    proxy.network.down = true;
    proxy.cut();
    await rest();
    t.equal(proxy.verdict(DEVICE), 'link_down');
    await outbox.clear(DEVICE, { state: 'cleared', by: 'test' });
    await outbox.push(push(OTHER));
    proxy.network.down = false;
    await pass(clock, 12_000);
    t.same([proxy.verdict(DEVICE), proxy.verdict(OTHER)], ['idle', 'offer']);
    t.same(proxy.site.holds(), { incarnation: outbox.incarnation, seq: outbox.sequence() });
    await links.close();
  },
);

t.test('a proxy that was wiped gets everything again', async (t) => {
  const clock = createFakeClock();
  const outbox = createOutbox(clock);
  await outbox.push(push(DEVICE));
  const first = createProxySide(clock);
  await createRelaySide(clock, outbox, [first]).close();
  const wiped = createProxySide(clock);
  const links = createRelaySide(clock, outbox, [wiped]);
  await rest();
  t.equal(wiped.verdict(DEVICE), 'offer');
  await links.close();
});

t.test('an outbox that went back in time starts a new incarnation and corrects every proxy', async (t) => {
  const clock = createFakeClock();
  const disk = createModelDisk();
  const before = createOutbox(clock, disk);
  await before.push(push(DEVICE));
  // A copy of the disk in the state of now, which nothing marks as a copy.
  const copy: ModelDisk = { ...disk, calls: [...disk.calls] };
  const { incarnation } = before;
  await before.clear(DEVICE, { state: 'cleared', by: 'test' });
  await before.push(push(OTHER));
  const proxies = [createProxySide(clock), createProxySide(clock)];
  const old = createRelaySide(clock, before, proxies);
  await rest();
  t.same(
    proxies.map((proxy) => proxy.verdict(OTHER)),
    ['offer', 'offer'],
  );
  await old.close();

  const restored = createOutbox(clock, copy);
  t.equal(restored.incarnation, incarnation, 'the restored outbox does not know what it is');
  const links = createRelaySide(clock, restored, proxies);
  await pass(clock, 12_000);
  t.not(restored.incarnation, incarnation);
  for (const proxy of proxies) {
    t.same(
      [proxy.verdict(DEVICE), proxy.verdict(OTHER)],
      ['offer', 'idle'],
      'the truth of the restored outbox',
    );
    t.equal(proxy.site.holds()?.incarnation, restored.incarnation);
  }
  await links.close();
});

t.test('a newer link of the same relay takes over, and the older one tries again late', async (t) => {
  const clock = createFakeClock();
  const outbox = createOutbox(clock);
  const proxy = createProxySide(clock);
  const older = createRelaySide(clock, outbox, [proxy]);
  await rest();
  const newer = createRelaySide(clock, outbox, [proxy]);
  await rest();
  t.equal(newer.states()[0]?.state, 'up');
  t.equal(older.states()[0]?.state, 'down');
  t.match(older.states()[0]?.why, /newer link/);
  older.quiet(DEVICE, 1, 60_000);
  await outbox.push(push(DEVICE));
  await rest();
  t.equal(proxy.verdict(DEVICE), 'offer', 'what the older one says counts for nothing');
  await pass(clock, STUBBORN_WAIT_MS / 2 - 1_000);
  t.equal(newer.states()[0]?.state, 'up', 'the two do not fight');
  await older.close();
  await newer.close();
});

t.test('a relay with another outbox is refused while the site is served', async (t) => {
  const clock = createFakeClock();
  const proxy = createProxySide(clock);
  const right = createRelaySide(clock, createOutbox(clock), [proxy]);
  await rest();
  const wrong = createRelaySide(clock, createOutbox(clock), [proxy], { name: 'other' });
  await rest();
  t.equal(right.states()[0]?.state, 'up');
  t.match(wrong.states()[0], { state: 'down', why: /served by relay hq-1/ });
  await right.close();
  await wrong.close();
});

t.test('quiet, loud and gap are obeyed, and a session gap follows what the site says', async (t) => {
  const clock = createFakeClock();
  const outbox = createOutbox(clock);
  const proxy = createProxySide(clock, { sessionGapMs: 30_000 });
  await outbox.push(push(DEVICE));
  const links = createRelaySide(clock, outbox, [proxy]);
  await rest();
  links.quiet(DEVICE, 1, 20_000);
  await rest();
  t.equal(proxy.verdict(DEVICE), 'in_session');
  links.loud(DEVICE);
  await rest();
  t.equal(proxy.verdict(DEVICE), 'offer');
  links.quiet(DEVICE, 1, 5_000);
  await pass(clock, 6_000);
  t.equal(proxy.verdict(DEVICE), 'offer', 'quiet ends by itself');
  t.equal(links.sessionGap(), 30_000, 'so that people can be told of it');
  links.gap(DEVICE);
  await rest();
  t.equal(proxy.verdict(DEVICE), 'session_gap');
  await pass(clock, 31_000);
  t.equal(proxy.verdict(DEVICE), 'offer');
  await links.close();
});

t.test(
  'polls are 200 while the service cannot be reached, the relay drains, or sessions are at their limit',
  async (t) => {
    const clock = createFakeClock();
    const outbox = createOutbox(clock);
    const proxy = createProxySide(clock, { maxSessions: 1 });
    await outbox.push(push(DEVICE));
    const links = createRelaySide(clock, outbox, [proxy], { present: () => [HEALTHY] });
    await rest();
    t.equal(proxy.verdict(DEVICE), 'offer');
    links.health({ type: 'health', ready: false, sessions: 0, services: [{ name: 'wpi', up: false }] });
    await rest();
    t.equal(proxy.verdict(DEVICE), 'upstream_down');
    t.match(proxy.site.status().reasons, [/provisioning service/]);
    links.health({ type: 'health', ready: true, sessions: 1, services: [] });
    await rest();
    t.equal(proxy.verdict(DEVICE), 'not_admitted');
    links.health({ type: 'health', ready: true, sessions: 0, services: [] });
    await rest();
    t.equal(proxy.verdict(DEVICE), 'offer');
    links.drain();
    await rest();
    t.equal(proxy.verdict(DEVICE), 'link_down');
    await links.close();
  },
);

t.test('what is not due yet is offered when it is, and what has expired no more', async (t) => {
  const clock = createFakeClock();
  const outbox = createOutbox(clock);
  const proxy = createProxySide(clock);
  const links = createRelaySide(clock, outbox, [proxy]);
  await outbox.push({ ...push(DEVICE), delay: 20_000, ttl: 60_000 });
  await rest();
  t.equal(proxy.verdict(DEVICE), 'too_early');
  await pass(clock, 20_500);
  t.equal(proxy.verdict(DEVICE), 'offer');
  await pass(clock, 40_000);
  t.equal(proxy.verdict(DEVICE), 'expired');
  await links.close();
});

t.test('phones reach the relay through the link, and are cut with it', async (t) => {
  const clock = createFakeClock();
  const proxy = createProxySide(clock);
  const links = createRelaySide(clock, createOutbox(clock), [proxy], {
    accept(stream) {
      stream.on('data', (chunk: Buffer) => stream.write(chunk));
      return true;
    },
  });
  const opening = { service: 'wpi', door: 'wpi', address: '192.0.2.1', port: 1, tls: 'relay' as const };
  t.throws(() => proxy.site.open(opening), { code: 'LINK_DOWN' }, 'not before the link is up');
  await rest();
  const phone = proxy.site.open(opening);
  let echoed = '';
  phone.on('data', (chunk: Buffer) => (echoed += chunk.toString()));
  phone.write('hello');
  await rest();
  t.equal(echoed, 'hello');
  proxy.network.down = true;
  proxy.cut();
  await rest();
  t.ok(phone.destroyed);
  await links.close();
});

t.test('devices that the outbox knows are known at the proxy, pending or not', async (t) => {
  const clock = createFakeClock();
  const outbox = createOutbox(clock);
  await outbox.push(push(DEVICE));
  await outbox.clear(DEVICE, { state: 'cleared', by: 'test' });
  const proxy = createProxySide(clock);
  const links = createRelaySide(clock, outbox, [proxy]);
  await rest();
  t.equal(proxy.verdict(DEVICE), 'idle', 'known, and nothing pending');
  t.equal(proxy.verdict(OTHER), null, 'unknown');
  links.known(OTHER);
  await rest();
  t.equal(proxy.verdict(OTHER), 'idle');
  await links.close();
});

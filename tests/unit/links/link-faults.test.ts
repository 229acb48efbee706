import { randomBytes } from 'node:crypto';
import t from 'tap';
import type { DeviceId } from '../../../shared/device-id.ts';
import type { Lane, LaneEvents } from '../../../shared/lane.ts';
import { silentLog } from '../../../shared/log.ts';
import { CLOSE, CONTROL_BACKLOG_BYTES, GREETING_MS } from '../../../shared/protocol.ts';
import type { ProxyFrame, RelayFrame } from '../../../shared/protocol.ts';
import { createLinks } from '../../../relay-client/links/links.ts';
import { createModelDisk, createModelOutbox } from '../../../relay-client/outbox/model.ts';
import type { Outbox } from '../../../relay-client/outbox/outbox.ts';
import { createFakeClock } from '../../fixtures/fake-clock.ts';
import type { FakeClock } from '../../fixtures/fake-clock.ts';
import { rest } from '../../fixtures/linked-pair.ts';

const DEVICE = '00:1a:e8:00:00:01' as DeviceId;
const push = (device: DeviceId = DEVICE) => ({
  device,
  kind: 'contact-me' as const,
  ttl: 3_600_000,
  delay: 0,
});

const createOutbox = (clock: FakeClock): Outbox =>
  createModelOutbox({ clock, random: (size) => randomBytes(size), disk: createModelDisk() });

/** A proxy that says whatever a test makes it say. */
function createScriptedProxy() {
  const said: RelayFrame[] = [];
  const closes: { code: number; reason: string }[] = [];
  const state = { backlog: 0, holdStreams: false };
  let control: LaneEvents | null = null;
  let dials = 0;
  let aborted = 0;
  const held: (() => void)[] = [];

  function openLane(events: LaneEvents, isControl: boolean): Lane {
    let open = true;
    return {
      send(frame) {
        if (open && isControl) said.push(JSON.parse(String(frame)) as RelayFrame);
      },
      backlog: () => (isControl ? state.backlog : 0),
      close(code, reason) {
        if (!open) return;
        open = false;
        if (isControl) closes.push({ code, reason });
        setImmediate(() => events.closed(code, reason));
      },
      cut: () => undefined,
    };
  }

  return {
    said,
    closes,
    state,
    dials: () => dials,
    aborted: () => aborted,
    say: (frame: ProxyFrame | string) =>
      control?.frame(typeof frame === 'string' ? frame : JSON.stringify(frame)),
    welcome: (holds: { incarnation: string; seq: number } | null = null): ProxyFrame => ({
      type: 'welcome',
      link: 'l',
      software: 'test',
      site: 'default',
      doors: [],
      holds,
    }),
    /** Lets the stream lanes be opened that were held up. */
    release: () => held.splice(0).forEach((open) => open()),
    closeControl: (code: number, reason: string) => control?.closed(code, reason),
    async dial(lane: { kind: string }, events: LaneEvents, signal: AbortSignal): Promise<Lane> {
      dials += 1;
      signal.addEventListener('abort', () => (aborted += 1));
      if (lane.kind === 'control') {
        control = events;
        return openLane(events, true);
      }
      if (state.holdStreams) await new Promise<void>((resolve) => held.push(resolve));
      return openLane(events, false);
    },
  };
}

function link(clock: FakeClock, outbox: Outbox, proxies: ReturnType<typeof createScriptedProxy>[]) {
  return createLinks({
    relay: 'hq-1',
    site: 'default',
    software: 'test',
    services: [],
    blind: false,
    targets: proxies.map((proxy, i) => ({
      url: `wss://proxy-${i}`,
      dial: (lane, events, signal) => proxy.dial(lane, events, signal),
    })),
    outbox,
    streamLanes: 1,
    maxStreams: 16,
    clock,
    random: () => 0.5,
    log: silentLog,
    accept: () => true,
    present: () => [{ type: 'health', ready: true, sessions: 0, services: [] }],
    onPolls: () => undefined,
    onMetrics: () => undefined,
    onWentBack: () => undefined,
  });
}

/** The outbox, and how many listen to its commits. */
function countListeners(outbox: Outbox) {
  let listening = 0;
  const counted: Outbox = Object.create(outbox, {
    onCommit: {
      value(listener: (seq: number) => void) {
        listening += 1;
        const stop = outbox.onCommit(listener);
        return () => {
          listening -= 1;
          stop();
        };
      },
    },
  }) as Outbox;
  return { outbox: counted, listening: () => listening };
}

t.test(
  'a link that ends while it dials a stream lane gives that up and follows the outbox no more',
  async (t) => {
    const clock = createFakeClock();
    const { outbox, listening } = countListeners(createOutbox(clock));
    const proxy = createScriptedProxy();
    proxy.state.holdStreams = true;
    const links = link(clock, outbox, [proxy]);
    await rest();
    proxy.say(proxy.welcome());
    await rest();
    t.equal(proxy.dials(), 2);
    proxy.closeControl(CLOSE.replaced, 'a newer link of this relay took over');
    t.equal(proxy.aborted(), 2, 'the dial is told to stop');
    proxy.release();
    await rest();
    t.equal(listening(), 0);
    await outbox.push(push());
    await rest();
    t.same(
      proxy.said.map(({ type }) => type),
      ['hello'],
    );
    await links.close();
  },
);

t.test('closing gives up a dial that is under way', async (t) => {
  const clock = createFakeClock();
  const proxy = createScriptedProxy();
  const links = link(clock, createOutbox(clock), [proxy]);
  await links.close();
  t.equal(proxy.aborted(), 1);
});

t.test('a proxy that never welcomes is left', async (t) => {
  const clock = createFakeClock();
  const proxy = createScriptedProxy();
  const links = link(clock, createOutbox(clock), [proxy]);
  await rest();
  for (let ms = 0; ms < 2 * GREETING_MS; ms += 1_000) {
    proxy.say({ type: 'ping', n: 1 });
    clock.advance(1_000);
    await rest();
  }
  t.match(links.states()[0], { state: 'down' });
  t.match(proxy.closes, [{ code: CLOSE.violation, reason: /a ping before the welcome/ }]);
  await links.close();

  const silent = createScriptedProxy();
  const again = link(clock, createOutbox(clock), [silent]);
  await rest();
  clock.advance(2 * GREETING_MS);
  await rest();
  t.ok(silent.closes.length > 0);
  await again.close();
});

t.test(
  'however much a proxy says that it applied, the outbox is asked about it once at a time',
  async (t) => {
    const clock = createFakeClock();
    const outbox = createOutbox(clock);
    let asked = 0;
    let atOnce = 0;
    const refresh = outbox.refresh.bind(outbox);
    outbox.refresh = async () => {
      asked += 1;
      atOnce += 1;
      t.equal(atOnce, 1, 'one at a time');
      const answer = await refresh();
      atOnce -= 1;
      return answer;
    };
    const proxy = createScriptedProxy();
    const links = link(clock, outbox, [proxy]);
    await rest();
    proxy.say(proxy.welcome());
    await rest();
    const { incarnation } = outbox;
    for (let seq = 1; seq <= 1_000; seq++) proxy.say({ type: 'applied', incarnation, seq });
    await rest();
    t.equal(asked, 1);
    t.match(proxy.closes[0], { code: CLOSE.violation, reason: /applied 1,/ });
    await links.close();
  },
);

t.test('a proxy that breaks the protocol is cut, with the reason', async (t) => {
  const cases: [string, (proxy: ReturnType<typeof createScriptedProxy>) => void, RegExp][] = [
    ['no JSON', (proxy) => proxy.say('{'), /not JSON/],
    ['a second welcome', (proxy) => proxy.say(proxy.welcome()), /second welcome/],
    [
      'applied what was never sent',
      (proxy) => proxy.say({ type: 'applied', incarnation: INCARNATION, seq: 99 }),
      /applied 99/,
    ],
    [
      'a field missing',
      (proxy) => proxy.say('{"type":"polls","polls":[]}'),
      /field unknown of a polls frame/,
    ],
  ];
  let INCARNATION = '';
  for (const [name, act, reason] of cases) {
    const clock = createFakeClock();
    const outbox = createOutbox(clock);
    INCARNATION = outbox.incarnation;
    const proxy = createScriptedProxy();
    const links = link(clock, outbox, [proxy]);
    await rest();
    proxy.say(proxy.welcome());
    await rest();
    t.equal(links.states()[0]?.state, 'up');
    act(proxy);
    // What the outbox is said to have sent, it is asked about first.
    await rest();
    t.match(proxy.closes[0], { code: CLOSE.violation, reason }, name);
    await links.close();
  }
});

t.test('the welcome of another site is refused', async (t) => {
  const clock = createFakeClock();
  const proxy = createScriptedProxy();
  const links = link(clock, createOutbox(clock), [proxy]);
  await rest();
  proxy.say({ ...proxy.welcome(), site: 'south' } as ProxyFrame);
  await rest();
  t.match(proxy.closes, [{ code: CLOSE.violation, reason: /for site south, not default/ }]);
  await links.close();
});

t.test('what a proxy gives as its reason is one line of text', async (t) => {
  const clock = createFakeClock();
  const proxy = createScriptedProxy();
  const links = link(clock, createOutbox(clock), [proxy]);
  await rest();
  proxy.closeControl(CLOSE.going, 'bye\u001b[2J\nroot# \u0007');
  await rest();
  t.equal(links.states()[0]?.why, 'bye [2J root#  ');
  t.notMatch(links.states()[0]?.why ?? '', /\p{Cc}/u);
  await links.close();
});

t.test('a proxy that reads nothing does not fill the memory', async (t) => {
  const clock = createFakeClock();
  const proxy = createScriptedProxy();
  const links = link(clock, createOutbox(clock), [proxy]);
  await rest();
  proxy.say(proxy.welcome());
  await rest();
  proxy.state.backlog = CONTROL_BACKLOG_BYTES + 1;
  proxy.say({ type: 'ping', n: 1 });
  t.match(proxy.closes, [{ code: CLOSE.violation, reason: /leaves more than \d+ bytes unread/ }]);
  await links.close();
});

t.test('a proxy that lies about what it holds makes the outbox begin anew once, and no more', async (t) => {
  const clock = createFakeClock();
  const outbox = createOutbox(clock);
  const liar = createScriptedProxy();
  const honest = createScriptedProxy();
  const links = link(clock, outbox, [liar, honest]);
  await rest();
  honest.say(honest.welcome());
  await rest();
  const first = outbox.incarnation;
  liar.say(liar.welcome({ incarnation: first, seq: 1_000_000 }));
  await rest();
  const second = outbox.incarnation;
  t.not(second, first);
  t.equal(honest.closes.length, 1, 'all are told anew');

  clock.advance(1_000);
  await rest();
  honest.say(honest.welcome());
  liar.say(liar.welcome({ incarnation: second, seq: 1_000_000 }));
  await rest();
  t.equal(outbox.incarnation, second);
  t.match(liar.closes.at(-1), { code: CLOSE.violation, reason: /since it began anew/ });
  t.equal(honest.closes.length, 1, 'nobody else is disturbed');
  t.equal(links.states()[1]?.state, 'up');
  await links.close();
});

t.test('an outbox that cannot begin anew just now is asked again with the next link', async (t) => {
  const clock = createFakeClock();
  const real = createOutbox(clock);
  let failures = 1;
  const outbox = Object.create(real, {
    renew: {
      value: () => (failures-- > 0 ? Promise.reject(new Error('no room on the disk')) : real.renew()),
    },
  }) as Outbox;
  const proxy = createScriptedProxy();
  const links = link(clock, outbox, [proxy]);
  await rest();
  const first = outbox.incarnation;
  proxy.say(proxy.welcome({ incarnation: first, seq: 9 }));
  await rest();
  t.equal(outbox.incarnation, first);
  t.equal(proxy.closes.length, 1, 'the link does not stay half made');
  clock.advance(1_000);
  await rest();
  proxy.say(proxy.welcome({ incarnation: first, seq: 9 }));
  await rest();
  t.not(outbox.incarnation, first);
  await links.close();
});

t.test('a proxy that is brought up to date while the relay drains is told so at once', async (t) => {
  const clock = createFakeClock();
  const proxy = createScriptedProxy();
  const links = link(clock, createOutbox(clock), [proxy]);
  links.drain();
  await rest();
  proxy.say(proxy.welcome());
  await rest();
  const types = proxy.said.map(({ type }) => type);
  t.same(types.slice(types.indexOf('health')), ['health', 'drain']);
  await links.close();
});

t.test('changes do not wait until all known devices are told', async (t) => {
  const clock = createFakeClock();
  const outbox = createOutbox(clock);
  const devices = Array.from(
    { length: 3_500 },
    (_, i) =>
      `00:1a:e8:01:${Buffer.from([i >> 8]).toString('hex')}:${Buffer.from([i & 255]).toString('hex')}`,
  );
  await outbox.pushMany(devices.map((device) => push(device as DeviceId)));
  const proxy = createScriptedProxy();
  const links = link(clock, outbox, [proxy]);
  let pushed = false;
  const dial = proxy.said.push.bind(proxy.said);
  proxy.said.push = (...frames) => {
    if (frames.some(({ type }) => type === 'known') && !pushed) {
      pushed = true;
      void outbox.push(push());
    }
    return dial(...frames);
  };
  await rest();
  proxy.say(proxy.welcome());
  await rest();
  await rest();
  const types = proxy.said.map(({ type }) => type);
  t.ok(types.filter((type) => type === 'known').length >= 4);
  t.ok(types.indexOf('changes') > 0);
  t.ok(types.indexOf('changes') < types.lastIndexOf('known'), types.join(' '));
  await links.close();
});

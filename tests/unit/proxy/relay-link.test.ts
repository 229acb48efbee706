import t from 'tap';
import type { Test } from 'tap';
import type { Lane } from '../../../shared/lane.ts';
import { createLog } from '../../../shared/log.ts';
import { CLOSE, CONTROL_BACKLOG_BYTES, GREETING_MS, SILENCE_MS } from '../../../shared/protocol.ts';
import { MUX, MUX_HEADER_BYTES, MUX_PAYLOAD_BYTES, writeMuxHeader } from '../../../shared/mux-frames.ts';
import type { ProxyFrame, RelayFrame } from '../../../shared/protocol.ts';
import { createLoopShare } from '../../../proxy/relays/loop-share.ts';
import { BEATS, createRelayLink } from '../../../proxy/relays/relay-link.ts';
import { SITE_LINKS } from '../../../proxy/site-links.ts';
import type { SiteLink } from '../../../proxy/site-links.ts';
import type { Site } from '../../../proxy/site.ts';
import { createFakeClock } from '../../fixtures/fake-clock.ts';

const HELLO: RelayFrame = {
  type: 'hello',
  relay: 'hq-1',
  site: 'default',
  incarnation: 'one',
  seq: 0,
  software: 'test',
  services: [],
  blind: false,
};

/** A link over a lane that only records, for a site that takes everything. */
function start(t: Test, site: Partial<Site> = {}) {
  const clock = createFakeClock();
  const said: ProxyFrame[] = [];
  const state: { backlog: number; closed: { code: number; reason: string } | null } = {
    backlog: 0,
    closed: null,
  };
  const logged: string[] = [];
  const held: number[] = [];
  let heldBack = 0;
  let streamsHeldBack = 0;
  let serving: SiteLink | null = null;
  const share = createLoopShare({ msPerSecond: 250, clock, onHeldBack: () => void (heldBack += 1) });
  const link = createRelayLink({
    id: 'link',
    record: { name: 'hq-1', site: 'default', pin: 'sha256:x', added: '' },
    site: {
      name: 'default',
      config: { sessions: 'relayed', pollSecret: 'none' },
      links: () => [],
      holds: () => null,
      takeSecrets: () => undefined,
      takeLink: (next: SiteLink) => void (serving = next),
      dropLink: () => undefined,
      heard: () => undefined,
      lanesChanged: () => undefined,
      frame: () => null,
      ...site,
    } as unknown as Site,
    doors: () => [],
    software: 'test',
    clock,
    log: createLog('error', { write: (line) => void logged.push(line) }),
    maxStreams: 4,
    share,
    streamShare: createLoopShare({ msPerSecond: 250, clock, onHeldBack: () => void (streamsHeldBack += 1) }),
    onFenced: () => undefined,
  });
  t.teardown(() => link.close(CLOSE.going, 'the test is over'));
  const lane: Lane = {
    send: (frame) => void said.push(JSON.parse(String(frame)) as ProxyFrame),
    backlog: () => state.backlog,
    close: (code, reason) => void (state.closed ??= { code, reason }),
    cut: () => undefined,
    hold: (ms) => void held.push(ms),
  };
  link.start(lane);
  const hear = (frame: RelayFrame | string): void =>
    link.events.frame(typeof frame === 'string' ? frame : JSON.stringify(frame));
  return {
    clock,
    link,
    said,
    state,
    hear,
    held,
    heldBack: () => heldBack,
    streamsHeldBack: () => streamsHeldBack,
    share,
    logged,
    serving: () => serving!,
  };
}

t.test('who does not say hello in time is cut', async (t) => {
  const { clock, state } = start(t);
  clock.advance(Math.min(GREETING_MS, SILENCE_MS) + 1_000);
  t.match(state.closed, { code: CLOSE.silent });
  const chatty = start(t);
  chatty.hear({ type: 'ping', n: 1 });
  t.match(chatty.state.closed, { code: CLOSE.violation, reason: 'the first frame is not a hello' });
});

t.test('a hello for another site, and a site that is taken, are refused with the reason', async (t) => {
  const other = start(t);
  other.hear({ ...HELLO, site: 'south' });
  t.match(other.state.closed, { code: CLOSE.violation, reason: /serves site default here, not south/ });
  const taken = start(t, { links: () => [{ relay: 'hq-2', incarnation: 'two' } as SiteLink] });
  taken.hear(HELLO);
  t.match(taken.state.closed, { code: CLOSE.siteTaken, reason: /served by relay hq-2/ });
  const many = Array.from({ length: SITE_LINKS }, (_, n) => ({
    relay: `other-${n}`,
    incarnation: HELLO.incarnation,
  }));
  const full = start(t, { links: () => many as SiteLink[] });
  full.hear(HELLO);
  t.match(full.state.closed, { code: CLOSE.siteTaken, reason: /served by 8 relays already/ });
  const beside = start(t, { links: () => many.slice(1) as SiteLink[] });
  beside.hear(HELLO);
  t.equal(beside.state.closed, null, 'a relay with the same outbox serves beside the others');
});

t.test('a relay that reads nothing is cut, and telemetry stops long before', async (t) => {
  const { state, said, hear, serving } = start(t);
  hear(HELLO);
  const poll = { site: 'default', device: 'a' as never, at: 0, status: 200 as const, last202: null };
  serving().sendPolls([poll], []);
  t.equal(said.filter(({ type }) => type === 'polls').length, 1);
  state.backlog = 300_000;
  serving().sendPolls([poll], []);
  serving().sendMetrics([]);
  t.equal(said.filter(({ type }) => type === 'polls' || type === 'metrics').length, 1);
  hear({ type: 'ping', n: 1 });
  t.match(said.at(-1), { type: 'pong', n: 1 }, 'the heartbeat goes on');
  state.backlog = CONTROL_BACKLOG_BYTES + 1;
  hear({ type: 'ping', n: 2 });
  t.match(state.closed, { code: CLOSE.violation, reason: /leaves more than \d+ bytes unread/ });
});

t.test('the polls of a very large fleet are told in parts, as many as may wait', async (t) => {
  const { state, said, hear, serving } = start(t);
  hear(HELLO);
  said.push = (...frames) => {
    state.backlog += JSON.stringify(frames).length;
    return 0;
  };
  const polls = Array.from({ length: 200_000 }, (_, i) => ({
    site: 'default',
    device: `device-${i}` as never,
    at: 0,
    status: 200 as const,
    last202: null,
  }));
  serving().sendPolls(polls, []);
  t.ok(state.backlog > 1_000_000 && state.backlog < 3_000_000, `${state.backlog} bytes`);
  t.equal(state.closed, null);
});

t.test('a frame that fails here ends its link, not the process', async (t) => {
  const { state, hear, logged } = start(t, {
    frame: () => {
      throw new RangeError('no memory');
    },
  });
  hear(HELLO);
  hear({ type: 'loud', device: 'a' });
  t.match(state.closed, { code: CLOSE.violation, reason: /a loud could not be handled/ });
  t.match(logged.join(''), /no memory/);
});

t.test('after its end a link says and hears nothing', async (t) => {
  let frames = 0;
  const { said, hear, link, serving } = start(t, {
    frame: () => {
      frames += 1;
      return null;
    },
  });
  hear(HELLO);
  link.close(CLOSE.replaced, 'a newer one');
  const before = said.length;
  hear({ type: 'ping', n: 1 });
  hear({ type: 'loud', device: 'a' });
  serving().drain();
  serving().sendApplied({ incarnation: 'one', seq: 1 });
  t.equal(said.length, before);
  t.equal(frames, 0);
  t.throws(() => serving().open({} as never), { code: 'LINK_DOWN' });
});

/** Frames that take so many milliseconds each to handle. */
function startCostly(t: Test, ms: number) {
  const started: ReturnType<typeof start> = start(t, {
    frame: () => {
      started.clock.advance(ms);
      return null;
    },
  });
  started.hear(HELLO);
  const loud = (): void => started.hear({ type: 'loud', device: '001ae8000001' });
  return { ...started, loud };
}

t.test(
  'a relay gives the loop away each 10 ms, and waits for nothing else while it has something left',
  (t) => {
    const { loud, held, heldBack, share } = startCostly(t, 4);
    // Half a minute of the loop at a stretch, which is several times what a snapshot of a million devices takes.
    for (let i = 0; i < 30_000 / 4; i++) loud();
    t.equal(held.length, 30_000 / 4 / 3, 'after each third frame all else has its turn');
    t.ok(held.every((ms) => ms === 0));
    t.equal(heldBack(), 0);
    t.same(share.total(), { busyMs: 30_000, heldBackMs: 0 });
    t.end();
  },
);

t.test(
  'a relay that has used up what it may take is read more slowly, is told of once a minute, and is not cut',
  (t) => {
    const { clock, loud, held, heldBack, share, state } = startCostly(t, 10);
    const began = clock.monotonic();
    const next = (): void => {
      const before = held.length;
      loud();
      const [hold = 0] = held.slice(before);
      t.ok(hold <= 2_000, 'its beats are heard all the while');
      clock.advance(hold);
    };
    while (heldBack() === 0) next();
    const used = share.total().busyMs;
    t.ok(used >= 30_000 && used < 45_000, `it has used ${used} ms`);
    const from = { at: clock.monotonic(), busy: used };
    while (clock.monotonic() - from.at < 150_000) next();
    const part = (share.total().busyMs - from.busy) / (clock.monotonic() - from.at);
    t.ok(part > 0.2 && part < 0.26, `it takes ${part.toFixed(3)} of the loop`);
    t.equal(heldBack(), 3);
    t.equal(state.closed, null);
    t.ok(share.total().heldBackMs > 100_000);
    clock.advance(130_000);
    const before = held.length;
    for (let i = 0; i < 100; i++) loud();
    t.ok(
      held.slice(before).every((ms) => ms === 0),
      'who is quiet for a while has as much as before',
    );
    t.ok(clock.monotonic() > began);
    t.end();
  },
);

/** A stream lane with one stream of a phone, on whose bytes the loop is at work for so many milliseconds each time. */
function startBusyStream(t: Test, ms: () => number) {
  const started = start(t);
  started.hear(HELLO);
  const held: number[] = [];
  const place = started.link.addStreamLane();
  place.start({
    send: () => undefined,
    backlog: () => 0,
    close: () => undefined,
    cut: () => undefined,
    hold: (wait) => void held.push(wait),
  });
  const stream = started
    .serving()
    .open({ service: 'wpi', door: 'wpi', address: '10.0.0.1', port: 1, tls: 'relay' });
  stream.leadTo({
    copies: false,
    data() {
      started.clock.advance(ms());
      return true;
    },
    end: () => undefined,
    room: () => undefined,
  });
  const hear = (type: number, payload: Buffer): void => {
    const frame = Buffer.alloc(MUX_HEADER_BYTES + payload.length);
    writeMuxHeader(frame, 0, type, payload.length, stream.id);
    payload.copy(frame, MUX_HEADER_BYTES);
    place.events.frame(frame);
    // So that its control lane is not silent meanwhile.
    started.hear({ type: 'loud', device: '001ae8000001' });
  };
  return { ...started, held, stream, hear };
}

t.test(
  'a relay that floods a stream lane with next to nothing is read more slowly, in turns with all else',
  (t) => {
    const { clock, held, hear, streamsHeldBack, heldBack } = startBusyStream(t, () => 5);
    for (let i = 0; i < 1_000; i++) hear(MUX.data, Buffer.of(1));
    t.ok(held.length > 400 && held.length <= 500, 'after each 10 ms all else has its turn');
    t.ok(held.every((ms) => ms === 0));
    for (let i = 0; i < 10_000; i++) hear(MUX.data, Buffer.of(1));
    t.ok(held.at(-1)! > 0 && held.at(-1)! <= 2_000, 'then it waits');
    t.equal(streamsHeldBack(), 1);
    t.equal(heldBack(), 0, 'what it says on its control lane is another matter');
    clock.advance(1_000);
    t.end();
  },
);

t.test('bulk is read as fast as it comes, and what answers phones in turns with all else', (t) => {
  let ms = 0.5;
  const { held, stream, hear, streamsHeldBack } = startBusyStream(t, () => ms);
  const bulk = Buffer.alloc(MUX_PAYLOAD_BYTES);
  for (let i = 0; i < 2_000; i++) hear(MUX.data, bulk);
  t.strictSame(held, []);
  ms = 0.1;
  for (let i = 0; i < 2_000; i++) {
    stream.send(Buffer.from('a request'));
    hear(MUX.data, Buffer.from('an answer'));
  }
  t.ok(held.length > 10, 'all else has its turn');
  t.ok(
    held.every((wait) => wait === 0),
    'and it waits for nothing else',
  );
  t.equal(streamsHeldBack(), 0);
  t.end();
});

t.test('one frame that takes long is waited for in pieces, by all lanes of that relay', (t) => {
  const { clock, loud, held, share } = startCostly(t, 40_000);
  loud();
  t.equal(held[0], 2_000);
  t.equal(share.spent(0), 2_000, 'another lane of it');
  clock.advance(500);
  t.equal(share.spent(0), 1_500);
  t.end();
});

t.test('a relay that sends more pings and pongs than anybody has a use for is cut', (t) => {
  const { clock, hear, state } = start(t);
  hear(HELLO);
  for (let n = 0; n < 2_000; n++) {
    clock.advance(100);
    hear({ type: n % 2 === 0 ? 'ping' : 'pong', n });
  }
  t.equal(state.closed, null, 'ten in a second are none too many');
  for (let n = 0; n < 2 * BEATS && state.closed === null; n++) hear({ type: 'ping', n });
  t.match(state.closed, { code: CLOSE.violation, reason: `more than ${BEATS} pings and pongs in 10 s` });
  t.end();
});

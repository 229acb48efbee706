import { createHash } from 'node:crypto';
import type { Duplex } from 'node:stream';
import fc from 'fast-check';
import t from 'tap';
import { createMux, LANE_BACKLOG_BYTES, LANE_UNREAD_BYTES, LANE_WIDENED_BYTES } from '../../../shared/mux.ts';
import {
  CUT,
  MUX,
  MUX_HEADER_BYTES,
  MUX_MESSAGE_FRAMES,
  STREAM_WINDOW_BYTES,
  WIDE_WINDOW_BYTES,
  writeMuxHeader,
} from '../../../shared/mux-frames.ts';
import type { StreamOpening } from '../../../shared/mux-frames.ts';
import type { MuxStream } from '../../../shared/mux-stream.ts';
import { CLOSE, HEARTBEAT_MS, SILENCE_MS } from '../../../shared/protocol.ts';
import { createFakeClock } from '../../fixtures/fake-clock.ts';
import { createLanePair } from '../../fixtures/lane-pair.ts';

const OPENING: StreamOpening = {
  service: 'wpi',
  door: 'wpi',
  address: '192.0.2.7',
  port: 4711,
  tls: 'relay',
};

function createPair(
  options: {
    maxStreams?: number;
    refuse?: (opening: StreamOpening) => boolean;
    /** Most credit that both ends are told the other takes. */
    peerCredit?: number;
  } = {},
) {
  const clock = createFakeClock();
  const pair = createLanePair();
  const arrived: MuxStream[] = [];
  const tasks: (() => void)[] = [];
  const soon = (task: () => void): void => void tasks.push(task);
  const limit = {
    ...(options.maxStreams === undefined ? {} : { maxStreams: options.maxStreams }),
    ...(options.peerCredit === undefined ? {} : { peerCredit: options.peerCredit }),
  };
  const proxy = createMux({ lane: pair.a, clock, side: 'proxy', soon, ...limit });
  const relay = createMux({
    lane: pair.b,
    clock,
    side: 'relay',
    soon,
    ...limit,
    onStream(stream, opening) {
      if (options.refuse?.(opening) === true) return CUT.unknownService;
      arrived.push(stream);
      return null;
    },
  });
  for (const [lane, mux] of [
    [pair.a, proxy],
    [pair.b, relay],
  ] as const) {
    lane.events = {
      frame: (frame) => mux.receive(frame as Buffer),
      drained: () => mux.drained(),
      closed: (_code, reason) => mux.closed(new Error(reason)),
    };
  }
  /** Lets everything happen that can. */
  async function settle(): Promise<void> {
    for (let quiet = 0; quiet < 3;) {
      await new Promise<void>((resolve) => setImmediate(resolve));
      const due = tasks.splice(0);
      due.forEach((task) => task());
      if (due.length === 0 && pair.underWay() === 0) quiet += 1;
      else quiet = 0;
      pair.settle();
    }
  }
  return { clock, pair, proxy, relay, arrived, tasks, settle };
}

/** Collects what a stream reads, and how it ended. */
function collect(stream: Duplex): { bytes: () => Buffer; ended: () => boolean; error: () => Error | null } {
  const chunks: Buffer[] = [];
  let ended = false;
  let error: Error | null = null;
  stream.on('data', (chunk: Buffer) => chunks.push(chunk));
  stream.on('end', () => (ended = true));
  stream.on('error', (cause: Error) => (error = cause));
  return { bytes: () => Buffer.concat(chunks), ended: () => ended, error: () => error };
}

t.test(
  'bytes written on one side are read on the other, both ways, and ends are passed on one by one',
  async (t) => {
    const { proxy, arrived, settle, relay } = createPair();
    const phone = proxy.open(OPENING);
    const atPhone = collect(phone);
    phone.write('hello ');
    phone.end('relay');
    await settle();
    const inside = arrived[0]!;
    const atInside = collect(inside);
    await settle();
    t.equal(atInside.bytes().toString(), 'hello relay');
    t.ok(atInside.ended(), 'the phone has ended its direction');
    t.notOk(atPhone.ended(), 'the other direction goes on');
    inside.end('hello phone');
    await settle();
    t.equal(atPhone.bytes().toString(), 'hello phone');
    t.ok(atPhone.ended());
    t.same([proxy.streams(), relay.streams()], [0, 0], 'nothing is left of the stream');
  },
);

t.test('a stream whose reader stalls holds one window, and slows no other', async (t) => {
  const { proxy, arrived, settle } = createPair();
  const stalled = proxy.open(OPENING);
  const lively = proxy.open(OPENING);
  const big = Buffer.alloc(3 * STREAM_WINDOW_BYTES, 7);
  stalled.write(big);
  await settle();
  const [stalledInside, livelyInside] = arrived as [MuxStream, MuxStream];
  t.equal(stalledInside.readableLength, STREAM_WINDOW_BYTES, 'exactly one window has come');
  const read = collect(livelyInside);
  lively.end(big);
  await settle();
  t.equal(read.bytes().length, big.length, 'the other stream has moved all of its bytes meanwhile');
  const late = collect(stalledInside);
  stalled.end();
  await settle();
  t.ok(late.bytes().equals(big), 'once read, the stalled one goes on and loses nothing');
});

/** Reads a stream for a while, then leaves it alone; returns what then waits in it. */
async function stallAfterFlow({ proxy, arrived, settle }: ReturnType<typeof createPair>): Promise<number> {
  const phone = proxy.open(OPENING);
  phone.write(Buffer.alloc(4 * WIDE_WINDOW_BYTES));
  await settle();
  const inside = arrived.at(-1)!;
  let read = 0;
  while (read < WIDE_WINDOW_BYTES) {
    read += ((inside.read() as Buffer | null) ?? Buffer.alloc(0)).length;
    await settle();
  }
  return inside.readableLength;
}

t.test('a stream that is read as fast as it comes gets a wider window', async (t) => {
  t.equal(await stallAfterFlow(createPair({ peerCredit: WIDE_WINDOW_BYTES })), WIDE_WINDOW_BYTES);
  t.equal(
    await stallAfterFlow(createPair()),
    STREAM_WINDOW_BYTES,
    'but not where the peer would take it ill',
  );
});

t.test(
  'all widened windows of a lane stay within its limit, and ended streams give theirs back',
  async (t) => {
    const pair = createPair({ peerCredit: WIDE_WINDOW_BYTES });
    const widened = Math.floor(LANE_WIDENED_BYTES / (WIDE_WINDOW_BYTES - STREAM_WINDOW_BYTES));
    const held: number[] = [];
    for (let i = 0; i < widened + 2; i++) held.push(await stallAfterFlow(pair));
    t.same(held.slice(-3), [WIDE_WINDOW_BYTES, STREAM_WINDOW_BYTES, STREAM_WINDOW_BYTES]);
    pair.arrived[0]!.destroy();
    await pair.settle();
    t.equal(await stallAfterFlow(pair), WIDE_WINDOW_BYTES);
  },
);

t.test('writers wait while the lane is full, and each goes on when it has room', async (t) => {
  const { proxy, arrived, pair, tasks, settle } = createPair();
  const writers = Array.from({ length: 8 }, () => proxy.open(OPENING));
  for (const writer of writers) writer.end(Buffer.alloc(STREAM_WINDOW_BYTES, 1));
  tasks.splice(0).forEach((task) => task());
  t.ok(pair.a.backlog() >= LANE_BACKLOG_BYTES, 'the lane is full');
  t.ok(pair.a.backlog() < LANE_BACKLOG_BYTES + 2 * STREAM_WINDOW_BYTES, 'and not much more than that');
  await settle();
  const reads = arrived.map(collect);
  await settle();
  t.same(
    reads.map((read) => read.bytes().length),
    writers.map(() => STREAM_WINDOW_BYTES),
  );
});

t.test('a stream that is destroyed is cut at the peer: an error there, never an end', async (t) => {
  const { proxy, arrived, settle } = createPair();
  const phone = proxy.open(OPENING);
  phone.write('half of a');
  await settle();
  const read = collect(arrived[0]!);
  phone.destroy();
  await settle();
  t.notOk(read.ended());
  t.match(read.error(), { code: 'STREAM_CUT' });
  t.ok(arrived[0]!.destroyed);
});

t.test('a refused stream is cut with the reason, and others go on', async (t) => {
  const { proxy, settle, relay } = createPair({ refuse: ({ service }) => service === 'unknown' });
  const refused = proxy.open({ ...OPENING, service: 'unknown' });
  const read = collect(refused);
  const kept = proxy.open(OPENING);
  await settle();
  t.match(read.error(), { code: 'STREAM_CUT', message: /no such service/ });
  t.notOk(kept.destroyed);
  t.equal(relay.streams(), 1);
});

t.test('a lane takes no more streams than its limit, on either side', async (t) => {
  const { proxy, settle } = createPair({ maxStreams: 2 });
  proxy.open(OPENING);
  proxy.open(OPENING);
  t.throws(() => proxy.open(OPENING), { code: 'STREAM_REFUSED' });
  await settle();
});

t.test('when the lane is gone every stream is cut, and new ones are refused', async (t) => {
  const { proxy, arrived, pair, settle } = createPair();
  const phone = proxy.open(OPENING);
  const read = collect(phone);
  await settle();
  const inside = collect(arrived[0]!);
  pair.a.cut();
  await settle();
  t.ok(read.error() !== null && inside.error() !== null, 'both ends heard of it');
  t.throws(() => proxy.open(OPENING), { code: 'LINK_DOWN' });
});

t.test('a lane on which nothing is heard is closed, and one that beats is not', async (t) => {
  const { clock, pair, settle, tasks } = createPair();
  for (let ms = 0; ms < 4 * SILENCE_MS; ms += HEARTBEAT_MS) {
    clock.advance(HEARTBEAT_MS);
    await settle();
  }
  t.equal(pair.a.closedWith, null, 'beats keep an idle lane open');
  clock.advance(SILENCE_MS + HEARTBEAT_MS);
  tasks.splice(0);
  t.equal(pair.a.closedWith?.code, CLOSE.silent, 'a lane whose frames all stay on the way is closed');
});

t.test('whatever breaks the protocol closes the lane and cuts its streams', async (t) => {
  const frame = (type: number, stream: number, payload: Buffer = Buffer.alloc(0)): Buffer => {
    const bytes = Buffer.alloc(MUX_HEADER_BYTES + payload.length, 0);
    writeMuxHeader(bytes, 0, type, payload.length, stream);
    payload.copy(bytes, MUX_HEADER_BYTES);
    return bytes;
  };
  const opening = Buffer.from(JSON.stringify(OPENING));
  const u32 = (value: number): Buffer => {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32BE(value);
    return bytes;
  };
  const abuses: [name: string, frames: Buffer[]][] = [
    ['a short header', [Buffer.from([MUX.data, 0, 0])]],
    ['a frame longer than its message', [frame(MUX.open, 1, opening).subarray(0, 20)]],
    ['data on a stream never opened', [frame(MUX.data, 9, Buffer.from('x'))]],
    ['an opening that is no JSON', [frame(MUX.open, 1, Buffer.from('{'))]],
    [
      'an opening with a host for a service',
      [frame(MUX.open, 1, Buffer.from(JSON.stringify({ ...OPENING, service: 'http://10.0.0.1/' })))],
    ],
    [
      'an oversized opening',
      [frame(MUX.open, 1, Buffer.from(JSON.stringify({ ...OPENING, pad: 'x'.repeat(2000) })))],
    ],
    ['the same stream twice', [frame(MUX.open, 1, opening), frame(MUX.open, 1, opening)]],
    ['an end after an end', [frame(MUX.open, 1, opening), frame(MUX.end, 1), frame(MUX.end, 1)]],
    [
      'data after an end',
      [frame(MUX.open, 1, opening), frame(MUX.end, 1), frame(MUX.data, 1, Buffer.from('x'))],
    ],
    [
      'credit beyond a window',
      [frame(MUX.open, 1, opening), frame(MUX.credit, 1, u32(WIDE_WINDOW_BYTES - STREAM_WINDOW_BYTES + 1))],
    ],
    ['credit of nothing', [frame(MUX.open, 1, opening), frame(MUX.credit, 1, u32(0))]],
    ['an unknown frame type', [frame(MUX.open, 1, opening), frame(77, 1)]],
    ['a message without a frame', [Buffer.alloc(0)]],
    [
      'more frames in a message than anybody has a use for',
      [Buffer.concat(Array.from({ length: MUX_MESSAGE_FRAMES + 1 }, () => frame(MUX.beat, 0)))],
    ],
    ['anything but a beat on stream 0', [frame(MUX.data, 0, Buffer.from('x'))]],
    [
      'data beyond the credit',
      [
        frame(MUX.open, 1, opening),
        ...Array.from({ length: 5 }, () => frame(MUX.data, 1, Buffer.alloc(65_536))),
      ],
    ],
  ];
  const most = createPair();
  most.relay.receive(Buffer.concat(Array.from({ length: MUX_MESSAGE_FRAMES }, () => frame(MUX.beat, 0))));
  t.equal(most.pair.b.closedWith, null);
  for (const [name, frames] of abuses) {
    const { relay, pair, arrived } = createPair();
    for (const bytes of frames) relay.receive(bytes);
    t.equal(pair.b.closedWith?.code, CLOSE.violation, name);
    t.ok(
      arrived.every((stream) => stream.destroyed),
      `${name}: its streams are cut`,
    );
  }
});

t.test('random bytes never throw', (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      const { relay } = createPair();
      relay.receive(Buffer.from(bytes));
    }),
  );
  t.end();
});

t.test('whatever the order of events, each stream carries exactly its own bytes', async () => {
  const plan = fc.record({
    streams: fc.array(
      fc.record({
        up: fc.array(fc.integer({ min: 0, max: 100_000 }), { maxLength: 6 }),
        down: fc.array(fc.integer({ min: 0, max: 100_000 }), { maxLength: 6 }),
        cutAfter: fc.option(fc.integer({ min: 0, max: 5 })),
      }),
      { minLength: 1, maxLength: 6 },
    ),
    picks: fc.infiniteStream(fc.nat({ max: 1_000 })),
  });
  await fc.assert(
    fc.asyncProperty(plan, async ({ streams, picks }) => {
      const { proxy, arrived, pair, tasks, settle } = createPair();
      const pick = (choices: number): number => (picks.next().value as number) % Math.max(1, choices);
      const runs = streams.map(({ up, down, cutAfter }, i) => {
        const phone = proxy.open({ ...OPENING, port: i });
        return { phone, read: collect(phone), sent: createHash('sha256'), up, down, cutAfter, written: 0 };
      });
      for (let round = 0; round < 12; round++) {
        for (const run of runs) {
          if (run.cutAfter !== null && round > run.cutAfter) run.phone.destroy();
          const size = run.up[round];
          if (run.phone.destroyed) continue;
          if (size !== undefined) {
            const bytes = Buffer.alloc(size, round + run.up.length);
            run.sent.update(bytes);
            run.written += size;
            run.phone.write(bytes);
          } else if (!run.phone.writableEnded) run.phone.end();
        }
        tasks.splice(0).forEach((task) => task());
        for (let i = pick(8); i > 0; i--) pair.step(pick);
      }
      await settle();
      const insides = arrived.map((stream, i) => ({ stream, read: collect(stream), run: runs[i]! }));
      for (const { stream, run } of insides) {
        for (const size of run.down) if (!stream.destroyed) stream.write(Buffer.alloc(size, 5));
        if (!stream.destroyed) stream.end();
      }
      await settle();
      for (const { read, run } of insides) {
        if (run.cutAfter !== null) {
          if (read.ended() && read.bytes().length !== run.written)
            throw new Error('a cut stream looked finished');
          continue;
        }
        const got = createHash('sha256').update(read.bytes()).digest('hex');
        if (!read.ended() || got !== run.sent.digest('hex'))
          throw new Error('bytes towards the relay differ');
        const down = run.down.reduce((sum, size) => sum + size, 0);
        if (!run.read.ended() || run.read.bytes().length !== down)
          throw new Error('bytes towards the phone differ');
      }
      if (pair.a.closedWith !== null) throw new Error(`the lane closed: ${pair.a.closedWith.reason}`);
    }),
    { numRuns: 60 },
  );
});

t.test('a peer that opens or sends without reading what it is told is cut off', async (t) => {
  const { pair, proxy, relay, arrived, settle } = createPair();
  const stream = proxy.open(OPENING);
  await settle();
  pair.b.backlog = () => LANE_UNREAD_BYTES + 1;
  arrived[0]?.end();
  t.match(pair.b.closedWith, { code: CLOSE.violation, reason: /more than \d+ bytes unread/ });
  t.equal(relay.streams(), 0);
  await settle();
  t.ok(stream.destroyed);
});

t.test('a stream that finds the lane full of unread frames is not opened', async (t) => {
  const { pair, proxy } = createPair();
  pair.a.backlog = () => LANE_UNREAD_BYTES + 1;
  t.throws(() => proxy.open(OPENING), { code: 'LINK_DOWN' });
  t.equal(proxy.streams(), 0);
});

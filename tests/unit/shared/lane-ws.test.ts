import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import t from 'tap';
import type { Test } from 'tap';
import { WebSocket, WebSocketServer } from 'ws';
import { laneOptions, laneOverWebSocket } from '../../../shared/lane-ws.ts';
import type { Lane } from '../../../shared/lane.ts';
import { CLOSE } from '../../../shared/protocol.ts';

const FRAME_BYTES = 1_000;
/** Of the longest frame that is laid out: as long as a length of two bytes can say. */
const LAID_OUT_BYTES = 65_535;

interface Ended {
  code: number;
  reason: string;
  ms: number;
}

/** Both ends of one WebSocket on loopback, with the TCP connections below them. */
async function connect(t: Test, bytes: number) {
  const server = new WebSocketServer({ host: '127.0.0.1', port: 0, ...laneOptions(bytes) });
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const ws = new WebSocket(`ws://127.0.0.1:${port}`, laneOptions(bytes));
  const [[peer, request], [response]] = await Promise.all([
    once(server, 'connection') as Promise<[WebSocket, { socket: Duplex }]>,
    once(ws, 'upgrade') as Promise<[{ socket: Duplex }]>,
    once(ws, 'open'),
  ]);
  t.teardown(() => {
    ws.terminate();
    peer.terminate();
    server.close();
  });
  return { ws, socket: response.socket, peer, peerSocket: request.socket };
}

/** A control lane, and its peer as a bare WebSocket. */
async function openLane(
  t: Test,
): Promise<{ lane: Lane; frames: unknown[]; ended: Promise<Ended>; peer: WebSocket }> {
  const { ws, socket, peer } = await connect(t, FRAME_BYTES);
  const { promise: ended, resolve } = Promise.withResolvers<Ended>();
  const began = performance.now();
  const frames: unknown[] = [];
  const lane = laneOverWebSocket(
    ws,
    socket,
    { binary: false, masks: true },
    {
      frame: (frame) => frames.push(frame),
      drained: () => undefined,
      closed: (code, reason) => resolve({ code, reason, ms: performance.now() - began }),
    },
  );
  return { lane, frames, ended, peer };
}

t.test('a lane that was closed for silence is over at once, and its peer may still hear why', async (t) => {
  const { lane, ended, peer } = await openLane(t);
  const heard = once(peer, 'close') as Promise<[number, Buffer]>;
  peer.pause();
  lane.close(CLOSE.silent, 'nothing heard');
  const { code, reason, ms } = await ended;
  t.same([code, reason], [CLOSE.silent, 'nothing heard']);
  t.ok(ms < 1_900, `after ${Math.round(ms)} ms, without an answer to the close`);
  peer.resume();
  const [theirs, text] = await heard;
  t.same([theirs, text.toString()], [CLOSE.silent, 'nothing heard']);
});

t.test('a peer that answers no close is waited for, but not for ever, and hardly read', async (t) => {
  const { lane, ended, frames, peer } = await openLane(t);
  peer.pause();
  lane.close(CLOSE.going, 'good night');
  const frame = 'x'.repeat(FRAME_BYTES);
  const flood = 16 * 1_048_576;
  for (let sent = 0; sent < flood; sent += FRAME_BYTES) peer.send(frame);
  const { code, reason, ms } = await ended;
  t.same([code, reason], [CLOSE.going, 'good night']);
  t.ok(ms >= 1_900, `${Math.round(ms)} ms`);
  t.ok(frames.length < flood / FRAME_BYTES / 4, `${frames.length} frames of its flood were read`);
});

t.test('a lane can be closed for how another one was lost', async (t) => {
  // When a lane is cut (1006), so is its link, all other lanes included; but no close frame may say 1006.
  for (const code of [1005, 1006, 1015]) {
    const { lane, ended, peer } = await openLane(t);
    const heard = once(peer, 'close') as Promise<[number, Buffer]>;
    lane.close(code, 'a stream lane was lost');
    t.match(await ended, { code, reason: 'a stream lane was lost' });
    t.equal((await heard)[0], CLOSE.going);
  }
});

t.test('the owner hears what the peer closed with', async (t) => {
  const { ended, peer } = await openLane(t);
  peer.close(CLOSE.revoked, 'the key was revoked');
  t.match(await ended, { code: CLOSE.revoked, reason: 'the key was revoked' });
});

t.test('a frame of the other kind closes the lane and reaches nobody', async (t) => {
  const { ended, frames, peer } = await openLane(t);
  peer.send(Buffer.from('bytes'), { binary: true });
  t.match(await ended, { code: 1003 });
  t.same(frames, []);
});

t.test('a frame over the limit cuts the lane and reaches nobody', async (t) => {
  const { ended, frames, peer } = await openLane(t);
  peer.send('x'.repeat(FRAME_BYTES));
  peer.send('x'.repeat(FRAME_BYTES + 1));
  const { reason } = await ended;
  t.match(reason, /payload/i);
  t.equal(frames.length, 1);
});

t.test("a WebSocket's own ping closes the lane, and is not answered; nor is a pong taken", async (t) => {
  const { ended, peer } = await openLane(t);
  peer.on('pong', () => t.fail('it was answered'));
  peer.ping();
  t.match(await ended, { code: 1008, reason: /ping/ });
  const other = await openLane(t);
  other.peer.pong();
  t.match(await other.ended, { code: 1008, reason: /pong/ });
});

t.test('frames laid out back to back arrive as messages of their own, from either end', async (t) => {
  const { ws, socket: ownSocket, peer, peerSocket } = await connect(t, LAID_OUT_BYTES);
  const events = { frame: () => undefined, drained: () => undefined, closed: () => undefined };
  const ends = [
    { from: ws, socket: ownSocket, to: peer, masks: true, heads: [6, 6, 8, 8] },
    { from: peer, socket: peerSocket, to: ws, masks: false, heads: [2, 2, 4, 4] },
  ];
  for (const { from, socket, to, masks, heads } of ends) {
    const { laidOut } = laneOverWebSocket(from, socket, { binary: true, masks }, events);
    if (laidOut === undefined) return t.fail('a lane of bytes takes frames laid out');
    const payloads = [1, 125, 126, LAID_OUT_BYTES].map((length) => Buffer.alloc(length, length & 0xff));
    const page = Buffer.alloc(LAID_OUT_BYTES * 2, 0xff);
    const taken: number[] = [];
    let end = 0;
    for (const payload of payloads) {
      const start = end;
      payload.copy(page, start + laidOut.head);
      end = laidOut.seal(page, start, start + laidOut.head + payload.length);
      taken.push(end - start - payload.length);
    }
    t.same(taken, heads, 'no length is written longer than it has to be (RFC 6455 §5.2)');
    const came: Buffer[] = [];
    const all = new Promise<void>((resolve) => {
      to.on('message', (bytes: Buffer, binary: boolean) => {
        t.ok(binary);
        if (came.push(bytes) === payloads.length) resolve();
      });
    });
    await new Promise<void>((resolve) => laidOut.send(page.subarray(0, end), resolve));
    await all;
    t.same(came, payloads);
  }
});

import type { Clock } from './clock.ts';
import { SallyportError } from './errors.ts';
import { createHeartbeat } from './heartbeat.ts';
import type { Lane } from './lane.ts';
import {
  CUT,
  MUX,
  MUX_HEADER_BYTES,
  MUX_MESSAGE_BYTES,
  MUX_MESSAGE_FRAMES,
  MUX_PAYLOAD_BYTES,
  OPENING_BYTES,
  STREAM_WINDOW_BYTES,
  WIDE_WINDOW_BYTES,
} from './mux-frames.ts';
import type { StreamOpening } from './mux-frames.ts';
import { MuxStream } from './mux-stream.ts';
import type { CutCode, MuxPort } from './mux-stream.ts';
import { readOpening } from './mux-opening.ts';
import { createMuxWriter } from './mux-writer.ts';
import { CLOSE } from './protocol.ts';

/** Bytes that may wait in a lane before its streams are held back. */
export const LANE_BACKLOG_BYTES = 1_048_576;
/** Bytes that may wait in a lane in all; only a peer that reads nothing lets credit, cuts and beats grow to that. */
export const LANE_UNREAD_BYTES = 16 * 1_048_576;
/** Bytes by which the windows of one lane's streams are widened, all together: what stalled ones may hold beyond theirs. */
export const LANE_WIDENED_BYTES = 32 * 1_048_576;
/** Streams at once in one lane, unless configured; more are refused. */
export const LANE_STREAMS = 4_096;

/** One stream lane's multiplexer: many byte streams over one lane, with credit for each. */
export interface Mux {
  /**
   * Opens a stream (proxy only). Bytes may be written at once.
   *
   * @throws SallyportError STREAM_REFUSED when the lane is full, LINK_DOWN when it is closed
   */
  open(opening: StreamOpening): MuxStream;
  /** Takes one message of the lane. */
  receive(message: Buffer): void;
  /** The lane has room again. */
  drained(): void;
  streams(): number;
  /** So far: bytes of streams that the peer sent, and frames that this side did. */
  readonly moved: Readonly<{ received: number; frames: number }>;
  /** The lane is gone: cuts every stream with `error`. */
  closed(error: Error): void;
}

export interface MuxOptions {
  lane: Lane;
  clock: Clock;
  side: 'proxy' | 'relay';
  /** A stream was opened by the peer (relay only). Return a code to refuse it. */
  onStream?: (stream: MuxStream, opening: StreamOpening) => CutCode | null;
  /** The peer broke the protocol, and the lane is being closed. */
  onViolation?: (why: string) => void;
  /** See {@link LANE_STREAMS}. */
  maxStreams?: number;
  /** Most credit that the peer takes on a stream. Default {@link STREAM_WINDOW_BYTES}, which every peer does. */
  peerCredit?: number;
  /** Runs a task a little later; frames queued meanwhile leave as one message. Default: setImmediate. */
  soon?: (task: () => void) => void;
}

export function createMux(options: MuxOptions): Mux {
  const { lane, side } = options;
  const maxStreams = options.maxStreams ?? LANE_STREAMS;
  const writer = createMuxWriter(lane, options.soon ?? ((task) => void setImmediate(task)));
  const streams = new Map<number, MuxStream>();
  const waiting = new Set<MuxStream>();
  const moved = { received: 0, frames: 0 };
  const widening =
    Math.min(options.peerCredit ?? STREAM_WINDOW_BYTES, WIDE_WINDOW_BYTES) - STREAM_WINDOW_BYTES;
  let widened = 0;
  let newest = 0;
  let down: Error | null = null;

  const heartbeat = createHeartbeat({
    clock: options.clock,
    beat: () => send(MUX.beat, 0, null),
    onSilent: (ms) => lane.close(CLOSE.silent, `nothing heard for ${Math.round(ms)} ms`),
  });

  function send(type: number, stream: number, payload: Uint8Array | null): void {
    if (down !== null) return;
    if (lane.backlog() > LANE_UNREAD_BYTES) return violation(`more than ${LANE_UNREAD_BYTES} bytes unread`);
    moved.frames += 1;
    writer.frame(type, stream, payload);
  }

  const port: MuxPort = {
    sendData(stream, chunk, budget) {
      if (down !== null || lane.backlog() >= LANE_BACKLOG_BYTES) return 0;
      const sent = writer.part(MUX.data, stream, chunk, Math.min(chunk.length, budget));
      moved.frames += 1;
      return sent;
    },
    sendEnd: (stream) => send(MUX.end, stream, null),
    sendCredit(stream, bytes) {
      const payload = Buffer.allocUnsafe(4);
      payload.writeUInt32BE(bytes);
      send(MUX.credit, stream, payload);
    },
    widen() {
      if (widening <= 0 || widened + widening > LANE_WIDENED_BYTES) return 0;
      widened += widening;
      return widening;
    },
    narrow: (bytes) => void (widened -= bytes),
    awaitRoom: (stream) => void waiting.add(stream),
    released(stream, cut) {
      waiting.delete(stream);
      if (streams.delete(stream.id) && cut) sendCut(stream.id, CUT.broken);
    },
  };

  const sendCut = (stream: number, code: CutCode): void => send(MUX.cut, stream, Buffer.of(code));

  function violation(reason: string): void {
    options.onViolation?.(reason);
    lane.close(CLOSE.violation, reason);
    closed(new SallyportError('FRAME_INVALID', `the peer broke the protocol on a stream lane: ${reason}`));
  }

  function opened(id: number, payload: Buffer): string | null {
    if (side !== 'relay' || options.onStream === undefined) return 'open from the wrong side';
    if (id <= newest) return `stream ${id} opened twice or out of order`;
    const opening = payload.length > OPENING_BYTES ? null : readOpening(payload);
    if (opening === null) return 'unreadable opening';
    newest = id;
    if (streams.size >= maxStreams) {
      sendCut(id, CUT.tooMany);
      return null;
    }
    const stream = adopt(id);
    const refusal = options.onStream(stream, opening);
    if (refusal !== null) {
      sendCut(id, refusal);
      stream.receiveCut(new SallyportError('STREAM_REFUSED', `stream ${id} was refused`));
    }
    return null;
  }

  function adopt(id: number): MuxStream {
    const stream = new MuxStream(id, port);
    // Who uses the stream hears of its end by 'close'; an error without a listener would end the process.
    stream.on('error', () => undefined);
    streams.set(id, stream);
    return stream;
  }

  /** Handles one frame; returns what is wrong with it, or null. */
  function handle(type: number, id: number, payload: Buffer): string | null {
    if (id === 0) return type === MUX.beat && payload.length === 0 ? null : 'frame on stream 0';
    if (type === MUX.open) return opened(id, payload);
    if (id > newest) return `frame on stream ${id}, never opened`;
    const stream = streams.get(id);
    // Frames may still be under way to a stream that ended here.
    if (stream === undefined) return null;
    switch (type) {
      case MUX.data:
        moved.received += payload.length;
        return stream.receiveData(payload) ? null : `data beyond credit or end on stream ${id}`;
      case MUX.end:
        return stream.receiveEnd() ? null : `second end on stream ${id}`;
      case MUX.credit:
        if (payload.length !== 4) return 'credit of the wrong size';
        return stream.receiveCredit(payload.readUInt32BE(0))
          ? null
          : `credit beyond a window on stream ${id}`;
      case MUX.cut:
        stream.receiveCut(cutError(id, payload[0] ?? CUT.broken));
        return null;
      default:
        return `unknown frame type ${type}`;
    }
  }

  function receive(message: Buffer): void {
    if (down !== null) return;
    heartbeat.heard();
    let offset = 0;
    let frames = 0;
    if (message.length === 0) return violation('a message without a frame');
    while (offset < message.length && down === null) {
      if ((frames += 1) > MUX_MESSAGE_FRAMES)
        return violation(`more than ${MUX_MESSAGE_FRAMES} frames in a message`);
      if (message.length - offset < MUX_HEADER_BYTES) return violation('short frame header');
      const type = message[offset]!;
      const length = message.readUIntBE(offset + 1, 3);
      const id = message.readUInt32BE(offset + 4);
      const start = offset + MUX_HEADER_BYTES;
      offset = start + length;
      if (length > MUX_PAYLOAD_BYTES || offset > message.length)
        return violation('frame longer than allowed or sent');
      const wrong = handle(type, id, message.subarray(start, offset));
      if (wrong !== null) return violation(wrong);
    }
  }

  function closed(error: Error): void {
    if (down !== null) return;
    down = error;
    heartbeat.stop();
    writer.stop();
    waiting.clear();
    const all = [...streams.values()];
    streams.clear();
    for (const stream of all) stream.receiveCut(error);
  }

  const linkDown = (): SallyportError =>
    new SallyportError('LINK_DOWN', 'the stream lane is closed', { cause: down });

  return {
    open(opening) {
      if (down !== null) throw linkDown();
      if (streams.size >= maxStreams) {
        throw new SallyportError('STREAM_REFUSED', `the stream lane carries ${maxStreams} streams already`);
      }
      newest += 1;
      send(MUX.open, newest, Buffer.from(JSON.stringify(opening)));
      if (down !== null) throw linkDown();
      return adopt(newest);
    },
    receive,
    drained() {
      for (const stream of [...waiting]) {
        waiting.delete(stream);
        stream.pump();
      }
    },
    streams: () => streams.size,
    moved,
    closed,
  };
}

const CUT_WORDS: Record<number, string> = {
  [CUT.broken]: 'the connection behind it broke',
  [CUT.unknownService]: 'the relay has no such service',
  [CUT.tooMany]: 'too many streams',
  [CUT.draining]: 'the peer is going away',
};

function cutError(id: number, code: number): SallyportError {
  return new SallyportError(
    'STREAM_CUT',
    `stream ${id} was cut by the peer: ${CUT_WORDS[code] ?? `code ${code}`}`,
  );
}

export { MUX_MESSAGE_BYTES };

import type { Duplex } from 'node:stream';
import type { WebSocket } from 'ws';
import type { LaidOut, Lane, LaneEvents } from './lane.ts';
import { CLOSE } from './protocol.ts';

/** How long the peer has to answer a close before its connection is cut. */
const CLOSE_WAIT_MS = 2_000;
/** How long nothing is read each time that a peer goes on to send meanwhile: one that floods is to take no more than before. */
const CLOSING_HOLD_MS = 100;
/** RFC 6455 §5.5: a control frame's payload is at most 125 bytes, two of which are the close code. */
const REASON_BYTES = 123;

/** Neither side splits messages, so nobody has a reason to send many pieces. */
const FRAGMENTS = 16;
/** Pieces in which one frame may come; a TLS record (16 kB) or a TCP packet each, when it comes slowly. */
const PIECES = 4_096;

/** Options that both ends give ws: no compression, no more than `maxPayload` bytes in a message, in few pieces. */
export function laneOptions(maxPayload: number): {
  maxPayload: number;
  maxFragments: number;
  maxBufferedChunks: number;
  perMessageDeflate: false;
  skipUTF8Validation: false;
  autoPong: false;
} {
  return {
    maxPayload,
    maxFragments: FRAGMENTS,
    maxBufferedChunks: PIECES,
    perMessageDeflate: false,
    skipUTF8Validation: false,
    autoPong: false,
  };
}

/** What a lane's frames are. */
export interface LaneKind {
  /** Whether they carry bytes (stream lane) or text (control lane); the other kind closes the lane. */
  binary: boolean;
  /** Whether this side masks them, as the one that has dialled must (RFC 6455 §5.1). */
  masks: boolean;
}

/** Makes a {@link Lane} of an open WebSocket and the socket under it. */
export function laneOverWebSocket(
  ws: WebSocket,
  socket: Duplex,
  { binary, masks }: LaneKind,
  events: LaneEvents,
): Lane {
  let error: Error | null = null;
  // Set when this side cuts: the reason that the owner hears is ours, not "abnormal closure".
  let own: { code: number; reason: string } | null = null;
  /** Whether frames are being gathered: those sent in one go leave by one write. */
  let gathering = false;
  ws.on('message', (data, isBinary) => {
    if (own !== null) hold(CLOSING_HOLD_MS);
    if (isBinary !== binary)
      return violation(1003, `a ${binary ? 'text' : 'binary'} frame has no place here`);
    events.frame(binary ? (data as Buffer) : (data as Buffer).toString('utf8'));
  });
  // Lanes have beats of their own. Answers to these would pile up, uncounted, for a peer that never reads them.
  ws.on('ping', () => violation(1008, 'a WebSocket ping has no place here'));
  ws.on('pong', () => violation(1008, 'a WebSocket pong has no place here'));
  ws.on('error', (cause: Error & { code?: string }) => {
    error = cause;
    if (cause.code?.startsWith('WS_ERR_') === true) events.violated?.(cause.message);
  });
  ws.on('close', (code, reason) =>
    own === null
      ? events.closed(code, error?.message ?? reason.toString('utf8'))
      : events.closed(own.code, own.reason),
  );
  socket.on('drain', () => events.drained());

  function violation(code: number, why: string): void {
    if (own !== null) return hold(CLOSING_HOLD_MS);
    events.violated?.(why);
    close(code, why);
  }

  function close(code: number, reason: string): void {
    if (own !== null) return;
    own = { code, reason };
    ws.close(
      maySend(code) ? code : CLOSE.going,
      Buffer.from(reason)
        .subarray(0, REASON_BYTES)
        .toString('utf8')
        .replace(/\uFFFD$/, ''),
    );
    // A peer that has fallen silent answers no close either; but it may still hear of it, if only one way is broken.
    const timer = setTimeout(() => ws.terminate(), code === CLOSE.silent ? 0 : CLOSE_WAIT_MS);
    timer.unref();
    ws.once('close', () => clearTimeout(timer));
  }

  function hold(ms: number): void {
    if (ws.readyState === ws.CLOSED || ws.isPaused) return;
    ws.pause();
    const resume = (): void => ws.resume();
    if (ms === 0) setImmediate(resume);
    else setTimeout(resume, ms);
  }

  return {
    send(frame, sent) {
      if (ws.readyState !== ws.OPEN) return;
      if (!gathering) {
        gathering = true;
        socket.cork();
        process.nextTick(() => {
          gathering = false;
          socket.uncork();
        });
      }
      ws.send(frame, { binary }, sent);
    },
    ...(binary ? { laidOut: laidOutOver(ws, socket, masks) } : {}),
    backlog: () => ws.bufferedAmount,
    close,
    hold,
    cut() {
      own ??= { code: 1006, reason: 'cut' };
      ws.terminate();
    },
  };
}

/** RFC 6455 §5.2: the last piece of a message, of bytes. */
const BINARY_FRAME = 0x82;
const MASKED = 0x80;
/** Says that the length stands in the two bytes that follow. */
const LENGTH_IN_TWO_BYTES = 126;
const LENGTH_BYTES = 2;
const MASK_BYTES = 4;

/**
 * Frames written to the socket past ws, which writes each in two pieces: of many pieces TLS makes one by copying them all.
 * The mask is of zeros, as `dialLane` says.
 */
function laidOutOver(ws: WebSocket, socket: Duplex, masks: boolean): LaidOut {
  const head = 2 + LENGTH_BYTES + (masks ? MASK_BYTES : 0);
  const masked = masks ? MASKED : 0;
  return {
    head,
    seal(bytes, start, end) {
      const length = end - start - head;
      bytes[start] = BINARY_FRAME;
      if (length >= LENGTH_IN_TWO_BYTES) {
        bytes[start + 1] = masked | LENGTH_IN_TWO_BYTES;
        bytes.writeUInt16BE(length, start + 2);
        if (masks) bytes.fill(0, start + 2 + LENGTH_BYTES, start + head);
        return end;
      }
      // A short length has no bytes of its own.
      bytes[start + 1] = masked | length;
      bytes.copyWithin(start + head - LENGTH_BYTES, start + head, end);
      if (masks) bytes.fill(0, start + 2, start + 2 + MASK_BYTES);
      return end - LENGTH_BYTES;
    },
    send(frames, sent) {
      if (ws.readyState === ws.OPEN) socket.write(frames, sent);
    },
  };
}

/** Whether a code may stand in a close frame. 1005, 1006 and 1015 only tell how a connection was lost (RFC 6455 §7.4.1). */
function maySend(code: number): boolean {
  return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) || (code >= 3000 && code <= 4999);
}

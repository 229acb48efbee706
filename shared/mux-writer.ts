import type { Lane } from './lane.ts';
import { MUX_HEADER_BYTES, writeMuxHeader } from './mux-frames.ts';

/**
 * Bytes of a message when there is more to send than one holds: with its WebSocket header (RFC 6455 §5.2, 8 bytes with
 * mask) it fills one TLS record (RFC 8446 §5.1), so that the peer gets it in one piece and need not put it together.
 */
export const MESSAGE_BYTES = 16_384 - 8;
/** Messages are written into buffers of this size. */
const PAGE_BYTES = 4 * MESSAGE_BYTES;
/** Buffers kept for later; more are left to the garbage collector. */
const SPARE_PAGES = 16;

/** Packs frames into messages. What is written leaves by itself, soon, or as soon as a message is full. */
export interface MuxWriter {
  /** Writes a frame with at most {@link MESSAGE_BYTES} less its header. */
  frame(type: number, stream: number, payload: Uint8Array | null): void;
  /** Writes a frame with as many of the first `length` bytes of `payload` as fit into the message; returns how many. */
  part(type: number, stream: number, payload: Buffer, length: number): number;
  /** Forgets what has not left yet. */
  stop(): void;
}

/** A buffer that messages are written into one after another, and again from its beginning once all of them have left. */
interface Page {
  bytes: Buffer;
  /** Where the next frame goes. */
  end: number;
  /** Messages that the lane has not let go of. */
  leaving: number;
}

/**
 * Buffers are used over and over: fresh ones for each message would be megabytes of garbage for each megabyte sent.
 *
 * @param soon - runs a task a little later; frames written meanwhile leave in one message
 */
export function createMuxWriter(lane: Lane, soon: (task: () => void) => void): MuxWriter {
  const spare: Page[] = [];
  let page = newPage();
  /** Where the message that is being written begins. */
  let start = 0;
  let leavingSoon = false;
  let stopped = false;

  function seal(): void {
    if (page.end === start || stopped) return;
    const message = page.bytes.subarray(start, page.end);
    const written = page;
    start = page.end;
    written.leaving += 1;
    lane.send(message, () => {
      written.leaving -= 1;
      if (written.leaving > 0) return;
      if (written !== page) {
        if (spare.length < SPARE_PAGES) spare.push(written);
      } else if (start === page.end) {
        start = page.end = 0;
      }
    });
  }

  /** Makes room for a frame with `length` bytes of payload. */
  function makeRoom(length: number): void {
    if (page.end - start + MUX_HEADER_BYTES + length > MESSAGE_BYTES) seal();
    if (start + MESSAGE_BYTES <= PAGE_BYTES) return;
    // Only a message's beginning may lie so far back that a whole one has no room any more.
    page = spare.pop() ?? newPage();
    start = page.end = 0;
  }

  function write(type: number, stream: number, payload: Uint8Array | null): void {
    const length = payload?.length ?? 0;
    writeMuxHeader(page.bytes, page.end, type, length, stream);
    if (payload !== null) page.bytes.set(payload, page.end + MUX_HEADER_BYTES);
    page.end += MUX_HEADER_BYTES + length;
    if (leavingSoon) return;
    leavingSoon = true;
    soon(() => {
      leavingSoon = false;
      seal();
    });
  }

  return {
    frame(type, stream, payload) {
      makeRoom(payload?.length ?? 0);
      write(type, stream, payload);
    },
    part(type, stream, payload, length) {
      makeRoom(1);
      const room = MESSAGE_BYTES - (page.end - start) - MUX_HEADER_BYTES;
      const taken = Math.min(length, room);
      write(type, stream, taken === payload.length ? payload : payload.subarray(0, taken));
      if (taken === room) seal();
      return taken;
    },
    stop() {
      stopped = true;
    },
  };
}

const newPage = (): Page => ({ bytes: Buffer.allocUnsafeSlow(PAGE_BYTES), end: 0, leaving: 0 });

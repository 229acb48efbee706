import type { LaidOut, Lane } from './lane.ts';
import { MUX_HEADER_BYTES, writeMuxHeader } from './mux-frames.ts';

/**
 * Bytes of a message when there is more to send than one holds, with what the lane writes in front of it: it fills one TLS
 * record (RFC 8446 §5.1), so that the peer gets it in one piece and need not put it together.
 */
export const MESSAGE_BYTES = 16_384;
/** Messages are written into buffers of this size, and those of one buffer leave by one write where the lane can do that. */
const PAGE_BYTES = 8 * MESSAGE_BYTES;
/** Buffers kept for later; more are left to the garbage collector. */
const SPARE_PAGES = 8;

/** Packs frames into messages. What is written leaves by itself, soon, or as soon as a buffer is full. */
export interface MuxWriter {
  /** Writes a frame that is small, compared to {@link MESSAGE_BYTES}. */
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
  /** Writes that the lane has not let go of. */
  leaving: number;
}

/**
 * Buffers are used over and over: fresh ones for each message would be megabytes of garbage for each megabyte sent.
 *
 * @param soon - runs a task a little later; frames written meanwhile leave in one message
 */
export function createMuxWriter(lane: Lane, soon: (task: () => void) => void): MuxWriter {
  const layout = lane.laidOut ?? oneByOne(lane);
  const { head } = layout;
  const spare: Page[] = [];
  let page = newPage(head);
  /** Where the messages begin that have not been given to the lane. */
  let run = 0;
  /** Where the message that is being written begins. */
  let start = 0;
  let leavingSoon = false;
  let stopped = false;

  /** Nothing more goes into the message that is being written. */
  function seal(): void {
    if (page.end === start + head) return;
    start = layout.seal(page.bytes, start, page.end);
    page.end = start + head;
    if (lane.laidOut === undefined) leave();
  }

  function leave(): void {
    if (start === run || stopped) return;
    const messages = page.bytes.subarray(run, start);
    const written = page;
    run = start;
    written.leaving += 1;
    layout.send(messages, () => {
      written.leaving -= 1;
      if (written.leaving > 0) return;
      if (written !== page) {
        if (spare.length < SPARE_PAGES) spare.push(written);
      } else if (run === start && page.end === start + head) {
        begin(page);
      }
    });
  }

  function begin(on: Page): void {
    page = on;
    run = start = 0;
    page.end = head;
  }

  /** Makes room for a frame with `length` bytes of payload. */
  function makeRoom(length: number): void {
    if (page.end - start + MUX_HEADER_BYTES + length > MESSAGE_BYTES) seal();
    if (start + MESSAGE_BYTES <= PAGE_BYTES) return;
    // Only a message's beginning may lie so far back that a whole one has no room any more.
    leave();
    begin(spare.pop() ?? newPage(head));
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
      leave();
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

/** For a lane that takes messages one by one. */
const oneByOne = (lane: Lane): LaidOut => ({
  head: 0,
  seal: (_bytes, _start, end) => end,
  send: (frames, sent) => lane.send(frames, sent),
});

const newPage = (head: number): Page => ({
  bytes: Buffer.allocUnsafeSlow(PAGE_BYTES),
  end: head,
  leaving: 0,
});

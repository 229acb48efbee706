/**
 * Frames of a stream lane. A WebSocket message carries one or more, back to back, each
 *
 *     0        1                 4                         8
 *     ┌────────┬─────────────────┬─────────────────────────┬──────────
 *     │ type   │ payload length  │ stream                  │ payload …
 *     └────────┴─────────────────┴─────────────────────────┴──────────
 *
 * in network byte order. The proxy alone opens streams; numbers grow from 1 and are never used again in a lane.
 * Stream 0 is the lane itself.
 */
export const MUX_HEADER_BYTES = 8;

export const MUX = {
  /** Proxy → relay. Payload: {@link StreamOpening} as JSON. */
  open: 1,
  /** Bytes of the stream, within the sender's credit. */
  data: 2,
  /** The sender has no more bytes. The other direction goes on. */
  end: 3,
  /** The stream is cut, both ways. Payload: one byte, a {@link CUT} code. */
  cut: 4,
  /** Payload: four bytes, how many more bytes the peer may send. */
  credit: 5,
  /** Stream 0, no payload: the sender is alive. */
  beat: 6,
} as const;

/** Why a stream was cut. */
export const CUT = {
  /** The connection behind it died. */
  broken: 0,
  /** The relay has no such service. */
  unknownService: 1,
  /** Too many streams. */
  tooMany: 2,
  /** The peer goes away. */
  draining: 3,
} as const;

/** Bytes that either side may send on a new stream before it is given more credit. */
export const STREAM_WINDOW_BYTES = 262_144;
/** Most credit that a sender takes: a stream that is read as fast as it comes is widened to that. */
export const WIDE_WINDOW_BYTES = 1_048_576;
/** Most payload bytes in one frame. */
export const MUX_PAYLOAD_BYTES = 65_536;
/** Most bytes of one WebSocket message on a stream lane. */
export const MUX_MESSAGE_BYTES = 524_288;
/** Most frames of one WebSocket message: it is handled at one go, while all else waits. */
export const MUX_MESSAGE_FRAMES = 4_096;
/** Most payload bytes of an `open`. */
export const OPENING_BYTES = 1_024;

/** What the proxy tells about a phone's connection. */
export interface StreamOpening {
  /** The service that the door leads to, by name: never a host or a port. */
  service: string;
  door: string;
  /** The phone's address and port as the proxy saw them. */
  address: string;
  port: number;
  /** Who ends the phone's TLS. */
  tls: 'relay' | 'proxy';
}

/** Writes one frame's header into `target` at `offset`. */
export function writeMuxHeader(
  target: Buffer,
  offset: number,
  type: number,
  length: number,
  stream: number,
): void {
  target[offset] = type;
  target.writeUIntBE(length, offset + 1, 3);
  target.writeUInt32BE(stream, offset + 4);
}

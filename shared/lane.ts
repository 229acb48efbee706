/**
 * One ordered, reliable, framed connection between a relay and a proxy, as protocol code sees it. WebSockets are
 * one way to make it; a simulation's queue is another.
 */
export interface Lane {
  /**
   * Queues one frame: text on a control lane, bytes on a stream lane. Does nothing once closed.
   *
   * @param sent - called when the lane needs the bytes no more, if it ever comes to that; they may not change before
   */
  send(frame: string | Uint8Array, sent?: () => void): void;
  /** Bytes queued here and not yet taken by the network. */
  backlog(): number;
  /** Closes in order with a code and a reason that the peer may read. */
  close(code: number, reason: string): void;
  /** Cuts the connection at once. */
  cut(): void;
  /**
   * Reads nothing for so long, in ms; 0 = until all else that waits now has had its turn. What comes meanwhile waits in the
   * network. What was read already is still told. Lanes without one can't.
   */
  hold?(ms: number): void;
  /** Frames of bytes that their owner lays out as they go over the network. Lanes without it take each by `send`. */
  readonly laidOut?: LaidOut;
}

/** Takes frames laid out back to back, so that many leave by one write, and nothing is copied to bring them together. */
export interface LaidOut {
  /** Bytes to leave free in front of each frame, for the lane to fill in. */
  readonly head: number;
  /** Fills in the head of the frame that `bytes` hold from `start + head` to `end`. @returns its end, which may lie nearer now */
  seal(bytes: Buffer, start: number, end: number): number;
  /** Queues sealed frames, as {@link Lane.send} does one. */
  send(frames: Uint8Array, sent: () => void): void;
}

/** What a lane tells its owner. `closed` comes exactly once, last. */
export interface LaneEvents {
  frame(frame: string | Buffer): void;
  /** The backlog has shrunk to nothing. */
  drained(): void;
  closed(code: number, reason: string): void;
  /** The peer broke the rules of the connection itself, which is being closed. */
  violated?(why: string): void;
}

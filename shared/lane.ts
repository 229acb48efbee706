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

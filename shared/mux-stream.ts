import { Duplex } from 'node:stream';
import { SallyportError } from './errors.ts';
import type { CUT } from './mux-frames.ts';
import { STREAM_WINDOW_BYTES } from './mux-frames.ts';

/** What a stream needs of its multiplexer. */
export interface MuxPort {
  /** Takes up to `budget` bytes of `chunk` into frames; returns how many, 0 when the lane is full just now. */
  sendData(stream: number, chunk: Buffer, budget: number): number;
  sendEnd(stream: number): void;
  sendCredit(stream: number, bytes: number): void;
  /** Calls `stream.pump()` when the lane has room again. */
  awaitRoom(stream: MuxStream): void;
  /** The stream is over; `cut` tells the peer unless both sides ended in order. */
  released(stream: MuxStream, cut: boolean): void;
}

/** Credit is returned in pieces of at least this much, so that small reads don't cost a frame each. */
const GRANT_BYTES = STREAM_WINDOW_BYTES / 2;

/**
 * One phone's connection inside a stream lane: an ordinary Duplex, half-open like a TCP connection. Each direction
 * has its own credit, so a stalled stream holds at most one window of memory and slows no other.
 *
 * Destroying it before both directions ended cuts it at the peer too, with STREAM_CUT there.
 */
export class MuxStream extends Duplex {
  readonly id: number;
  readonly #port: MuxPort;
  #sendCredit = STREAM_WINDOW_BYTES;
  #receiveCredit = STREAM_WINDOW_BYTES;
  #ungranted = 0;
  #chunk: Buffer | null = null;
  #done: ((error?: Error | null) => void) | null = null;
  #endSent = false;
  #endReceived = false;
  #cutByPeer = false;

  constructor(id: number, port: MuxPort) {
    super({ allowHalfOpen: true, readableHighWaterMark: STREAM_WINDOW_BYTES, writableHighWaterMark: 65_536 });
    this.id = id;
    this.#port = port;
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    // No frame would ever take it, so it'd wait for room for good; node:http ends an answer with an empty write.
    if (chunk.length === 0) return done();
    this.#chunk = chunk;
    this.#done = done;
    this.pump();
  }

  /** Sends what credit and lane allow of the chunk at hand. */
  pump(): void {
    while (this.#chunk !== null) {
      if (this.#sendCredit === 0) return;
      const sent = this.#port.sendData(this.id, this.#chunk, this.#sendCredit);
      if (sent === 0) return this.#port.awaitRoom(this);
      this.#sendCredit -= sent;
      if (sent < this.#chunk.length) {
        this.#chunk = this.#chunk.subarray(sent);
        continue;
      }
      const done = this.#done;
      this.#chunk = null;
      this.#done = null;
      done?.();
    }
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#endSent = true;
    this.#port.sendEnd(this.id);
    done();
  }

  override _read(): void {
    // Bytes come by themselves, as far as credit goes.
  }

  /** Hands out what has come, and returns credit for it: `_read` is not called again until more comes. */
  override read(size?: number): unknown {
    const chunk: unknown = super.read(size);
    this.#grant();
    return chunk;
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#port.released(this, !this.#cutByPeer && !(this.#endSent && this.#endReceived));
    const waiting = this.#done;
    this.#chunk = null;
    this.#done = null;
    waiting?.(error ?? new SallyportError('STREAM_CUT', `stream ${this.id} was cut`));
    done(error);
  }

  /** The peer sent bytes. Returns false when they exceed its credit. */
  receiveData(payload: Buffer): boolean {
    if (payload.length > this.#receiveCredit || this.#endReceived) return false;
    this.#receiveCredit -= payload.length;
    this.#ungranted += payload.length;
    this.push(payload);
    this.#grant();
    return true;
  }

  /** The peer ended its direction. Returns false when it had already. */
  receiveEnd(): boolean {
    if (this.#endReceived) return false;
    this.#endReceived = true;
    this.push(null);
    return true;
  }

  /** The peer grants credit. Returns false when that makes more than one window. */
  receiveCredit(bytes: number): boolean {
    this.#sendCredit += bytes;
    if (bytes === 0 || this.#sendCredit > STREAM_WINDOW_BYTES) return false;
    this.pump();
    return true;
  }

  /** The peer cut the stream, or the lane is gone. */
  receiveCut(error: Error): void {
    this.#cutByPeer = true;
    this.destroy(error);
  }

  #grant(): void {
    const consumed = this.#ungranted - this.readableLength;
    if (consumed < GRANT_BYTES || this.#endReceived || this.destroyed) return;
    this.#ungranted -= consumed;
    this.#receiveCredit += consumed;
    this.#port.sendCredit(this.id, consumed);
  }
}

export type CutCode = (typeof CUT)[keyof typeof CUT];

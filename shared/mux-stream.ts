import { Duplex } from 'node:stream';
import { SallyportError } from './errors.ts';
import type { CUT } from './mux-frames.ts';
import { STREAM_WINDOW_BYTES, WIDE_WINDOW_BYTES } from './mux-frames.ts';
import type { Side, Taker } from './splice.ts';

/** What a stream needs of its multiplexer. */
export interface MuxPort {
  /** Takes up to `budget` bytes of `chunk` into frames; returns how many, 0 when the lane is full just now. */
  sendData(stream: number, chunk: Buffer, budget: number): number;
  sendEnd(stream: number): void;
  sendCredit(stream: number, bytes: number): void;
  /** Bytes by which a window may grow, 0 = none; they count against the lane until they are given to `narrow`. */
  widen(): number;
  narrow(bytes: number): void;
  /** Calls `stream.pump()` when the lane has room again. */
  awaitRoom(stream: MuxStream): void;
  /** The stream is over; `cut` tells the peer unless both sides ended in order. */
  released(stream: MuxStream, cut: boolean): void;
}

/**
 * One phone's connection inside a stream lane: an ordinary Duplex, half-open like a TCP connection. Each direction
 * has its own credit, so a stalled stream holds at most one window of memory and slows no other. A stream that is read
 * as fast as it comes gets a wider window, or bulk would wait for credit more than it flows.
 *
 * Destroying it before both directions ended cuts it at the peer too, with STREAM_CUT there.
 *
 * Where bytes are only passed on, {@link MuxStream.leadTo} leads them past the Duplex, whose queues and events cost more
 * than all the rest of the way. From then on its own reading and writing methods have no meaning.
 */
export class MuxStream extends Duplex implements Side {
  readonly id: number;
  readonly copies = true;
  readonly #port: MuxPort;
  #sendCredit = STREAM_WINDOW_BYTES;
  #receiveCredit = STREAM_WINDOW_BYTES;
  /** Bytes by which the window that the peer sends into was widened. */
  #widened = 0;
  /** Bytes received for which no credit was given back yet. */
  #ungranted = 0;
  /** Bytes among them that the taker has not passed on yet. */
  #held = 0;
  #chunk: Buffer | null = null;
  #done: ((error?: Error | null) => void) | null = null;
  #taker: Taker | null = null;
  #endDue = false;
  #endSent = false;
  #endReceived = false;
  #cutByPeer = false;

  constructor(id: number, port: MuxPort) {
    super({ allowHalfOpen: true, readableHighWaterMark: STREAM_WINDOW_BYTES, writableHighWaterMark: 65_536 });
    this.id = id;
    this.#port = port;
  }

  /** Whether both directions have ended in order, as far as this side goes. */
  get whole(): boolean {
    return this.#endSent && this.#endReceived;
  }

  leadTo(taker: Taker): void {
    let chunk: Buffer | null;
    while ((chunk = super.read() as Buffer | null) !== null) this.#handOver(taker, chunk);
    this.#taker = taker;
    this.#grant();
    if (this.#endReceived) taker.end();
  }

  send(bytes: Buffer): boolean {
    if (this.destroyed || this.#endDue) return false;
    if (this.#chunk === null) {
      this.#chunk = bytes;
      this.#transmit();
      if (this.#chunk === null) return true;
      this.#chunk = Buffer.from(this.#chunk);
    } else {
      this.#chunk = Buffer.concat([this.#chunk, bytes]);
    }
    return false;
  }

  finish(): void {
    if (this.destroyed || this.#endDue) return;
    this.#endDue = true;
    if (this.#chunk === null) this.#end();
  }

  release(): void {
    this.#held = 0;
    this.#grant();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    // No frame would ever take it, so it'd wait for room for good; node:http ends an answer with an empty write.
    if (chunk.length === 0) return done();
    this.#chunk = chunk;
    this.#done = done;
    this.pump();
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
    this.#port.released(this, !this.#cutByPeer && !this.whole);
    this.#port.narrow(this.#widened);
    const waiting = this.#done;
    this.#chunk = null;
    this.#done = null;
    waiting?.(error ?? new SallyportError('STREAM_CUT', `stream ${this.id} was cut`));
    done(error);
  }

  /** Credit has come or the lane has room: sends what they allow of the chunk at hand, and asks for the next. */
  pump(): void {
    if (this.#chunk === null) return;
    this.#transmit();
    if (this.#chunk !== null) return;
    const done = this.#done;
    this.#done = null;
    if (done !== null) return done();
    if (this.#endDue) this.#end();
    else this.#taker?.room();
  }

  #transmit(): void {
    while (this.#chunk !== null && this.#sendCredit > 0) {
      const sent = this.#port.sendData(this.id, this.#chunk, this.#sendCredit);
      if (sent === 0) return this.#port.awaitRoom(this);
      this.#sendCredit -= sent;
      this.#chunk = sent < this.#chunk.length ? this.#chunk.subarray(sent) : null;
    }
  }

  #end(): void {
    this.#endSent = true;
    this.#port.sendEnd(this.id);
    if (this.#endReceived) this.destroy();
  }

  /** The peer sent bytes. Returns false when they exceed its credit. */
  receiveData(payload: Buffer): boolean {
    if (payload.length > this.#receiveCredit || this.#endReceived) return false;
    this.#receiveCredit -= payload.length;
    this.#ungranted += payload.length;
    if (this.#taker === null) this.push(payload);
    else this.#handOver(this.#taker, payload);
    this.#grant();
    return true;
  }

  /** The peer ended its direction. Returns false when it had already. */
  receiveEnd(): boolean {
    if (this.#endReceived) return false;
    this.#endReceived = true;
    if (this.#taker === null) {
      this.push(null);
      return true;
    }
    this.#taker.end();
    if (this.#endSent) this.destroy();
    return true;
  }

  /** The peer grants credit. Returns false when that makes more than one window. */
  receiveCredit(bytes: number): boolean {
    this.#sendCredit += bytes;
    if (bytes === 0 || this.#sendCredit > WIDE_WINDOW_BYTES) return false;
    this.pump();
    return true;
  }

  /** The peer cut the stream, or the lane is gone. */
  receiveCut(error: Error): void {
    this.#cutByPeer = true;
    this.destroy(error);
  }

  #handOver(taker: Taker, bytes: Buffer): void {
    if (taker.data(bytes)) this.#held = 0;
    else this.#held += bytes.length;
  }

  #grant(): void {
    const consumed = this.#ungranted - this.#held - this.readableLength;
    // Half a window at least, so that small reads don't cost a frame each.
    const least = (STREAM_WINDOW_BYTES + this.#widened) / 2;
    if (consumed < least || this.#endReceived || this.destroyed) return;
    const keepsUp = consumed === this.#ungranted;
    const more = keepsUp && this.#widened === 0 ? this.#port.widen() : 0;
    this.#widened += more;
    this.#ungranted -= consumed;
    this.#receiveCredit += consumed + more;
    this.#port.sendCredit(this.id, consumed + more);
  }
}

export type CutCode = (typeof CUT)[keyof typeof CUT];

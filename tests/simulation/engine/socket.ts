import { Duplex } from 'node:stream';
import type { Milliseconds } from '../../../shared/clock.ts';
import type { Process } from './process.ts';
import type { Scheduler } from './scheduler.ts';

/** Bytes on their way or unread, at which a sender waits. */
const WINDOW_BYTES = 65_536;

/** One end of a TCP connection in memory: in order, with delay, with flow control, half-open, and cut by a reset. */
export class SimulatedSocket extends Duplex {
  readonly remoteAddress = '192.0.2.100';
  readonly remotePort = 443;
  #peer: SimulatedSocket | null = null;
  readonly #scheduler: Scheduler;
  readonly #latency: Milliseconds;
  /** Whose end this is; null = nobody's who could freeze. */
  readonly #owner: Process | null;
  #arrival = 0;
  #unread = 0;
  #held = 0;
  #blocked: (() => void) | null = null;

  constructor(scheduler: Scheduler, latency: Milliseconds, owner: Process | null) {
    super({ allowHalfOpen: true, highWaterMark: WINDOW_BYTES });
    this.#scheduler = scheduler;
    this.#latency = latency;
    this.#owner = owner;
    // Who uses an end hears of a reset by 'close', and by 'error' if it likes.
    this.on('error', () => undefined);
  }

  static pair(
    scheduler: Scheduler,
    latency: Milliseconds,
    owners: [Process | null, Process | null],
  ): [SimulatedSocket, SimulatedSocket] {
    const a = new SimulatedSocket(scheduler, latency, owners[0]);
    const b = new SimulatedSocket(scheduler, latency, owners[1]);
    a.#peer = b;
    b.#peer = a;
    return [a, b];
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    const bytes = Buffer.from(chunk);
    this.#unread += bytes.length;
    this.#deliver((peer) => {
      if (peer.push(bytes)) this.#acknowledged(bytes.length);
      else peer.#held += bytes.length;
    });
    if (this.#unread < WINDOW_BYTES) done();
    else this.#blocked = done;
  }

  override _final(done: () => void): void {
    this.#deliver((peer) => void peer.push(null));
    done();
  }

  override _read(): void {
    const held = this.#held;
    this.#held = 0;
    if (held > 0 && this.#peer !== null) this.#peer.#acknowledged(held);
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    if (!this.readableEnded || !this.writableFinished) {
      this.#deliver((peer) => void peer.destroy(new Error('ECONNRESET')));
    }
    done(error);
  }

  #deliver(task: (peer: SimulatedSocket) => void): void {
    const peer = this.#peer;
    if (peer === null) return;
    this.#arrival = Math.max(this.#arrival, this.#scheduler.now() + this.#latency);
    this.#scheduler.at(this.#arrival, () => {
      const arrive = (): void => void (peer.destroyed || task(peer));
      if (peer.#owner === null) arrive();
      else peer.#owner.enter(arrive);
    });
  }

  #acknowledged(bytes: number): void {
    this.#unread -= bytes;
    if (this.#unread >= WINDOW_BYTES) return;
    const blocked = this.#blocked;
    this.#blocked = null;
    blocked?.();
  }

  // What libraries call on a socket besides.
  setNoDelay(): this {
    return this;
  }
  setKeepAlive(): this {
    return this;
  }
  setTimeout(): this {
    return this;
  }
  ref(): this {
    return this;
  }
  unref(): this {
    return this;
  }
}

import { Connection, type ConnectionEvents } from './connection.ts';
import type { RawHandle, RawTcp } from './raw-tcp.ts';

type Carrier = RawHandle & { connection?: RawConnection };

/** A plain connection over a TCP handle; see {@link RawTcp}. */
export class RawConnection extends Connection {
  readonly #tcp: RawTcp;
  readonly #handle: RawHandle;
  #events: ConnectionEvents | null = null;
  #closed = false;

  constructor(tcp: RawTcp, handle: RawHandle) {
    super(true);
    this.#tcp = tcp;
    this.#handle = handle;
  }

  start(events: ConnectionEvents): void {
    this.#events = events;
    const handle = this.#handle;
    (handle as Carrier).connection = this;
    handle.onread = onRead;
    handle.useUserBuffer(this.#tcp.input);
    if (handle.readStart() !== 0) this.destroy();
  }

  send(answers: Buffer): void {
    if (!this.#closed && !this.#tcp.write(this.#handle, answers)) this.destroy();
  }

  backlog(): number {
    return this.#closed ? 0 : this.#handle.writeQueueSize;
  }

  finish(answers: Buffer): void {
    this.send(answers);
    this.#close();
  }

  end(answers: Buffer): void {
    this.send(answers);
    if (!this.#closed && !this.#tcp.shutdown(this.#handle, () => undefined)) this.destroy();
  }

  destroy(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#handle.close();
    this.#events?.gone(this);
  }

  noDelay(): void {
    if (!this.#closed) this.#handle.setNoDelay(true);
  }

  peer(): string | null {
    return this.#closed ? null : peerOf(this.#handle);
  }

  /** A read has ended: with bytes, with the other side's end, or with an error. */
  read(): void {
    const count = this.#tcp.bytesRead();
    if (count > 0) this.#events?.take(this, view(this.#tcp.input, count));
    else if (count < 0) this.#close();
  }

  /** Closes as soon as the system has taken all answers. */
  #close(): void {
    if (this.#closed) return;
    if (this.#handle.writeQueueSize === 0) this.destroy();
    else if (!this.#tcp.shutdown(this.#handle, () => this.destroy())) this.destroy();
  }
}

/** The address of a handle's peer; null where it is gone. */
export function peerOf(handle: RawHandle): string | null {
  const out: { address?: string } = {};
  return handle.getpeername(out) === 0 ? (out.address ?? null) : null;
}

function onRead(this: RawHandle): void {
  (this as Carrier).connection?.read();
}

/** Views of the one input buffer by their length, which for polls is nearly always one of a few. */
const views: (Buffer | undefined)[] = [];
const VIEWS_MAX = 2_048;

function view(input: Buffer, length: number): Buffer {
  if (length > VIEWS_MAX) return input.subarray(0, length);
  const known = views[length];
  if (known !== undefined && known.buffer === input.buffer) return known;
  const made = input.subarray(0, length);
  views[length] = made;
  return made;
}

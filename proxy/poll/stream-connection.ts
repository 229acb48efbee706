import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import { Connection, type ConnectionEvents } from './connection.ts';

type Carrier = Socket & { [connectionOf]?: StreamConnection };
const connectionOf = Symbol('connection');

/** A connection over a socket of Node's, plain or with TLS. */
export class StreamConnection extends Connection {
  readonly #socket: Socket;
  readonly #address: string | null;
  #events: ConnectionEvents | null = null;

  /** @param address - the real peer that a balancer named; null = the socket's own */
  constructor(socket: Socket, counted: boolean, address: string | null) {
    super(counted);
    this.#socket = socket;
    this.#address = address;
  }

  start(events: ConnectionEvents): void {
    this.#events = events;
    const socket = this.#socket;
    (socket as Carrier)[connectionOf] = this;
    socket.on('data', onData);
    socket.on('error', onError);
    socket.on('close', onClose);
    // A socket that was paused while a balancer's header was read does not flow by itself.
    if (socket.isPaused()) socket.resume();
  }

  send(answers: Buffer): void {
    this.#socket.write(answers);
  }

  backlog(): number {
    return this.#socket.writableLength;
  }

  finish(answers: Buffer): void {
    const socket = this.#socket;
    if (socket instanceof TLSSocket) {
      // The end has to be said within TLS, or a phone could take the answer for a torn one.
      socket.end(answers);
      socket.destroySoon();
      return;
    }
    socket.write(answers);
    // Mostly the system has taken the answer by now; closing then needs no shutdown of its own.
    if (socket.writableLength === 0) socket.destroy();
    else socket.destroySoon();
  }

  end(answers: Buffer): void {
    this.#socket.end(answers);
  }

  destroy(): void {
    this.#socket.destroy();
  }

  noDelay(): void {
    this.#socket.setNoDelay(true);
  }

  peer(): string | null {
    return this.#address ?? this.#socket.remoteAddress ?? null;
  }

  take(bytes: Buffer): void {
    this.#events?.take(this, bytes);
  }

  gone(): void {
    this.#events?.gone(this);
  }
}

// One set of listeners for all sockets: they find their connection on the socket.
function onData(this: Socket, bytes: Buffer): void {
  (this as Carrier)[connectionOf]?.take(bytes);
}

function onError(this: Socket): void {
  this.destroy();
}

function onClose(this: Socket): void {
  (this as Carrier)[connectionOf]?.gone();
}

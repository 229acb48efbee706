import { Socket } from 'node:net';
import type { SocketConstructorOpts } from 'node:net';
import type { Side, Taker } from '../../shared/splice.ts';

/** A buffer for any number of direct sockets: what is read into it has been passed on before the next read. */
export const createReadBuffer = (): Buffer => Buffer.allocUnsafeSlow(65_536);

/**
 * A TCP connection whose bytes are only ever passed on: they are read into a buffer that stays, and go past the
 * socket's Readable. Without this each read allocates, and bulk makes garbage as fast as it flows.
 *
 * Nothing is read before {@link DirectSocket.leadTo}.
 */
export class DirectSocket extends Socket implements Side {
  readonly copies = false;
  readonly #lead: { to: Taker | null };

  constructor(options: SocketConstructorOpts, buffer: Buffer) {
    const lead: { to: Taker | null } = { to: null };
    super({
      ...options,
      onread: {
        buffer,
        callback(length) {
          const bytes = buffer.subarray(0, length);
          return lead.to?.data(lead.to.copies ? bytes : Buffer.from(bytes)) ?? false;
        },
      },
    });
    this.#lead = lead;
    this.pause();
  }

  get whole(): boolean {
    return this.readableEnded && this.writableFinished;
  }

  leadTo(taker: Taker): void {
    this.#lead.to = taker;
    this.on('end', () => taker.end());
    this.on('drain', () => taker.room());
    this.resume();
  }

  send(bytes: Buffer): boolean {
    return this.write(bytes);
  }

  finish(): void {
    this.end();
  }

  release(): void {
    this.resume();
  }
}

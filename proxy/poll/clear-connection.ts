import type { Duplex } from 'node:stream';
import { Connection, type ConnectionEvents } from './connection.ts';

/** A connection over what a process of its own has decrypted; the phone's socket is beyond that process. */
export class ClearConnection extends Connection {
  override readonly lingers = true;
  readonly #clear: Duplex;
  readonly #address: string | null;

  /** @param address - the phone's; null = not to be had any more */
  constructor(clear: Duplex, address: string | null) {
    super(false);
    this.#clear = clear;
    this.#address = address;
  }

  start(events: ConnectionEvents): void {
    this.#clear.on('error', () => this.#clear.destroy());
    this.#clear.on('close', () => events.gone(this));
    this.#clear.on('end', () => this.#clear.end());
    this.#clear.on('data', (bytes: Buffer) => events.take(this, bytes));
  }

  send(answers: Buffer): void {
    this.#clear.write(answers);
  }

  backlog(): number {
    return this.#clear.writableLength;
  }

  finish(answers: Buffer): void {
    this.#clear.end(answers, () => this.#clear.destroy());
  }

  end(answers: Buffer): void {
    this.#clear.end(answers);
  }

  destroy(): void {
    this.#clear.destroy();
  }

  // The pipe to the process holds nothing back.
  noDelay = (): void => undefined;

  peer(): string | null {
    return this.#address;
  }
}

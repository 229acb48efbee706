import { Connection } from '../../../proxy/poll/connection.ts';
import type { ConnectionEvents } from '../../../proxy/poll/connection.ts';

/** A phone's connection to a poll door that carries one request. */
export class PollConnection extends Connection {
  #events: ConnectionEvents | null = null;
  #answer = '';

  constructor() {
    super(true);
  }

  /** @returns the answer's status */
  ask(request: Buffer): number {
    this.#events?.take(this, request);
    this.#events?.gone(this);
    const status = /^HTTP\/1\.[01] (\d{3}) /.exec(this.#answer)?.[1];
    if (status === undefined) throw new Error(`a poll was answered ${JSON.stringify(this.#answer)}`);
    return Number(status);
  }

  override start(events: ConnectionEvents): void {
    this.#events = events;
  }
  override send(answers: Buffer): void {
    this.#answer += answers.toString('latin1');
  }
  override finish(answers: Buffer): void {
    this.send(answers);
  }
  override end(answers: Buffer): void {
    this.send(answers);
  }
  override backlog(): number {
    return 0;
  }
  override destroy(): void {
    // Nothing is behind it.
  }
  override noDelay(): void {
    // Nothing is behind it.
  }
  override peer(): string {
    return '192.0.2.7';
  }
}

import type { ScanState } from './header-scan.ts';
import { NO_SITE_YET } from './lists-by-site.ts';
import { Waiting } from './waiting-list.ts';

/** What a connection tells of itself to whoever speaks on it. */
export interface ConnectionEvents {
  /** Bytes have come. They are good only until the call returns: what is to be kept has to be copied. */
  take(connection: Connection, bytes: Buffer): void;
  /** The connection is closed, by whichever side. Told once. */
  gone(connection: Connection): void;
}

/** A phone's connection, whatever carries it, with how far its present request has been read. */
export abstract class Connection extends Waiting implements ScanState {
  /** Whether its closing ends its place among the open ones; with TLS the connection below does that. */
  readonly counted: boolean;
  /** Whether closing it would overtake its last answer, which somebody else has yet to pass on. */
  readonly lingers: boolean = false;
  /** Number of its site: that of its door, or of its first poll; {@link NO_SITE_YET} before that. */
  site = NO_SITE_YET;
  /** Whether its closing gives its place at the site back. */
  entered = false;
  /** Bytes of a request that is not whole yet; null = none. */
  carry: Buffer | null = null;
  seen = 0;
  line = 0;
  blank = 0;
  /** Polls answered. */
  polls = 0;
  /** Where its polls come from, as of the first one; null before it, and where that is not to be had. */
  address: string | null = null;
  /** Whether its last answer has been given; what still comes is thrown away. */
  ended = false;
  /** Whether that answer was a refusal, so that more of what was refused may come. */
  refused = false;

  constructor(counted: boolean) {
    super();
    this.counted = counted;
  }

  /** Begins to tell `events`. To be called once. */
  abstract start(events: ConnectionEvents): void;
  /** Sends answers. */
  abstract send(answers: Buffer): void;
  /** Bytes sent that the system has not taken yet. */
  abstract backlog(): number;
  /** Sends the last answers and closes. */
  abstract finish(answers: Buffer): void;
  /** Sends the last answers and closes this side; what comes is still read, until the other side closes too. */
  abstract end(answers: Buffer): void;
  /** Closes at once; answers not taken by the system yet are lost. */
  abstract destroy(): void;
  /** From now on answers are sent without waiting for earlier ones to be acknowledged (Nagle's algorithm off). */
  abstract noDelay(): void;
  /** The phone's address; null where it is not to be had any more. */
  abstract peer(): string | null;
}

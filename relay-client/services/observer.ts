import type { DeviceId } from '../../shared/device-id.ts';
import type { PhoneOrigin } from './service.ts';

/**
 * How the `wpi` service shows its traffic to the watcher, and lets it change the two things that may be changed:
 * the contact-me value in a phone's message, and a cookie of our own. Where it teaches, it may also put an exchange
 * of its own between upstream's last answer and the phone. The service knows HTTP and no XML; the observer knows XML
 * and no sockets.
 */
export interface Observer {
  /**
   * A phone's connection begins (after TLS, if the door is sealed).
   *
   * @param names - the names in the client certificate that this relay itself has verified; default none
   */
  connection(origin: PhoneOrigin, names?: readonly string[]): ConnectionObserver;
}

/** Header names and values in turn, as they stood on the wire: `[name, value, name, value, …]`. */
export type RawHeaders = readonly string[];

export interface ConnectionObserver {
  /** A whole message of the phone (POST within the reading limit), before it goes upstream. */
  message(request: { path: string; headers: RawHeaders; body: Buffer }): Exchange;
  /** A request passes unread: not a POST, or its body is over the reading limit. */
  unread(request: {
    method: string;
    path: string;
    headers: RawHeaders;
    reason: 'method' | 'size';
  }): UnreadExchange;
  /** Whether the phone last spoke here and its session goes on: closed now, it would lose it. */
  inSession(): boolean;
  /** The connection is over. `cut`: not by either side's orderly end. */
  closed(how: 'ended' | 'cut'): void;
}

/** A request that nobody has read, and its answer. */
export interface UnreadExchange {
  /** What goes upstream in place of the phone's headers; the very same array when nothing changes. */
  readonly headers: RawHeaders;
  /** Upstream's answer begins. */
  answered(response: { status: number; headers: RawHeaders }): void;
}

/** An answer that the observer gives by itself. Needs no Content-Length. */
export interface OwnAnswer {
  readonly status: number;
  readonly headers: RawHeaders;
  readonly body: Buffer;
}

/** One request of a phone and its answer. Ends by exactly one of `delivered` and `cut`. */
export interface Exchange {
  /** Whose message it is; null where that isn't certain. */
  readonly device: DeviceId | null;
  /** What goes upstream in place of the phone's body; the very same Buffer when nothing changes. */
  readonly body: Buffer;
  /** What goes upstream in place of the phone's headers; the very same array when nothing changes. */
  readonly headers: RawHeaders;
  /** Where it's there, the request does not go upstream: the phone gets this, and nothing comes to be `answered`. */
  readonly local?: OwnAnswer;
  /** As `local`, once it comes; null = the request goes upstream after all. Never rejects. */
  readonly later?: Promise<OwnAnswer | null>;
  /**
   * Upstream's whole answer has come. Returns header lines to add towards the phone (our own cookie), mostly none;
   * or what the phone gets instead of all of it.
   */
  answered(response: { status: number; headers: RawHeaders; body: Buffer }): RawHeaders | OwnAnswer;
  /** Upstream's answer passes unread, because it is over the reading limit. */
  answeredUnread(response: { status: number; headers: RawHeaders }): void;
  /** The answer's last byte was handed to the phone's connection. */
  delivered(): void;
  /** The exchange was cut: `upstream` (refused, died, timed out) or `phone` (went away). */
  cut(by: 'upstream' | 'phone'): void;
}

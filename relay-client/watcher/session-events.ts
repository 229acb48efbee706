import type { DeviceId } from '../../shared/device-id.ts';
import type { PhoneOrigin } from '../services/service.ts';
import type { Warn } from '../warnings/kinds.ts';

/** Why a phone opened a session (ReasonForContact, in lower case); `other` for what isn't a plain word. */
export type Reason =
  'start-up' | 'local-changes' | 'inventory-changes' | 'status' | 'solicited' | (string & {});

/** How a session came out. Only `completed` completes what was pending. */
export type SessionOutcome =
  /** The service ended it: CleanUp with a nonce and no request to come back, or an empty 200/204; not busy, not cut. */
  | 'completed'
  /** The phone's last status was busy. */
  | 'busy'
  /** CleanUp with send-solicited: the service has more. */
  | 'again'
  /** The service has no room now: CleanUp with cleanup-reason `overload`, or HTTP 429 or 503. */
  | 'overloaded'
  /** CleanUp with another cleanup-reason, or without a nonce. */
  | 'refused'
  /** The phone ended it by a clean-up of its own. */
  | 'phone-clean-up'
  /** The service answered with an error status or something unreadable. */
  | 'service-error'
  /** A connection or exchange was cut, or the phone didn't come back in time. */
  | 'cut';

/**
 * One WPI session as the watcher understands it. A device may have two for a while: only when the service has
 * answered the newer one is the older one over, since anybody can begin one.
 */
export interface WatchedSession {
  readonly id: string;
  /** Null where the device could not be known for certain. */
  readonly device: DeviceId | null;
  readonly reason: Reason;
  readonly origin: PhoneOrigin;
  /** Wall time. */
  readonly startedAt: number;
  /** Whether the service has answered at all (a fruitless session counts only then). */
  readonly answered: boolean;
  /** The last Action seen from the service; null before. */
  readonly action: string | null;
  /** Whether the courier leads it in the service's place. Default false. */
  readonly courier?: boolean;
}

export interface SessionListener {
  /** A session began. For a solicited one, what is pending now is what its completion may clear. */
  began(session: WatchedSession): void;
  /** The service's answer to a message of the session. `action` is null for an empty or unreadable one. */
  answered(session: WatchedSession, action: string | null): void;
  ended(session: WatchedSession, outcome: SessionOutcome): void;
  /** Something deserves a look. */
  warn: Warn;
}

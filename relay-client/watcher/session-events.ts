import type { DeviceId } from '../../shared/device-id.ts';
import type { PhoneOrigin } from '../services/service.ts';

/** Why a phone opened a session (ReasonForContact); other values are passed on in lower case. */
export type Reason = 'start-up' | 'local-changes' | 'inventory-changes' | 'status' | 'solicited' | (string & {});

/** How a session came out. Only `completed` completes what was pending. */
export type SessionOutcome =
  /** The service ended it: CleanUp with a nonce and no request to come back, or an empty 200/204; not busy, not cut. */
  | 'completed'
  /** The phone's last status was busy. */
  | 'busy'
  /** CleanUp with send-solicited: the service has more. */
  | 'again'
  /** CleanUp with a cleanup-reason (overload and the like), or without a nonce. */
  | 'refused'
  /** The phone ended it by a clean-up of its own. */
  | 'phone-clean-up'
  /** The service answered with an error status or something unreadable. */
  | 'service-error'
  /** A connection or exchange was cut, or the phone didn't come back in time. */
  | 'cut';

/** One WPI session as the watcher understands it. */
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
}

export interface SessionListener {
  /** A session began. For a solicited one, what is pending now is what its completion may clear. */
  began(session: WatchedSession): void;
  /** The service's answer to a message of the session. `action` is null for an empty one. */
  answered(session: WatchedSession, action: string | null): void;
  ended(session: WatchedSession, outcome: SessionOutcome): void;
  /** Something worth a warning and a counter; `what` is a fixed word (`unidentified`, `nonce-odd`, `ftp`, …). */
  odd(what: string, facts: { device: DeviceId | null; [fact: string]: string | number | boolean | null }): void;
}

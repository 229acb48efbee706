import type { Milliseconds } from '../../../shared/clock.ts';
import type { Fact, Judge, ServiceWord } from './facts.ts';

/** One session as the provisioning service lived it. */
export interface HeardSession {
  device: string;
  reason: string;
  beganAt: Milliseconds;
  /** The phone's last status. */
  status: string | null;
  /** The phone's last message was its own clean-up. */
  cleanedUp: boolean;
  /** When the service said a last word that completes; null = it has not. */
  completedAt: Milliseconds | null;
  /** The service has answered in a way that may count towards dead. */
  fruitless: boolean;
}

/** What the service heard and said, by session: the only witness of what may complete a message. */
export interface SessionBook extends Judge {
  of(device: string): readonly HeardSession[];
}

const REFUSING: ReadonlySet<ServiceWord> = new Set(['refused', 'no-nonce']);

export function createSessionBook(): SessionBook {
  const byName = new Map<string, HeardSession>();
  const byDevice = new Map<string, HeardSession[]>();

  function take(fact: Fact, now: Milliseconds): void {
    if (fact.what === 'service-heard') {
      const { session: name, device, reason, status } = fact;
      if (reason === 'file') return;
      let session = byName.get(name);
      if (session === undefined) {
        session = {
          device,
          reason,
          beganAt: now,
          status: null,
          cleanedUp: false,
          completedAt: null,
          fruitless: false,
        };
        byName.set(name, session);
        byDevice.set(device, [...(byDevice.get(device) ?? []), session]);
      }
      if (reason === 'reply-to') session.status = status;
      session.cleanedUp = reason === 'clean-up';
    } else if (fact.what === 'service-said') {
      const session = byName.get(fact.session);
      if (session === undefined || !fact.answer.whole) return;
      const { kind } = fact.answer;
      const busy = session.status === 'busy';
      if (kind === 'error' || session.cleanedUp || (REFUSING.has(kind) && !busy)) session.fruitless = true;
      const last = kind === 'done' || kind === 'done-empty';
      if (last && !busy && !session.cleanedUp && session.reason === 'solicited') session.completedAt ??= now;
    }
  }

  return { take, of: (device) => byDevice.get(device) ?? [] };
}

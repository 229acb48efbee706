import { hasItem, itemValue } from '../../shared/wpi/message.ts';
import type { ServiceMessage } from '../../shared/wpi/message.ts';
import { readServiceMessage } from '../../shared/wpi/read.ts';
import type { SessionOutcome } from './session-events.ts';

/** What a service's answer means for its session. */
export interface Verdict {
  /** Null for an empty, unreadable or failed answer. */
  readonly action: string | null;
  /** How the session is over once the answer is delivered; null = it goes on. */
  readonly outcome: SessionOutcome | null;
  /** The answer, where it was a message. */
  readonly message: ServiceMessage | null;
  /** The phone may say the same again, since the service had no room for it, or failed. */
  readonly repeatable: boolean;
  /** The phone may reply to it: it was no last word, though the phone's own clean-up may have ended the session. */
  readonly asksOn: boolean;
  /** Why it could not be read; null where it could, or where there was nothing to read. */
  readonly unreadable: string | null;
}

/** What there is to know of the phone's message that was answered. */
export interface Asked {
  /** It was the phone's own clean-up, which ends the session whatever the answer. */
  readonly cleanUp: boolean;
  /** The status of the phone's last reply; null where it has not replied. */
  readonly status: string | null;
}

const OVERLOADED: ReadonlySet<number> = new Set([429, 503]);

/** Judges an answer. `body` is null for one that passed unread, which is therefore no CleanUp. */
export function judge(answer: { status: number; body: Buffer | null }, asked: Asked): Verdict {
  const verdict = judgeAlone(answer);
  const repeatable = verdict.outcome === 'overloaded' || verdict.outcome === 'service-error';
  const asksOn = verdict.outcome === null;
  if (asksOn && !asked.cleanUp) return { ...verdict, repeatable, asksOn };
  const outcome = asked.cleanUp
    ? 'phone-clean-up'
    : asked.status === 'busy' && verdict.outcome !== 'service-error'
      ? 'busy'
      : verdict.outcome;
  return { ...verdict, outcome, repeatable, asksOn };
}

function judgeAlone({
  status,
  body,
}: {
  status: number;
  body: Buffer | null;
}): Omit<Verdict, 'repeatable' | 'asksOn'> {
  const empty = { action: null, message: null, unreadable: null };
  if (OVERLOADED.has(status)) return { ...empty, outcome: 'overloaded' };
  if (status !== 200 && status !== 204) return { ...empty, outcome: 'service-error' };
  if (body === null) return { ...empty, outcome: null };
  if (body.length === 0) return { ...empty, outcome: 'completed' };
  const message = readServiceMessage(body);
  // The phone can't read it either, and says so by a clean-up of its own (Developer's Guide p. 13).
  if ('unreadable' in message) return { ...empty, outcome: null, unreadable: message.unreadable };
  const outcome = message.action === 'CleanUp' ? judgeCleanUp(message) : null;
  return { action: message.action, outcome, message, unreadable: null };
}

function judgeCleanUp({ nonce, items }: ServiceMessage): SessionOutcome {
  if (hasItem(items, 'cleanup-reason')) {
    return itemValue(items, 'cleanup-reason')?.toLowerCase() === 'overload' ? 'overloaded' : 'refused';
  }
  if (hasItem(items, 'send-solicited')) {
    // Only a plain no is a no: what is cleared wrongly is lost, what is offered wrongly costs one session.
    const value = itemValue(items, 'send-solicited')?.toLowerCase();
    if (value !== 'false' && value !== '0') return 'again';
  }
  return nonce === '' ? 'refused' : 'completed';
}

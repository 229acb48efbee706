import { ago, count } from '../words.ts';
import type { Finding, WhyFacts } from './facts.ts';

/** What there is to say of a device for which nothing is held. */
export function withoutWork(facts: WhyFacts): Finding {
  const { record, lastPoll, now } = facts;
  const seen = lastPoll ?? facts.unknown;
  if (record === null || record.generation === 0) {
    if (seen === null && record === null) {
      return {
        verdict: 'unknown',
        sentence: `${facts.device} was never pushed to, and no proxy has seen it poll.`,
        advice: 'Check the device id, and that the phone was given the poll address of a proxy.',
      };
    }
    const polled = seen === null ? 'no proxy has seen it poll' : `it last polled ${ago(now, seen.at)}`;
    return {
      verdict: 'never-pushed',
      sentence: `Nothing was ever pushed to ${facts.device}; ${polled}.`,
      advice: 'Push to it; if it should have work, compare this id with the one that the service uses.',
    };
  }
  const last = facts.messages[0];
  if (record.dead > 0) {
    const dead = facts.messages.find((message) => message.state === 'dead');
    const after =
      dead === undefined ? '' : ` after ${count(dead.fruitlessSessions, 'session')} that did not complete it`;
    return {
      verdict: 'dead',
      sentence: `Nothing is offered to ${facts.device}: ${count(record.dead, 'message')} ended dead${after}.`,
      advice:
        'Look at what the service answers this phone, then push anew' +
        (dead === undefined
          ? '.'
          : `, or hold this message again: sallyport-relay redrive --message ${dead.id} (POST /v1/messages/${dead.id}/redrive).`),
    };
  }
  const end =
    last?.endedAt == null
      ? ''
      : `; the last message ended ${ago(now, last.endedAt)}: ${last.state} (${last.endedBy ?? 'no reason kept'})`;
  return {
    verdict: 'nothing-pending',
    sentence: `Nothing is pending for ${facts.device}${end}.`,
    advice: null,
  };
}

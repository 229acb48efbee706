import type { Milliseconds } from '../../shared/clock.ts';
import type { Message } from '../outbox/outbox.ts';
import type { SessionOutcome } from '../watcher/session-events.ts';
import { ago, count, span } from '../words.ts';
import { isDirect } from './facts.ts';
import type { Finding, WhyFacts } from './facts.ts';

/** What the phone itself makes of work that could be offered: whether it polls, comes, and completes. */

/** A phone unheard of for this long is called overdue. Its poll interval is its service's secret, so this is coarse. */
export const POLL_OVERDUE_MS: Milliseconds = 30 * 60_000;

/** How exactly the time of a poll is known: proxies round it down, to 32 ms, and tell it later. */
export const POLL_SLACK_MS: Milliseconds = 50;

/** A phone told 202 that hasn't come after this long isn't coming by itself. */
export const TOLD_PATIENCE_MS: Milliseconds = 2 * 60_000;

/** Work offered for this long to a phone that keeps polling, without a session, is a phone that cannot come. */
export const OFFER_PATIENCE_MS: Milliseconds = 10 * 60_000;

/** A phone that has just had a session is left alone for a while. What came of the session says more, where it went wrong. */
export function resting(facts: WhyFacts, held: Message[]): Finding | null {
  const { device, now, quietUntil } = facts;
  if (quietUntil === null || quietUntil <= now) return null;
  const left = span(quietUntil - now);
  const failed = fruitless(facts, held);
  if (failed !== null) {
    return { ...failed, sentence: failed.sentence.replace(/\.$/, `, in ${left} at the earliest.`) };
  }
  return {
    verdict: 'quiet',
    sentence: `Polls of ${device} are kept at 200 for another ${left}, because a session just ended.`,
    advice: 'Nothing to do; the work is offered again after the session gap.',
  };
}

/** What a phone that isn't heard of comes to. */
export function silent(facts: WhyFacts): Finding | null {
  const { device, now, lastPoll, record, offeredSince, lesson, proxies, unknown, pollSecret } = facts;
  const untaught = isDirect(proxies)
    ? ' The relay can teach nobody here: phones of this site do not come through it (sessions: direct).'
    : lesson === null || lesson.note === 'taught'
      ? ''
      : ` The last try to teach it the poll address came out as ${lesson.note}${lesson.why === null ? '' : ` (${lesson.why})`}.`;
  const contact = Math.max(lastPoll?.at ?? 0, record?.lastSession?.at ?? 0);
  // Since the push its id is known: only a poll without the right secret is still told of as that of an unknown device.
  const wrong = pollSecret && unknown !== null && unknown.at > Math.max(contact, offeredSince ?? 0);
  const without = wrong
    ? ` Polls by its id, but not under its secret, were seen ${ago(now, unknown.at)}: it has an older poll address, or somebody else polls by its id.`
    : '';
  if (contact === 0) {
    return {
      verdict: 'never-polled',
      sentence: `${device} has not polled any proxy so far; its work waits.`,
      advice: `Check that the phone was given the poll address of a proxy, can reach it, and sends this device id.${without}${untaught}`,
    };
  }
  if (now - contact > POLL_OVERDUE_MS) {
    return {
      verdict: 'poll-overdue',
      sentence: `${device} was last heard of ${ago(now, contact)}; its work waits.`,
      advice: `Check that the phone is switched on and can reach the proxy; a restarted phone may have lost its poll address.${without}${untaught}`,
    };
  }
  // Of a 202 so close it is the push that was answered by it, not one before.
  const slack = lastPoll?.status === 202 ? POLL_SLACK_MS : 0;
  if (contact + slack < (offeredSince ?? 0)) {
    return {
      verdict: 'awaiting-poll',
      sentence: `${device} last polled ${ago(now, contact)}, before the push; it will be told 202 at its next poll.`,
      advice: without === '' ? 'Wait for its next poll.' : without.trimStart(),
    };
  }
  return null;
}

/** Sessions that take place and do not complete. */
export function fruitless({ device, now, record, offeredSince }: WhyFacts, held: Message[]): Finding | null {
  const sessions = Math.max(...held.map((message) => message.fruitlessSessions));
  const last = record?.lastSession ?? null;
  const since = last !== null && last.at >= (offeredSince ?? 0) && last.outcome !== 'completed' ? last : null;
  if (sessions === 0 && since === null) return null;
  const outcome = last?.outcome ?? 'unknown';
  const advice = Object.entries(ADVICE_BY_OUTCOME).find(([word]) => word === outcome)?.[1];
  const when = last === null ? '' : ` ${ago(now, last.at)}`;
  const tries = sessions === 0 ? '' : `; ${count(sessions, 'session')} did not complete it`;
  return {
    verdict: 'not-completing',
    sentence: `The last session of ${device}${when} came out as ${outcome}${tries}; the work is offered again.`,
    advice: advice ?? 'Look at what the service answers this phone.',
  };
}

const ADVICE_BY_OUTCOME: Record<Exclude<SessionOutcome, 'completed'>, string> = {
  busy: 'The phone is in use; it is asked again until it is idle.',
  again: 'The service has more to do and will be asked again.',
  overloaded:
    'The service has no room now, and is asked again; if it stays so, push at a slower pace (--spread).',
  refused: 'The service turned the phone away (a clean-up without a nonce); look at its log.',
  'phone-clean-up':
    'The phone ended the session itself; look at its log and at what the service asked of it.',
  'service-error': 'The service answered with an error; look at its log for this device.',
  cut: 'The connection broke; check the way between phone, proxy and service.',
};

/** It polls: what was it told? */
export function polled({ device, now, lastPoll, offeredSince, services, proxies }: WhyFacts): Finding {
  const at = lastPoll?.at ?? now;
  const unread = !services.some((service) => service.kind === 'wpi') || isDirect(proxies);
  if (lastPoll !== null && unread) {
    return {
      verdict: 'blind',
      sentence: `${device} was last told ${lastPoll.status}, ${ago(now, at)}; its sessions pass unread, so their end cannot be seen, and it is called for ten minutes from the push on, then for ten minutes in each hour.`,
      advice: 'Clear it by the API once the job is done, or let it expire.',
    };
  }
  if (lastPoll === null || lastPoll.status === 200) {
    return {
      verdict: 'withheld',
      sentence: `${device} was last told 200, ${ago(now, at)}: the link or the service was down then, or the proxy was admitting only a part of its phones.`,
      advice: 'Its next poll should bring 202; if not, sallyport-relay status says what keeps it.',
    };
  }
  if (now - at <= TOLD_PATIENCE_MS && now - (offeredSince ?? now) <= OFFER_PATIENCE_MS) {
    return {
      verdict: 'told',
      sentence: `${device} was told 202 ${ago(now, at)} and should call the service now.`,
      advice: 'Wait for its session: once the service ends it in order, the work is cleared.',
    };
  }
  return {
    verdict: 'told-not-coming',
    sentence: `${device} was told 202, last ${ago(now, at)}, but opened no session since the push ${ago(now, offeredSince ?? now)}.`,
    advice:
      "Check that the phone's service address leads to the proxy's session door and that it accepts the certificate shown there: " +
      'sallyport-relay doctor --door HOST:PORT shows what a phone meets.',
  };
}

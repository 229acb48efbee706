import type { Milliseconds } from '../shared/clock.ts';
import type { DeviceId } from '../shared/device-id.ts';
import { readResults } from './courier/results.ts';
import type { HeldAt, PollSeen, ProxyState, RelayView, UnknownDevice } from './desk.ts';
import type { DeviceRecord, Message } from './outbox/outbox.ts';
import { atAll, standing } from './standing.ts';
import type { DeviceWarning } from './warnings/warnings.ts';
import type { SessionOutcome, WatchedSession } from './watcher/session-events.ts';
import { ago, count, iso, span } from './words.ts';

/**
 * Why a device's work stands where it stands: one decision over facts that were gathered elsewhere, so that the
 * API, the command line and the dashboard say the same.
 */

/** Every verdict, from "nobody knows this device" to "its work is under way". */
export const VERDICTS = [
  'unknown',
  'never-pushed',
  'nothing-pending',
  'dead',
  'no-link',
  'catching-up',
  'upstream-down',
  'in-session',
  'quiet',
  'awaiting-outcome',
  'not-before',
  'unproven',
  'not-completing',
  'never-polled',
  'poll-overdue',
  'awaiting-poll',
  'withheld',
  'blind',
  'told',
  'told-not-coming',
] as const;

export type Verdict = (typeof VERDICTS)[number];

/** A phone unheard of for this long is called overdue. Its poll interval is its service's secret, so this is coarse. */
export const POLL_OVERDUE_MS: Milliseconds = 30 * 60_000;

/** How exactly the time of a poll is known: proxies round it down, to 32 ms, and tell it later. */
export const POLL_SLACK_MS: Milliseconds = 50;

/** A phone told 202 that hasn't come after this long isn't coming by itself. */
export const TOLD_PATIENCE_MS: Milliseconds = 2 * 60_000;

/** Work offered for this long to a phone that keeps polling, without a session, is a phone that cannot come. */
export const OFFER_PATIENCE_MS: Milliseconds = 10 * 60_000;

/** What the decision rests on. All times are wall times in milliseconds. */
export interface WhyFacts {
  device: DeviceId;
  now: Milliseconds;
  /** Null where the outbox never heard of the device. */
  record: DeviceRecord | null;
  /** Messages of the device, newest first. */
  messages: Message[];
  /** When the newest held message was accepted or re-driven last; null = none held. */
  offeredSince: Milliseconds | null;
  /** Where the newest held message stands; none linked, or none held: empty. */
  heldAt: HeldAt[];
  lastPoll: PollSeen | null;
  /** The device among those that poll and were never pushed to. */
  unknown: UnknownDevice | null;
  /** Whether phones of the site have to poll by a secret in their path. */
  pollSecret: boolean;
  session: WatchedSession | null;
  quietUntil: Milliseconds | null;
  /** When the device was last kept from actions with secrets, and why, in its recent history; null = it wasn't. */
  unproven: { at: Milliseconds; why: string } | null;
  /** The device's newest lesson in its recent history: its note (`taught`, `teach-refused`, …), and why; null = none. */
  lesson: { at: Milliseconds; note: string; why: string | null } | null;
  warnings: DeviceWarning[];
  proxies: ProxyState[];
  services: ReturnType<RelayView['services']>;
}

export interface Why {
  device: DeviceId;
  verdict: Verdict;
  /** One line for a person. */
  sentence: string;
  /** What to do; null where there is nothing to do. */
  advice: string | null;
  /** At which proxies the newest work stands, and since when; null where nothing is held or no proxy is linked. */
  standing: string | null;
  facts: Record<string, string | number | boolean | null>;
  /** What deserves a look, whatever the verdict; newest first. */
  warnings: DeviceWarning[];
}

type Finding = Pick<Why, 'verdict' | 'sentence' | 'advice'>;

/** Says where a device's work stands and what to do about it. Pure. */
export function why(facts: WhyFacts): Why {
  const held = facts.messages.filter((message) => message.state === 'held');
  const finding = held.length === 0 ? withoutWork(facts) : withWork(facts, held);
  return {
    device: facts.device,
    ...finding,
    standing: held.length === 0 ? null : standing(facts.heldAt, facts.proxies, facts.now, held.length),
    facts: listed(facts, held),
    warnings: facts.warnings,
  };
}

function withoutWork(facts: WhyFacts): Finding {
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

function withWork(facts: WhyFacts, held: Message[]): Finding {
  return (
    hindered(facts, held) ??
    unproven(facts, held) ??
    waiting(facts, held) ??
    resting(facts, held) ??
    silent(facts) ??
    fruitless(facts, held) ??
    polled(facts)
  );
}

/** What keeps every phone of the site, or this one just now, from being told 202. */
function hindered(facts: WhyFacts, held: Message[]): Finding | null {
  const { device, now, proxies } = facts;
  const linked = proxies.filter(isLinked);
  if (linked.length === 0) {
    const reasons = proxies.map((proxy) => `${proxy.url}: ${proxy.why ?? proxy.state}`).join('; ');
    return {
      verdict: 'no-link',
      sentence: `Work for ${device} cannot be offered: no proxy is linked${reasons === '' ? '; none is configured' : ` (${reasons})`}.`,
      advice:
        proxies.length === 0
          ? 'Join a proxy: make an invite there, then run join here.'
          : 'Check that this host can reach the proxy and that the proxy runs; sallyport-relay doctor says what is in the way. The link comes back by itself.',
    };
  }
  const lastProxy = proxies.find((proxy) => proxy.url === facts.lastPoll?.proxy);
  if (lastProxy !== undefined && !isLinked(lastProxy)) {
    return {
      verdict: 'no-link',
      sentence: `${device} polls ${lastProxy.url}, whose link is ${lastProxy.state}${lastProxy.why === null ? '' : `: ${lastProxy.why}`}.`,
      advice:
        'Check that this host can reach that proxy; sallyport-relay doctor says what is in the way. The link comes back by itself.',
    };
  }
  // Phones of a direct site need neither this relay's service nor its opinion of it.
  const down = isDirect(proxies) ? null : unreachable(facts.services);
  // Actions are delivered by the relay itself.
  const alone = held.some(({ kind, dueIn }) => kind === 'dls' && dueIn === 0);
  if (down !== null && !(alone && down.kind === 'wpi')) {
    return {
      verdict: 'upstream-down',
      sentence: `Work for ${device} is held back: service ${down.name} cannot be reached${down.health.why === null ? '' : `: ${down.health.why}`}.`,
      advice:
        'Bring the provisioning service back; sallyport-relay doctor says what it meets. Polls turn to 202 by themselves then.',
    };
  }
  if (facts.session !== null) {
    const action = facts.session.action === null ? '' : `, last action ${facts.session.action}`;
    return {
      verdict: 'in-session',
      sentence: `A ${facts.session.reason} session of ${device} has been running for ${span(now - facts.session.startedAt)}${action}.`,
      advice: 'Wait for its end: once the service ends it in order, the work is cleared.',
    };
  }
  if (linked.every((proxy) => (proxy.lag ?? 0) > 0)) {
    const lag = Math.min(...linked.map((proxy) => proxy.lag ?? 0));
    return {
      verdict: 'catching-up',
      sentence: `The proxies are still being told: ${count(lag, 'change')} to go.`,
      advice: 'Wait a moment; if it stays so, look at the round trip and lag of the proxies.',
    };
  }
  return null;
}

/** What makes it wait on purpose. */
function waiting({ device, now }: WhyFacts, held: Message[]): Finding | null {
  if (held.every(({ awaitedFor }) => awaitedFor !== null)) {
    const longest = Math.max(...held.map(({ awaitedFor }) => awaitedFor ?? 0));
    return {
      verdict: 'awaiting-outcome',
      sentence: `${device} has accepted what it was asked; its outcome is awaited for another ${span(longest)} at most.`,
      advice: 'Wait: the phone tells it by itself; if it does not in that time, the result is "unconfirmed".',
    };
  }
  const dueIn = Math.min(...held.map((message) => message.dueIn));
  if (dueIn > 0) {
    return {
      verdict: 'not-before',
      sentence: `Work for ${device} is not to be offered before ${iso(now + dueIn)}, in ${span(dueIn)}.`,
      advice: 'Push again without not_before if it should go now.',
    };
  }
  return null;
}

/** A phone that has just had a session is left alone for a while. What came of the session says more, where it went wrong. */
function resting(facts: WhyFacts, held: Message[]): Finding | null {
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

/** What a phone that proves nothing is not told. */
function unproven({ device, now, unproven: kept }: WhyFacts, held: Message[]): Finding | null {
  // Due, or put off because of that: an action whose outcome is awaited is another matter.
  const waits = (message: Message): boolean => readResults(message.results).at(-1)?.status === 'waiting';
  const due = held.filter(
    (message) =>
      message.kind === 'dls' && (message.dueIn === 0 || message.awaitedFor !== null) && !waits(message),
  );
  const oldest = Math.min(...due.map(({ acceptedAt }) => acceptedAt));
  if (kept === null || kept.at < oldest) return null;
  const again = Math.min(...due.map(({ dueIn }) => dueIn));
  return {
    verdict: 'unproven',
    sentence: `Actions with secrets are kept from ${device}, last ${ago(now, kept.at)}: ${kept.why}.${again === 0 ? '' : ` They are offered again in ${span(again)}.`}`,
    advice:
      'Have the phone show a client certificate that names it (tls.client_ca of the service), or see courier.allow_sources and courier.deliver_unauthenticated.',
  };
}

/** What a phone that isn't heard of comes to. */
function silent(facts: WhyFacts): Finding | null {
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
function fruitless({ device, now, record, offeredSince }: WhyFacts, held: Message[]): Finding | null {
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
function polled({ device, now, lastPoll, offeredSince, services, proxies }: WhyFacts): Finding {
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

/** Whether the phones of the site reach the service by themselves. */
const isDirect = (proxies: readonly ProxyState[]): boolean => proxies.some(({ direct }) => direct);

function isLinked(proxy: ProxyState): boolean {
  return proxy.state === 'up' || proxy.state === 'draining';
}

/** The service that phones need and that is down, unless another of its kind is up. */
function unreachable(services: WhyFacts['services']): WhyFacts['services'][number] | null {
  const wpi = services.filter((service) => service.kind === 'wpi');
  const needed = wpi.length > 0 ? wpi : services;
  return needed.some((service) => service.health.up) ? null : (needed[0] ?? null);
}

const isoOrNull = (at: Milliseconds | null): string | null => (at === null ? null : iso(at));

function listed(facts: WhyFacts, held: Message[]): Why['facts'] {
  const { record, lastPoll, unknown, session } = facts;
  const first = held[0];
  const linked = facts.proxies.filter(isLinked).length;
  return {
    pending: held.length,
    generation: record?.generation ?? 0,
    dead: record?.dead ?? 0,
    message: first?.id ?? null,
    offered_since: facts.offeredSince === null ? null : iso(facts.offeredSince),
    at_proxies: facts.heldAt.filter(({ since }) => since !== null).length,
    at_proxies_since: isoOrNull(atAll(facts.heldAt)),
    fruitless_sessions: Math.max(0, ...held.map((message) => message.fruitlessSessions)),
    last_poll_at: lastPoll !== null ? iso(lastPoll.at) : unknown !== null ? iso(unknown.at) : null,
    last_poll_status: lastPoll?.status ?? null,
    last_poll_proxy: lastPoll?.proxy ?? unknown?.proxy ?? null,
    last_session_at: record?.lastSession == null ? null : iso(record.lastSession.at),
    last_session_outcome: record?.lastSession?.outcome ?? null,
    session_running: session !== null,
    quiet_until: facts.quietUntil === null ? null : iso(facts.quietUntil),
    last_teaching: facts.lesson?.note ?? null,
    last_teaching_at: facts.lesson === null ? null : iso(facts.lesson.at),
    last_teaching_why: facts.lesson?.why ?? null,
    proxies_linked: linked,
    proxies: facts.proxies.length,
    services_up: facts.services.filter((service) => service.health.up).length,
    services: facts.services.length,
  };
}

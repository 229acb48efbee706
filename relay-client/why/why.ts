import type { Milliseconds } from '../../shared/clock.ts';
import type { Message } from '../outbox/outbox.ts';
import { iso } from '../words.ts';
import { isLinked } from './facts.ts';
import type { Finding, Why, WhyFacts } from './facts.ts';
import { fruitless, polled, resting, silent } from './phone.ts';
import { hindered, unproven, waiting } from './held-back.ts';
import { withoutWork } from './nothing-held.ts';
import { atAll, standing } from './standing.ts';

/**
 * Why a device's work stands where it stands: one decision over facts that were gathered elsewhere, so that the
 * API, the command line and the dashboard say the same.
 */

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

/** What keeps it back on the way is asked before what the phone makes of it. */
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

const isoOrNull = (at: Milliseconds | null | undefined): string | null => (at == null ? null : iso(at));

function listed(facts: WhyFacts, held: Message[]): Why['facts'] {
  const { record, lastPoll, unknown, session } = facts;
  const first = held[0];
  const linked = facts.proxies.filter(isLinked).length;
  return {
    pending: held.length,
    generation: record?.generation ?? 0,
    dead: record?.dead ?? 0,
    message: first?.id ?? null,
    offered_since: isoOrNull(facts.offeredSince),
    at_proxies: facts.heldAt.filter(({ since }) => since !== null).length,
    at_proxies_since: isoOrNull(atAll(facts.heldAt)),
    fruitless_sessions: Math.max(0, ...held.map((message) => message.fruitlessSessions)),
    last_poll_at: isoOrNull((lastPoll ?? unknown)?.at),
    last_poll_status: lastPoll?.status ?? null,
    last_poll_proxy: lastPoll?.proxy ?? unknown?.proxy ?? null,
    last_session_at: isoOrNull(record?.lastSession?.at),
    last_session_outcome: record?.lastSession?.outcome ?? null,
    session_running: session !== null,
    quiet_until: isoOrNull(facts.quietUntil),
    last_teaching: facts.lesson?.note ?? null,
    last_teaching_at: isoOrNull(facts.lesson?.at),
    last_teaching_why: facts.lesson?.why ?? null,
    proxies_linked: linked,
    proxies: facts.proxies.length,
    services_up: facts.services.filter((service) => service.health.up).length,
    services: facts.services.length,
  };
}

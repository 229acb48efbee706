import { readResults } from '../courier/results.ts';
import type { Message } from '../outbox/outbox.ts';
import { ago, count, iso, span } from '../words.ts';
import { isDirect, isLinked } from './facts.ts';
import type { Finding, WhyFacts } from './facts.ts';

/** What keeps work from being offered on this side of the phone: links, services, a session, its own time. */

/** What keeps every phone of the site, or this one just now, from being told 202. */
export function hindered(facts: WhyFacts, held: Message[]): Finding | null {
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

/** What a phone that proves nothing is not told. */
export function unproven({ device, now, unproven: kept }: WhyFacts, held: Message[]): Finding | null {
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

/** What makes it wait on purpose. */
export function waiting({ device, now }: WhyFacts, held: Message[]): Finding | null {
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

/** The service that phones need and that is down, unless another of its kind is up. */
function unreachable(services: WhyFacts['services']): WhyFacts['services'][number] | null {
  const wpi = services.filter((service) => service.kind === 'wpi');
  const needed = wpi.length > 0 ? wpi : services;
  return needed.some((service) => service.health.up) ? null : (needed[0] ?? null);
}

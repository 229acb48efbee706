import type { Milliseconds } from '../../shared/clock.ts';
import type { HeldAt, ProxyState } from '../desk.ts';
import { span } from '../words.ts';

/** At which proxies something stands, in words: no more than what the links know. */

/** When the last of the proxies held it; null = not all do, or of one it is not known when. */
export function atAll(heldAt: readonly HeldAt[]): Milliseconds | null {
  if (heldAt.length === 0) return null;
  const times = heldAt.map(({ since, exact }) => (exact && since !== null ? since : Infinity));
  const last = Math.max(...times);
  return last === Infinity ? null : last;
}

/**
 * @param proxies - all, of which `heldAt` knows those that are linked
 * @param messages - how many are held; it is the newest that is told of
 * @returns null where no proxy is linked
 */
export function standing(
  heldAt: readonly HeldAt[],
  proxies: readonly Pick<ProxyState, 'url'>[],
  now: Milliseconds,
  messages: number,
): string | null {
  if (heldAt.length === 0) return null;
  const parts = heldAt.map(({ proxy, since, exact }) => {
    if (since === null) return `${proxy} has yet to be told`;
    const time = now - since < 1_000 ? 'less than a second' : span(now - since);
    return `${proxy} has held it for ${exact ? time : `${time} or longer`}`;
  });
  const linked = new Set(heldAt.map(({ proxy }) => proxy));
  for (const { url } of proxies)
    if (!linked.has(url)) parts.push(`${url} is not linked, so what it holds is not known`);
  return `${messages === 1 ? 'At the proxies' : 'Its newest message at the proxies'}: ${parts.join('; ')}.`;
}

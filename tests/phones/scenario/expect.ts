/** Whether a group is as a scenario expects it. */
import type { Group } from './groups.ts';
import type { Count, Expectation } from './schema.ts';

/** Phones that are named where several are not as expected. */
const NAMED = 3;

/** What is not as expected, in words; empty where all is. */
export function differences(group: Group, expected: Expectation): string[] {
  const { polls, sessions, last_poll: status, poll_url: pollUrl, items } = expected;
  return [
    ...counted('polls', sum(group, 'pollsBy'), polls),
    ...counted('sessions', sum(group, 'sessionsBy'), sessions),
    ...(status === undefined
      ? []
      : each(
          group,
          `last_poll ${status}`,
          (deviceId) => String(group.lastPoll(deviceId) ?? 'none'),
          String(status),
        )),
    ...(pollUrl === undefined
      ? []
      : each(
          group,
          `poll_url ${pollUrl ?? 'none'}`,
          (_deviceId, phone) => phone.pollUrl ?? 'none',
          pollUrl ?? 'none',
        )),
    ...Object.entries(items ?? {}).flatMap(([name, value]) =>
      each(
        group,
        `item ${name} as given`,
        (_deviceId, phone) => phone.items.get(name) ?? '',
        value,
        'another value',
      ),
    ),
  ];
}

/** What all phones of a group have counted, by kind. */
export function sum({ phones }: Group, counts: 'pollsBy' | 'sessionsBy'): Record<string, number> {
  const total: Record<string, number> = {};
  for (const phone of phones) {
    for (const [kind, n] of Object.entries(phone.counts[counts])) total[kind] = (total[kind] ?? 0) + n;
  }
  return total;
}

function counted(
  what: string,
  got: Record<string, number>,
  expected: Record<string, Count> | undefined,
): string[] {
  return Object.entries(expected ?? {}).flatMap(([kind, wanted]) => {
    const n = got[kind] ?? 0;
    return fits(n, wanted) ? [] : [`${what} ${kind}: expected ${said(wanted)}, got ${n}`];
  });
}

function fits(n: number, wanted: Count): boolean {
  if (typeof wanted === 'number') return n === wanted;
  return n >= (wanted.at_least ?? 0) && n <= (wanted.at_most ?? Infinity);
}

function said(wanted: Count): string {
  if (typeof wanted === 'number') return String(wanted);
  const bounds = [
    ...(wanted.at_least === undefined ? [] : [`at least ${wanted.at_least}`]),
    ...(wanted.at_most === undefined ? [] : [`at most ${wanted.at_most}`]),
  ];
  return bounds.join(' and ') || 'any number';
}

/** Phones of which `read` gives something else. Values of items stay out: they carry passwords. */
function each(
  { phones }: Group,
  what: string,
  read: (deviceId: string, phone: Group['phones'][number]) => string,
  wanted: string,
  instead?: string,
): string[] {
  const others = phones.filter((phone) => read(phone.deviceId, phone) !== wanted);
  const [first] = others;
  if (first === undefined) return [];
  const named = others.slice(0, NAMED).map(({ deviceId }) => deviceId);
  const more = others.length > NAMED ? ` and ${others.length - NAMED} more` : '';
  const got = instead ?? read(first.deviceId, first);
  return [`expected ${what}, got ${got} at ${named.join(', ')}${more}`];
}

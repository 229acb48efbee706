import type { Marks } from '../../proxy/marks.ts';
import type { Milliseconds } from '../../shared/clock.ts';
import type { DeviceId } from '../../shared/device-id.ts';
import { OTHER_SITE, SITE } from './timed-handler.ts';

/** The class that all others are held against. */
export const UNKNOWN = 'unknown';

/** The state of a device that another site knows. */
export const ELSEWHERE = 'pending at another site';

/** What a polling device can be that is answered with 200. */
export interface PolledClass {
  name: string;
  /** One of {@link STATES}; null = unknown. */
  state: string | null;
  /** The secret that it shows; told the right one. */
  shows(secret: string): string;
}

const HOUR: Milliseconds = 3_600_000;
const FREE = { pending: true, generation: 1, notBefore: 0, expiry: Infinity };

const right = (secret: string): string => secret;
/** As long, and with no digit of the right one. */
const wrong = (secret: string): string => secret.replaceAll(/./g, (digit) => (digit === 'f' ? '0' : 'f'));
/** All digits but the last one are right. */
const almost = (secret: string): string => secret.slice(0, -1) + wrong(secret.slice(-1));

/** What a device can be that the marks have heard of, and how it is made so. */
export const STATES: Record<string, (to: { marks: Marks; device: DeviceId; now: Milliseconds }) => void> = {
  idle: ({ marks, device }) => marks.set(SITE, device, { ...FREE, pending: false }),
  'before its time': ({ marks, device, now }) => marks.set(SITE, device, { ...FREE, notBefore: now + HOUR }),
  expired: ({ marks, device, now }) => marks.set(SITE, device, { ...FREE, expiry: now - 1 }),
  'in session': ({ marks, device }) => {
    marks.set(SITE, device, FREE);
    marks.quiet(SITE, device, Infinity);
  },
  'in the session gap': ({ marks, device }) => {
    marks.set(SITE, device, FREE);
    marks.gap(SITE, device, Infinity);
  },
  // The site admits nobody.
  'not admitted': ({ marks, device }) => marks.set(SITE, device, FREE),
  removed: ({ marks, device }) => {
    marks.set(SITE, device, FREE);
    marks.remove(SITE, device);
  },
  [ELSEWHERE]: ({ marks, device }) => marks.set(OTHER_SITE, device, FREE),
};

/** The classes of one run; the first is {@link UNKNOWN}. */
export function classesOf(run: { pollSecret: 'none' | 'path' }): PolledClass[] {
  const known = (shows: PolledClass['shows'], suffix = ''): PolledClass[] =>
    Object.keys(STATES).map((state) => ({ name: `${state}${suffix}`, state, shows }));
  const unknown = (name: string, shows: PolledClass['shows']): PolledClass => ({ name, state: null, shows });
  // Twice the same: what the statistic says where there is no difference.
  const nobody = (shows: PolledClass['shows']): PolledClass[] => [
    unknown(UNKNOWN, shows),
    unknown('unknown, once more', shows),
  ];
  if (run.pollSecret === 'none') return [...nobody(right), ...known(right)];
  return [
    // Who guesses, and shows a wrong secret.
    ...nobody(wrong),
    ...known(wrong, ', wrong secret'),
    unknown('unknown, almost the right secret', almost),
    ...known(almost, ', almost the right secret'),
    unknown('unknown, right secret', right),
    ...known(right, ', right secret'),
  ];
}

import type { Marks } from '../../proxy/marks.ts';
import type { Milliseconds } from '../../shared/clock.ts';
import type { DeviceId } from '../../shared/device-id.ts';
import { OTHER_SITE, SITE } from './timed-handler.ts';

/** The class that all others are held against. */
export const UNKNOWN = 'unknown';

/** What a polling device can be that is answered with 200. */
export interface PolledClass {
  name: string;
  /** Makes a device be it, by its marks. */
  bring(to: { marks: Marks; device: DeviceId; now: Milliseconds }): void;
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

const STATES: Record<string, PolledClass['bring']> = {
  [UNKNOWN]: () => undefined,
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
  'pending at another site': ({ marks, device }) => marks.set(OTHER_SITE, device, FREE),
};

/** The classes of one run. */
export function classesOf(run: { pollSecret: 'none' | 'path'; link: 'up' | 'down' }): PolledClass[] {
  const states = (shows: PolledClass['shows']): PolledClass[] =>
    Object.entries(STATES).map(([name, bring]) => ({ name, bring, shows }));
  if (run.pollSecret === 'none') return states(right);
  const [unknown, ...known] = states(wrong) as [PolledClass, ...PolledClass[]];
  return [
    // Who guesses, and shows a wrong secret.
    unknown,
    ...known.map((each) => ({ ...each, name: `${each.name}, wrong secret` })),
    ...[unknown, ...known].map((each) => ({
      ...each,
      name: `${each.name}, almost the right secret`,
      shows: almost,
    })),
    ...[unknown, ...known].map((each) => ({ ...each, name: `${each.name}, right secret`, shows: right })),
  ];
}

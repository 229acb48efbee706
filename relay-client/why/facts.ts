import type { Milliseconds } from '../../shared/clock.ts';
import type { DeviceId } from '../../shared/device-id.ts';
import type { HeldAt, PollSeen, ProxyState, RelayView, UnknownDevice } from '../desk.ts';
import type { DeviceRecord, Message } from '../outbox/outbox.ts';
import type { DeviceWarning } from '../warnings/warnings.ts';
import type { WatchedSession } from '../watcher/session-events.ts';

/** What is asked, and what is answered, when somebody asks why a device's work stands where it stands. */

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

/** What one question comes to. */
export type Finding = Pick<Why, 'verdict' | 'sentence' | 'advice'>;

/** Whether the phones of the site reach the service by themselves. */
export const isDirect = (proxies: readonly ProxyState[]): boolean => proxies.some(({ direct }) => direct);

/** Whether a proxy can answer polls by what it was told. */
export function isLinked(proxy: ProxyState): boolean {
  return proxy.state === 'up' || proxy.state === 'draining';
}

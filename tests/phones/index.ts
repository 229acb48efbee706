/**
 * Simulated phones: the independent other side against which Sallyport is tested. They share no message handling with
 * the product.
 *
 * ```ts
 * const phone = createPhone({ deviceId: '00:1A:E8:00:00:01', service: 'https://127.0.0.1:18443', pollUrl });
 * t.teardown(() => phone.close());
 * await phone.start();                       // start-up session, Contact-me listener, poll timer
 * const session = phone.next('session');     // ask first, then cause
 * await phone.pollNow();                     // 202 opens a solicited session
 * t.equal((await session).outcome, 'completed');
 * ```
 */
export { createPhone, type Phone, type PhoneCounts } from './phone.ts';
export { createFleet, macAfter, type Fleet, type FleetOptions, type FleetStats } from './fleet.ts';
export type { LatencySummary } from './latency.ts';
export type { PhoneOptions } from './options.ts';
export type { PhoneEvent, PhoneEventOf } from './events.ts';
export { realClock, type PhoneClock } from './clock.ts';
export { createManualClock, type ManualClock } from './manual-clock.ts';
export {
  createDialer,
  parseTarget,
  type Dialer,
  type DialerOptions,
  type PhoneTls,
  type Target,
} from './dialer.ts';
export { download, type DownloadResult } from './download.ts';
export { pollOnce, pollRequest, type PollRequest, type PollResult } from './poll.ts';
export { runSession, type CookieEcho, type Exchange, type SessionResult } from './session.ts';
export type { HttpAnswer, FaultReason } from './http-reader.ts';
export type { ContactReason, Item } from './message.ts';
export { baseItems } from './items.ts';

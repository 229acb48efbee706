import type { Clock, Milliseconds } from '../../shared/clock.ts';
import { lastOnesFinished, sessionsFinished } from '../../shared/finish.ts';
import type { Links } from '../links/links.ts';
import type { Services } from '../services/services.ts';
import type { Sessions } from '../sessions/sessions.ts';

type Close = () => Promise<void> | void | undefined;

/**
 * Ends a relay in order: no new sessions, the running ones have until `until`, then nobody is let in, then all is closed,
 * the outbox last.
 */
export async function endRelay(parts: {
  links: Links;
  services: Services;
  sessions: Sessions;
  clock: Clock;
  until: Milliseconds;
  /** What lets others in or asks them. Closed all at once, while connections end. */
  doors: readonly Close[];
  /** Closed once no session runs, before the links and services. */
  courier: Close;
  /** Closed in turn, at last. */
  rest: readonly Close[];
}): Promise<void> {
  const { links, services, sessions, clock, until, doors, courier, rest } = parts;
  // While polls are 200 no session begins that a 202 has called for; those that run may take new connections.
  links.finish();
  const connections = (): number => services.list().reduce((sum, service) => sum + service.connections(), 0);
  // Phones that start up meanwhile would keep us for ever: once those of now are served, a later one waits its turn.
  await sessionsFinished({ sessions: sessions.lasting(), connections }, clock, until);
  links.drain();
  await lastOnesFinished({ sessions: sessions.count, connections }, clock, until);
  // All at once: each may take its time, and in all there are only so many seconds.
  const draining = services.drain(Math.max(0, until - clock.monotonic()));
  await Promise.all([...doors.map((close) => close()), draining]);
  await sessions.close();
  await courier();
  await links.close();
  await services.close();
  for (const close of rest) await close();
}

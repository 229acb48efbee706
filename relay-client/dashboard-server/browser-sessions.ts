import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import type { Clock, Milliseconds } from '../../shared/clock.ts';

/** Who has signed in with a browser. In memory only: a restart of the relay signs everybody out. */
export interface BrowserSessions {
  /** Begins a session. At the limit the one that was used longest ago gives way. */
  begin(): BrowserSession & { id: string };
  /** The session of a cookie's value, used now; null = unknown or over. */
  find(id: string): BrowserSession | null;
  end(id: string): void;
  count(): number;
  /** Stops looking for sessions that are over. */
  close(): void;
  /** The longest that one lasts, however much it is used. */
  readonly life: Milliseconds;
}

export interface BrowserSession {
  /** What a page must send with everything that changes something. */
  readonly csrf: string;
  /** Aborts when the session ends: at once where somebody ended it, within {@link LOOK_MS} where its time is over. */
  readonly over: AbortSignal;
}

export interface BrowserSessionLimits {
  /** Sessions at once. */
  sessions: number;
  /** A session that isn't used for so long is over. */
  idle: Milliseconds;
  /** A session is over after so long, used or not. */
  life: Milliseconds;
}

const HOUR_MS: Milliseconds = 3_600_000;

export const DEFAULT_BROWSER_SESSIONS: BrowserSessionLimits = {
  sessions: 100,
  idle: 12 * HOUR_MS,
  life: 7 * 24 * HOUR_MS,
};

/** How often is looked for sessions whose time is over while their browser asks for nothing. */
export const LOOK_MS: Milliseconds = 10_000;
/** Bytes of randomness in ids. */
const ID_BYTES = 32;

interface Kept {
  csrf: string;
  begunAt: Milliseconds;
  usedAt: Milliseconds;
  over: AbortController;
}

export function createBrowserSessions(
  clock: Clock,
  limits: BrowserSessionLimits = DEFAULT_BROWSER_SESSIONS,
): BrowserSessions {
  /** By the hash of the id, so that neither memory nor the time of a look-up tells an id. Least recently used first. */
  const kept = new Map<string, Kept>();

  const over = ({ begunAt, usedAt }: Kept, now: Milliseconds): boolean =>
    now - usedAt >= limits.idle || now - begunAt >= limits.life;

  function drop(key: string): void {
    const session = kept.get(key);
    kept.delete(key);
    session?.over.abort();
  }

  const dropOld = (): void => {
    const now = clock.monotonic();
    for (const [key, session] of kept) if (over(session, now)) drop(key);
  };
  const looking = clock.every(LOOK_MS, dropOld);

  return {
    begin() {
      dropOld();
      for (const key of kept.keys()) {
        if (kept.size < limits.sessions) break;
        drop(key);
      }
      const now = clock.monotonic();
      const id = randomBytes(ID_BYTES).toString('base64url');
      const csrf = randomBytes(ID_BYTES).toString('base64url');
      const session = { csrf, begunAt: now, usedAt: now, over: new AbortController() };
      kept.set(digest(id), session);
      return { id, csrf, over: session.over.signal };
    },
    find(id) {
      const key = digest(id);
      const session = kept.get(key);
      if (session === undefined) return null;
      const now = clock.monotonic();
      if (over(session, now)) {
        drop(key);
        return null;
      }
      kept.delete(key);
      session.usedAt = now;
      kept.set(key, session);
      return { csrf: session.csrf, over: session.over.signal };
    },
    end: (id) => drop(digest(id)),
    count: () => kept.size,
    close: () => looking.cancel(),
    life: limits.life,
  };
}

/** Whether two secrets are the same, in a time that tells nothing about them. */
export function sameSecret(one: string, other: string): boolean {
  const bytes = (text: string): Buffer => createHash('sha256').update(text).digest();
  return timingSafeEqual(bytes(one), bytes(other));
}

function digest(id: string): string {
  return createHash('sha256').update(id).digest('base64');
}

import type { Clock, Milliseconds, Timer } from '../../shared/clock.ts';
import { CLOSE } from '../../shared/protocol.ts';
import type { Link, LinkEnd } from './link.ts';

/** Upper bounds of the waits between tries; each wait is a random part of its bound (full jitter), the last goes on. */
export const RECONNECT_WAITS_MS: readonly Milliseconds[] = [250, 500, 1_000, 2_000, 4_000, 8_000, 10_000];
/** After a close that a quick retry would only repeat: another relay of the same name, a taken site, a revoked key. */
export const STUBBORN_WAIT_MS: Milliseconds = 30_000;

const STUBBORN: ReadonlySet<number> = new Set([
  CLOSE.replaced,
  CLOSE.siteTaken,
  CLOSE.revoked,
  CLOSE.violation,
]);

/** Dials for ever: a new link whenever the last one has ended. */
export interface Reconnect {
  /** The link at hand, up or not; null between two tries. */
  current(): Link | null;
  /** Dials a new link at once; the one at hand stays for what runs on it, until it ends by itself. */
  succeed(): void;
  /** Links that a successor has taken the place of, and that have not ended. */
  leaving(): readonly Link[];
  /** Stops dialling and closes the link. Resolves when it has ended. */
  stop(reason: string): Promise<void>;
}

export function keepConnected(options: {
  clock: Clock;
  /** 0 ≤ random() < 1. */
  random: () => number;
  connect: () => Link;
  onEnded: (end: LinkEnd, nextIn: Milliseconds) => void;
}): Reconnect {
  const { clock, random } = options;
  let failures = 0;
  let link: Link | null = null;
  let timer: Timer | null = null;
  let stopped = false;
  const leaving = new Set<Link>();

  function connect(): void {
    timer = null;
    const made = options.connect();
    link = made;
    // Up for a moment is enough: the next break is a new one, to be mended at once.
    let wasUp = false;
    const watch = clock.every(1_000, () => (wasUp ||= made.up()));
    void made.ended.then((end) => {
      watch.cancel();
      if (leaving.delete(made)) return;
      link = null;
      if (stopped) return;
      failures = wasUp ? 0 : failures + 1;
      const bound = RECONNECT_WAITS_MS[Math.min(failures, RECONNECT_WAITS_MS.length - 1)]!;
      const wait = STUBBORN.has(end.code) ? STUBBORN_WAIT_MS * (0.5 + random() / 2) : bound * random();
      timer = clock.after(wait, connect);
      options.onEnded(end, wait);
    });
  }
  connect();

  return {
    current: () => link,
    leaving: () => [...leaving],
    succeed() {
      if (link === null || stopped) return;
      leaving.add(link);
      connect();
    },
    async stop(reason) {
      stopped = true;
      timer?.cancel();
      const last = [...leaving, ...(link === null ? [] : [link])];
      for (const each of last) each.close(CLOSE.going, reason);
      await Promise.all(last.map(({ ended }) => ended));
    },
  };
}

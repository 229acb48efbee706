import type { Clock, Milliseconds } from '../../shared/clock.ts';

/** A phone's connection, as far as ending it goes. */
export interface OpenConnection {
  /** Ends as soon as what runs is over. */
  drain(): void;
  /** Ends now. */
  destroy(): void;
  /** Whether it has made no request so far: it may be anybody, and gives way to newcomers. Left out = it doesn't. */
  fresh?(): boolean;
}

/** The open connections of a service. */
export interface ConnectionSet {
  add(connection: OpenConnection): void;
  /** Takes it out; nothing when it's out already. */
  delete(connection: OpenConnection): void;
  size(): number;
  /** Ends the oldest one that has made no request so far. @returns false where there is none */
  makeRoom(): boolean;
  /** Whether the service takes no new ones. */
  draining(): boolean;
  /** Asks all to end and destroys what is left after `withinMs`; resolves when none is left. */
  drain(withinMs: Milliseconds): Promise<void>;
}

export function createConnectionSet(clock: Clock): ConnectionSet {
  const open = new Set<OpenConnection>();
  const emptied = new Set<() => void>();
  let draining = false;
  return {
    add: (connection) => void open.add(connection),
    delete(connection) {
      open.delete(connection);
      if (open.size > 0) return;
      for (const resolve of emptied) resolve();
      emptied.clear();
    },
    size: () => open.size,
    makeRoom() {
      for (const connection of open) {
        if (connection.fresh?.() !== true) continue;
        open.delete(connection);
        connection.destroy();
        return true;
      }
      return false;
    },
    draining: () => draining,
    async drain(withinMs) {
      draining = true;
      if (open.size === 0) return;
      const empty = new Promise<void>((resolve) => emptied.add(resolve));
      for (const connection of [...open]) connection.drain();
      const timer = clock.after(withinMs, () => {
        for (const connection of [...open]) connection.destroy();
      });
      await empty;
      timer.cancel();
    },
  };
}

import type { Clock, Milliseconds, Timer } from '../../shared/clock.ts';
import { describeError, isSallyportError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import { connectPostgres } from './postgres-client.ts';
import type { PostgresConnection } from './postgres-client.ts';

/** How long the opening of a connection may take, the waiting for other relays included. */
const OPEN_MS: Milliseconds = 30_000;
/** Tries to connect again come after these times, the last one for ever. */
const RETRY_MS = [100, 250, 500, 1_000, 2_000];

export interface ReconnectOptions<Found> {
  url: URL;
  /** What the server is shown as the connection's owner. */
  applicationName: string;
  /** The server, in the log. */
  where: string;
  clock: Clock;
  log: Log;
  /** Makes a connection ready for use; what it throws ends the connection. */
  prepare(connection: PostgresConnection, first: boolean): Promise<Found>;
  /** The server notified of a change. */
  onNotification(payload: string): void;
  /** The connection broke; another is being dialled. */
  onLost(): void;
  /** Another connection is there. */
  onBack(found: Found): void;
}

/** One connection to a server, dialled again for ever once it was there. */
export interface Reconnecting<Found> {
  /** Null while there is none. */
  readonly connection: PostgresConnection | null;
  /** Why there is none, or was none last. */
  readonly why: string;
  /** Another connection is being made, not because the server went away. */
  readonly mending: boolean;
  /** Dials for the first time; whoever does decides what a failure means. */
  open(): Promise<Found>;
  /** A connection is no longer used: whatever went wrong on it is not looked into. */
  lose(from: PostgresConnection, detail: string): void;
  /** Puts another connection in the place of one on which something went wrong. */
  replace(from: PostgresConnection, onThere: (found: Found) => void): Promise<void>;
  /** Hands the connection over to whoever ends it; it isn't used here any more. */
  take(): PostgresConnection | null;
  /** @param reason - what a connection that is only being made fails with */
  stop(reason: Error): void;
}

export function createReconnecting<Found>(options: ReconnectOptions<Found>): Reconnecting<Found> {
  const { url, applicationName, where, clock, log } = options;
  let connection: PostgresConnection | null = null;
  let why = 'it was not reached yet';
  let downSince = clock.monotonic();
  let retry: Timer | null = null;
  let attempts = 0;
  let mending = false;
  let stopped: Error | null = null;

  async function connect(first: boolean): Promise<Found> {
    let fresh: PostgresConnection | null = null;
    // A network that swallows everything would keep us waiting, and from dialling again.
    const late = clock.after(OPEN_MS, () => fresh?.destroy());
    try {
      fresh = await connectPostgres({
        url,
        applicationName,
        onLost: (detail) => {
          if (fresh !== null) lose(fresh, detail);
        },
        onNotification: options.onNotification,
      });
      const found = await options.prepare(fresh, first);
      if (stopped !== null) throw stopped;
      connection = fresh;
      return found;
    } catch (error) {
      fresh?.destroy();
      throw error;
    } finally {
      late.cancel();
    }
  }

  function lose(from: PostgresConnection, detail: string): void {
    from.destroy();
    if (connection !== from) return;
    connection = null;
    why = detail;
    downSince = clock.monotonic();
    log.error('the outbox is not reachable; pushes are refused meanwhile', { server: where, why });
    options.onLost();
    again();
  }

  function again(): void {
    if (retry !== null || stopped !== null) return;
    const delay = RETRY_MS[Math.min(attempts, RETRY_MS.length - 1)] ?? 0;
    attempts++;
    retry = clock.after(delay, () => {
      void reconnect().finally(() => {
        retry = null;
        if (connection === null) again();
      });
    });
  }

  async function reconnect(): Promise<void> {
    try {
      const found = await connect(false);
      attempts = 0;
      log.info('the outbox is reachable again', {
        server: where,
        ms: Math.round(clock.monotonic() - downSince),
      });
      options.onBack(found);
    } catch (error) {
      why = describeError(error);
      if (isSallyportError(error)) log.error('the outbox cannot be used', { server: where, why });
    }
  }

  return {
    get connection() {
      return connection;
    },
    get why() {
      return why;
    },
    get mending() {
      return mending;
    },
    open: () => connect(true),
    lose,
    async replace(from, onThere) {
      mending = true;
      from.destroy();
      connection = null;
      try {
        onThere(await connect(false));
      } catch (lost) {
        why = describeError(lost);
        downSince = clock.monotonic();
        again();
      } finally {
        mending = false;
      }
    },
    take() {
      const last = connection;
      connection = null;
      return last;
    },
    stop(reason) {
      stopped = reason;
      retry?.cancel();
      connection?.destroy();
      connection = null;
    },
  };
}

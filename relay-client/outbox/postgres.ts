import { randomBytes, randomUUID } from 'node:crypto';
import { systemClock } from '../../shared/clock.ts';
import type { Clock, Milliseconds } from '../../shared/clock.ts';
import { describeError, isSallyportError, SallyportError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import { createFront } from './front.ts';
import type { Front } from './front.ts';
import type { Carrier } from './front-calls.ts';
import { createIncarnation } from './ids.ts';
import type { RandomBytes } from './ids.ts';
import { CHANGING } from './ledger.ts';
import type { Arguments, Ledger, Method, Now } from './ledger.ts';
import { DEFAULT_OUTBOX_LIMITS } from './outbox.ts';
import type { Outbox, OutboxLimits } from './outbox.ts';
import { failureOf, serverName, uncertain, unavailable } from './postgres-client.ts';
import type { PostgresConnection } from './postgres-client.ts';
import { createPostgresLedger } from './postgres-ledger.ts';
import type { PostgresLedger } from './postgres-ledger.ts';
import { createCallQueue } from './postgres-queue.ts';
import type { Call } from './postgres-queue.ts';
import { createReconnecting } from './postgres-reconnect.ts';
import { openPostgresSealer, openPostgresStore } from './postgres-store.ts';
import type { FoundStore } from './postgres-store.ts';
import { createTransactions, Doubt } from './postgres-transactions.ts';
import type { RecordedChange } from './recent-changes.ts';
import { closed, noRoom, pushesWait } from './refusals.ts';
import type { Sealer } from './sealer.ts';

export interface PostgresOutboxOptions {
  /** The database, as `postgres://user:password@host:port/database?sslmode=…`. It holds one outbox. */
  url: URL;
  /** File of the keys that seal actions; every relay of the site has a copy. Made (0600) by the first one. */
  keyFile: string;
  /** This relay's name, for whoever looks at the server. */
  relay: string;
  clock: Clock;
  random: RandomBytes;
  log: Log;
  limits?: Partial<OutboxLimits>;
  /** Whether store time begins at the server's clock, so that all relays have one; default true. Else at `clock`. */
  serverTime?: boolean;
  /** How long what sessions came to, and who is in doubt, waits for a server that went away; default 30 s. */
  patience?: Milliseconds;
  /** Told once, when the database was put back in time under us: whoever runs the relay must then end it. */
  onFatal(error: Error): void;
  /** Told when accepted = ended + held does not hold, which is a fault of ours. */
  onViolation?: (what: string) => void;
}

const PATIENCE_MS: Milliseconds = 30_000;
/** How often the server is asked for the newest sequence where no notification came. */
const LOOK_MS = 1_000;

/**
 * Opens the outbox in a PostgreSQL database, which several relays of one site share. Calls go through one connection,
 * those that wait together in one transaction. A server that goes away is dialled again for ever.
 *
 * @throws SallyportError OUTBOX_UNAVAILABLE, OUTBOX_DAMAGED (also: written by a newer version), OUTBOX_KEY_MISSING,
 * KEY_INVALID, FILE_UNREADABLE, each naming the server or the key file
 */
export async function openPostgresOutbox(options: PostgresOutboxOptions): Promise<Outbox> {
  const { url, clock, random, log } = options;
  // The way to a real server takes real time, whatever the clock that messages live by.
  const wire = systemClock;
  const patience = options.patience ?? PATIENCE_MS;
  const limits = { ...DEFAULT_OUTBOX_LIMITS, ...options.limits };
  const where = serverName(url);
  const writer = randomUUID();
  const began = wire.monotonic();
  const queue = createCallQueue(where, limits.waiting);
  let doubt: { batch: number; calls: Call[]; settle(): void; since: number } | null = null;
  let ledger: PostgresLedger | null = null;
  let sealer: Sealer | null = null;
  let front: Front | null = null;
  let known = { seq: 0, incarnation: '' };
  let working: Promise<void> | null = null;
  let over: Error | null = null;
  let looking = false;

  const transactions = createTransactions({ clock: wire, writer, relay: options.relay });

  const server = createReconnecting<FoundStore>({
    url,
    applicationName: `sallyport-relay ${options.relay}`,
    where,
    clock: wire,
    log,
    async prepare(fresh, first) {
      const incarnation = createIncarnation(first ? random : randomBytes);
      const found = await openPostgresStore(fresh, { url, incarnation, writer, clock: wire, make: first });
      sealer ??= await openPostgresSealer(fresh, options.keyFile, where);
      ledger ??= createPostgresLedger(transactions.store, limits, sealer);
      return found;
    },
    onNotification(seq) {
      if (Number(seq) > known.seq) look();
    },
    onLost: () => queue.putOff(server.why),
    onBack(found) {
      const open = doubt;
      doubt = null;
      if (open !== null && found.batch >= open.batch) open.settle();
      else if (open !== null) queue.putBack(open.calls);
      saw(found.books);
      work();
    },
  });

  /** @param own - what this relay recorded last, and behind which sequence */
  function saw(
    books: { seq: number; incarnation: string; store_time: number },
    own?: { after: number; changes: readonly RecordedChange[] },
  ): void {
    const { seq, incarnation } = books;
    if (known.incarnation !== '' && seq < known.seq) {
      return fail(
        new SallyportError(
          'OUTBOX_STORAGE',
          `The outbox at PostgreSQL ${where} went back from change ${known.seq} to ${seq} while it was in use: was it ` +
            'restored? Starting again tells the proxies everything anew.',
        ),
      );
    }
    const renewed = known.incarnation !== '' && incarnation !== known.incarnation;
    // Others may have changed something in between, of which nothing was told here.
    const whole = own !== undefined && own.after === known.seq;
    known = { seq, incarnation };
    if (renewed) {
      log.warn('outbox has a new incarnation', { server: where, incarnation });
      front?.renewed(incarnation);
    }
    front?.committed(seq, whole ? own.changes : undefined, books.store_time);
  }

  function fail(error: SallyportError): void {
    if (over !== null) return;
    log.error('outbox failed', { server: where, code: error.code, error: error.message });
    stop(error);
    options.onFatal(error);
  }

  function stop(error: Error): void {
    over = error;
    upkeep.cancel();
    server.stop(error);
    queue.refuseAll(error);
    if (doubt !== null) for (const call of doubt.calls) call.reject(uncertain(where));
    doubt = null;
  }

  /** Learns what other relays have changed. */
  function look(): void {
    if (looking || over !== null || server.connection === null || front === null) return;
    looking = true;
    const seen = (): void => void (looking = false);
    enqueue('counts', { at: 0, wall: 0, ahead: 0 }, [], seen, seen);
  }

  function enqueue(
    method: Method,
    now: Now,
    args: readonly unknown[],
    resolve: (result: never) => void,
    reject: (error: Error) => void,
    note = false,
  ): void {
    if (over !== null) return reject(over);
    const call: Call = { method, now, args, since: wire.monotonic(), alone: false, note, resolve, reject };
    if (server.connection === null && !server.mending) return queue.later(call, server.why);
    queue.add(call);
    if (!note) work();
  }

  function work(): void {
    working ??= (async () => {
      // Calls of one turn of the event loop go into one transaction.
      await new Promise((resolve) => setImmediate(resolve));
      while (server.connection !== null && queue.length > 0) {
        await makeCalls(server.connection, queue.takeBatch());
      }
    })().finally(() => {
      working = null;
      if (server.connection !== null && queue.wanted()) work();
    });
  }

  async function makeCalls(on: PostgresConnection, calls: Call[]): Promise<void> {
    if (ledger === null) return;
    const changing = calls.some(({ method }) => CHANGING.has(method));
    try {
      const { answers, after } = await transactions.run(on, ledger, calls, changing);
      const miscount = changing ? ledger.miscount() : null;
      if (miscount !== null) {
        log.error('the outbox does not add up', { server: where, what: miscount });
        options.onViolation?.(miscount);
      }
      if (!changing) saw(ledger.books);
      answers.forEach((settle) => settle());
      if (changing) saw(ledger.books, { after, changes: ledger.recorded });
    } catch (error) {
      const cause = error instanceof Doubt ? error.cause : error;
      const failure = failureOf(cause);
      if (error instanceof Doubt && failure.kind === 'lost') {
        // The next connection finds out whether it took place.
        const settle = (): void => error.answers.forEach((each) => each());
        doubt = { batch: error.batch, calls, settle, since: wire.monotonic() };
        return server.lose(on, failure.detail);
      }
      if (failure.kind === 'lost') {
        queue.putFirst(calls);
        server.lose(on, failure.detail);
        return queue.putOff(server.why);
      }
      log.warn('a transaction of the outbox failed', {
        server: where,
        why: failure.detail,
        calls: calls.length,
      });
      if (calls.length > 1) {
        queue.putFirst(calls.map((call) => Object.assign(call, { alone: true })));
      } else {
        for (const call of calls) call.reject(meaningOf(failure));
      }
      // Nothing that an error leaves behind on a connection is used again.
      await server.replace(on, ({ books }) => saw(books));
      if (server.connection === null) queue.putOff(server.why);
    }
  }

  function meaningOf({ kind, detail }: ReturnType<typeof failureOf>): SallyportError {
    if (kind === 'full') return noRoom(`PostgreSQL ${where}`, detail);
    if (kind === 'wait') return pushesWait(where, detail);
    return new SallyportError('OUTBOX_STORAGE', `The outbox at PostgreSQL ${where} failed: ${detail}.`);
  }

  /** Once a second: asks for news, and lets nobody wait for ever. */
  function upkeepNow(): void {
    const now = wire.monotonic();
    if (server.connection !== null) return look();
    queue.giveUp(now - patience, server.why);
    if (doubt !== null && now - doubt.since >= patience) {
      for (const call of doubt.calls) call.reject(uncertain(where));
      doubt = null;
    }
  }

  const upkeep = wire.every(LOOK_MS, upkeepNow);
  let found: FoundStore;
  try {
    found = await server.open();
  } catch (error) {
    upkeep.cancel();
    if (isSallyportError(error)) throw error;
    throw unavailable(where, describeError(error));
  }
  const { books, renewed, dangers } = found;
  known = { seq: books.seq, incarnation: books.incarnation };

  const carrier: Carrier = {
    call: <M extends Method>(method: M, now: Now, args: Arguments<M>) =>
      new Promise<ReturnType<Ledger[M]>>((resolve, reject) => enqueue(method, now, args, resolve, reject)),
    carryNote: (now, args) => enqueue('note', now, args, ignore, ignore, true),
    async close(now) {
      if (over !== null) return;
      if (server.connection !== null)
        await new Promise((resolve) => enqueue('touch', now, [], resolve, resolve));
      while (working !== null) await working;
      const last = server.take();
      stop(closed());
      await last?.end();
      log.info('outbox closed', { server: where });
    },
  };

  front = createFront({
    carrier,
    opened: {
      incarnation: books.incarnation,
      time: { storeTime: books.store_time, wallAhead: books.wall_ahead },
      sequence: books.seq,
      ...(options.serverTime === false ? {} : { clock: serverClock(found.wallBase) }),
    },
    clock,
    random,
    limits,
  });
  for (const danger of dangers) log.error('the server of the outbox is not safe', { server: where, danger });
  if (renewed === 'restored') {
    log.warn('outbox is not the database that was last opened; a new incarnation begins', {
      server: where,
      incarnation: books.incarnation,
    });
  }
  log.info('outbox opened', {
    server: where,
    incarnation: books.incarnation,
    sequence: books.seq,
    held: books.held,
    ms: Math.round(wire.monotonic() - began),
  });
  return front.outbox;
}

/** The server's clock, as it was when we asked. */
function serverClock(wallBase: Milliseconds): Clock {
  return { ...systemClock, wall: () => wallBase + systemClock.monotonic() };
}

function ignore(): void {
  // A note may get lost.
}

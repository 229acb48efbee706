import type { Clock, Timer } from '../../shared/clock.ts';
import type { Arguments, Ledger, Method, Now } from './ledger.ts';
import type { OutboxLimits } from './outbox.ts';
import { busy, closed } from './refusals.ts';
import { createStoreTime } from './store-time.ts';
import type { KeptTime } from './store-time.ts';

/** Brings calls to a ledger, in order, and their results back once what they changed is durable. */
export interface Carrier {
  call<M extends Method>(method: M, now: Now, args: Arguments<M>): Promise<ReturnType<Ledger[M]>>;
  /** Takes a note along with the next call. */
  carryNote(now: Now, args: Arguments<'note'>): void;
  /** Waits for what was begun, remembers the time, and closes the store. */
  close(now: Now): Promise<void>;
}

/** Makes one call, which leaves with the time of that moment; rejects what there is no room for. */
export type CallLedger = <M extends Method>(
  method: M,
  args: Arguments<M>,
  bytes?: number,
) => Promise<ReturnType<Ledger[M]>>;

/** The way from an outbox to its carrier. */
export interface Calls {
  /** @throws SallyportError OUTBOX_BUSY, OUTBOX_CLOSED */
  call: CallLedger;
  /** Sends a note along with the next call, or by itself before long; drops it where too many wait. */
  note(args: Arguments<'note'>): void;
  /** Store time. */
  now: () => Now;
  /** @throws SallyportError OUTBOX_CLOSED */
  checkOpen(): void;
  close(): Promise<void>;
}

export interface CallsOptions {
  carrier: Carrier;
  /** The time that the store remembers, and by which clock it runs; default: `clock`. */
  opened: { time: KeptTime; clock?: Clock };
  clock: Clock;
  limits: Pick<OutboxLimits, 'waiting'>;
}

/** Bytes of actions that may wait for a commit; beyond it OUTBOX_BUSY. */
const WAITING_BYTES = 64 * 2 ** 20;

/** How long a note waits for a call to ride along with. */
const NOTE_WAIT_MS = 1000;

/** How often we look whether the wall clock was set forward, which the store must remember though nothing else is done. */
const CLOCK_LOOK_MS = 60_000;

/** By how much, at least: NTP slews by less in that time. */
const CLOCK_SET_MS = 1000;

/** Keeps the number of waiting calls, and their bytes, within limits, and gives each the time; see {@link createStoreTime}. */
export function createCalls({ carrier, opened, clock, limits }: CallsOptions): Calls {
  const now = createStoreTime(opened.clock ?? clock, opened.time);
  let waiting = 0;
  let waitingBytes = 0;
  let waitingNotes = 0;
  let noteTimer: Timer | null = null;
  let closing: Promise<void> | null = null;

  let lastAhead = now().ahead;
  const clockLooks = clock.every(CLOCK_LOOK_MS, () => {
    const { ahead } = now();
    if (ahead - lastAhead >= CLOCK_SET_MS) touch();
    lastAhead = ahead;
  });

  function checkOpen(): void {
    if (closing !== null) throw closed();
  }

  async function call<M extends Method>(method: M, args: Arguments<M>, bytes = 0) {
    checkOpen();
    if (waiting >= limits.waiting || (waitingBytes > 0 && waitingBytes + bytes > WAITING_BYTES)) {
      throw busy(limits.waiting);
    }
    waiting++;
    waitingBytes += bytes;
    notesLeave();
    try {
      return await carrier.call(method, now(), args);
    } finally {
      waiting--;
      waitingBytes -= bytes;
    }
  }

  /** What goes wrong with it is the carrier's to report; what it takes along was allowed to get lost. */
  function touch(): void {
    call('touch', []).catch(() => undefined);
  }

  /** Whatever call goes next takes the notes along. */
  function notesLeave(): void {
    noteTimer?.cancel();
    noteTimer = null;
    waitingNotes = 0;
  }

  return {
    call,
    note(args) {
      if (closing !== null || waitingNotes >= limits.waiting) return;
      carrier.carryNote(now(), args);
      waitingNotes++;
      noteTimer ??= clock.after(NOTE_WAIT_MS, () => {
        noteTimer = null;
        touch();
      });
    },
    now,
    checkOpen,
    close() {
      if (closing === null) {
        notesLeave();
        clockLooks.cancel();
        closing = carrier.close(now());
      }
      return closing;
    },
  };
}

import type { Clock, Milliseconds, Timer } from '../../shared/clock.ts';
import { SallyportError } from '../../shared/errors.ts';
import type { ErrorCode } from '../../shared/errors.ts';
import type { DeviceId } from '../../shared/device-id.ts';
import { compareRanks, rankOf } from '../device-order.ts';
import { createIdMaker, createIncarnation } from './ids.ts';
import type { RandomBytes } from './ids.ts';
import { CAMPAIGN_STEP, EXPIRE_STEP } from './ledger.ts';
import type {
  Arguments,
  HeldCursor,
  Ledger,
  Method,
  Now,
  PushRequest,
  RankQuery,
  Refusal,
} from './ledger.ts';
import type {
  Accepted,
  DeviceRecord,
  Incarnation,
  Message,
  Outbox,
  OutboxLimits,
  Push,
  Sequence,
} from './outbox.ts';
import { checkResults, clampLimit, clipFacts, clipText, pushRequest } from './push-request.ts';
import { createRecentChanges } from './recent-changes.ts';
import type { RecordedChange } from './recent-changes.ts';
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

/** What a store says of itself when it is opened. */
export interface Opened {
  incarnation: Incarnation;
  /** The time that it remembers. */
  time: KeptTime;
  /** By which store time runs; default: the front's clock. */
  clock?: Clock;
  sequence: Sequence;
}

/** An outbox, and how its carrier reports a commit to it. */
export interface Front {
  outbox: Outbox;
  /**
   * Called after each commit, after the promises of its calls were settled.
   *
   * @param changes - all that was recorded since the last one; left out where the store has to be asked for it
   * @param at - the time that the store remembers, where another relay's may be ahead of this one's; default 0
   */
  committed(seq: Sequence, changes?: readonly RecordedChange[], at?: Milliseconds): void;
  /** Called when another relay that shares the store has begun a new incarnation. */
  renewed(incarnation: Incarnation): void;
}

export interface FrontOptions {
  carrier: Carrier;
  opened: Opened;
  clock: Clock;
  random: RandomBytes;
  limits: OutboxLimits;
}

/** Pushes that go into one call of `pushMany`, by number and by bytes: single pushes wait no longer than this takes. */
const MANY_STEP = 500;
const MANY_STEP_BYTES = 4 * 2 ** 20;

/** Calls of one `pushMany` that are on their way at a time: while one is at the disk, the next is being made. */
const MANY_AHEAD = 2;

/** Steps that one `expire` takes at most. */
const EXPIRE_STEPS = 10;

/** Bytes of actions that may wait for a commit; beyond it OUTBOX_BUSY. */
const WAITING_BYTES = 64 * 2 ** 20;

/** How long a note waits for a call to ride along with. */
const NOTE_WAIT_MS = 1000;

/** How often we look whether the wall clock was set forward, which the store must remember though nothing else is done. */
const CLOCK_LOOK_MS = 60_000;

/** By how much, at least: NTP slews by less in that time. */
const CLOCK_SET_MS = 1000;

/**
 * Makes an outbox over a carrier: checks what it is given, names and stamps it, and keeps the number of waiting
 * calls within `limits.waiting`.
 *
 * Every call carries the time; see {@link createStoreTime}.
 */
export function createFront(options: FrontOptions): Front {
  const { carrier, clock, random, limits, opened } = options;
  const now = createStoreTime(opened.clock ?? clock, opened.time);
  const createId = createIdMaker(random);
  const recent = createRecentChanges(opened.sequence, limits.history);
  const listeners = new Set<(seq: Sequence) => void>();
  const renewals = new Set<() => void>();
  let incarnation = opened.incarnation;
  let sequence = opened.sequence;
  let storeTime = opened.time.storeTime;
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

  async function call<M extends Method>(method: M, args: Arguments<M>, bytes = 0) {
    if (closing !== null) throw closed();
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

  /** Ends step by step, so that pushes come between. What a later step can't do is left for the next time. */
  async function expire(): Promise<Message[]> {
    const ended = await call('expire', []);
    for (let step = 1, more = ended; step < EXPIRE_STEPS && more.length === EXPIRE_STEP; step++) {
      more = await call('expire', []).catch(() => []);
      ended.push(...more);
    }
    return ended;
  }

  /** Repeats a call that does a step of a campaign until nothing is left of it. Pushes come between. */
  async function inSteps(most: number, step: (done: number) => Promise<number>): Promise<number> {
    let done = 0;
    for (let last = CAMPAIGN_STEP; last === CAMPAIGN_STEP && done < most; done += last)
      last = await step(done);
    return done;
  }

  async function pushMany(pushes: Push[]): Promise<(Accepted | Error)[]> {
    if (closing !== null) throw closed();
    const results = new Array<Accepted | Error>(pushes.length);
    let next = 0;

    /** Takes the next pushes, up to a step's worth; those that are invalid get their error here. */
    const takeStep = (): { requests: PushRequest[]; places: number[]; bytes: number } => {
      const step = { requests: [] as PushRequest[], places: [] as number[], bytes: 0 };
      while (next < pushes.length && step.requests.length < MANY_STEP && step.bytes < MANY_STEP_BYTES) {
        const place = next++;
        try {
          const made = pushRequest(createId(clock.wall()), pushes[place] as Push);
          step.requests.push(made);
          step.places.push(place);
          step.bytes += made.bytes;
        } catch (error) {
          results[place] = asError(error);
        }
      }
      return step;
    };

    const carry = async (): Promise<void> => {
      for (let step = takeStep(); step.requests.length > 0; step = takeStep()) {
        let answers: (Accepted | Refusal | Error)[];
        try {
          answers = await call('pushMany', [step.requests], step.bytes);
        } catch (error) {
          answers = step.requests.map(() => asError(error));
        }
        step.places.forEach((place, i) => {
          const answer = answers[i] as Accepted | Refusal | Error;
          results[place] = 'code' in answer && !(answer instanceof Error) ? revive(answer) : answer;
        });
      }
    };
    await Promise.all(Array.from({ length: MANY_AHEAD }, carry));
    return results;
  }

  const outbox: Outbox = {
    get incarnation() {
      return incarnation;
    },
    push: async (push) => {
      const made = pushRequest(createId(clock.wall()), push);
      return call('push', [made], made.bytes);
    },
    pushMany,
    clear: (device, end) => call('clear', [device, end]),
    async end(id, { results, facts, failed, ...end }) {
      if (results !== undefined) checkResults(id, results);
      const more = {
        ...(results === undefined ? {} : { results }),
        ...(facts === undefined ? {} : { facts: clipFacts(facts) }),
        ...(failed === undefined ? {} : { failed }),
      };
      return call('end', [id, { ...end, ...more }], results?.length ?? 0);
    },
    async advance(id, { results, wait }) {
      checkResults(id, results);
      return call('advance', [id, { results, wait: Math.max(0, Math.ceil(wait)) }], results.length);
    },
    redrive: (id) => call('redrive', [id]),
    fruitless: (device, generation, limit, kind) =>
      call('fruitless', kind === undefined ? [device, generation, limit] : [device, generation, limit, kind]),
    expire,
    nextExpiry: () => call('nextExpiry', []),

    note(device, what, facts = {}, noteOptions = { session: false }) {
      if (closing !== null || waitingNotes >= limits.waiting) return;
      carrier.carryNote(now(), [device, clipText(what), clipFacts(facts), noteOptions.session]);
      waitingNotes++;
      noteTimer ??= clock.after(NOTE_WAIT_MS, () => {
        noteTimer = null;
        touch();
      });
    },

    message: (id) => call('message', [id]),
    nextActions: (device) => call('nextActions', [device]),
    awaited: (device) => call('awaited', [device]),
    overdue: (limit) => call('overdue', [clampLimit(limit)]),
    device: (device) => call('device', [device]),
    messages: (device, limit) => call('messages', [device, clampLimit(limit)]),
    deviceIds: (after, limit) => call('deviceIds', [after, clampLimit(limit)]),
    async devices(query) {
      const limit = Math.min(clampLimit(query.limit), 1000);
      const { order } = query;
      if (order !== undefined) return ranked({ ...query, order, limit });
      const devices: DeviceRecord[] = [];
      let cursor: DeviceId | null | undefined = query.cursor;
      do {
        const step = {
          ...query,
          limit: limit - devices.length,
          ...(cursor === undefined ? {} : { cursor }),
        };
        const found: { devices: DeviceRecord[]; next: DeviceId | null } = await call('scanDevices', [step]);
        devices.push(...found.devices);
        cursor = found.next;
      } while (cursor !== null && devices.length < limit);
      return { devices, next: cursor };
    },
    history: (query) => call('history', [{ ...query, limit: clampLimit(query.limit) }]),
    recentHistory: (device, limit) => call('recentHistory', [device, clampLimit(limit)]),
    counts: () => call('counts', []),
    campaign: (name) => call('campaign', [name]),
    park: (name) => inSteps(Infinity, () => call('park', [name])),
    release: (name, { spacing, most = Infinity }) =>
      inSteps(most, (from) =>
        call('release', [name, { spacing, from, most: Math.min(most - from, CAMPAIGN_STEP) }]),
      ),
    abandon: (name, by) => inSteps(Infinity, () => call('abandon', [name, by])),
    holdsCampaign: (name) => call('holdsCampaign', [name]),
    keepCampaign: (name, settings, former, told) =>
      call('keepCampaign', told === undefined ? [name, settings, former] : [name, settings, former, told]),
    campaignRecord: (name) => call('campaignRecord', [name]),
    campaigns: (after, limit) => call('campaigns', [after, clampLimit(limit)]),

    sequence: () => sequence,
    async refresh() {
      await call('counts', []);
      return sequence;
    },
    async changes(after, limit) {
      if (closing !== null) throw closed();
      const most = clampLimit(limit);
      return (
        recent.read(after, most, { seq: sequence, at: Math.max(now().at, storeTime) }) ??
        call('changes', [after, most])
      );
    },
    async *snapshot(limit) {
      let seq: Sequence | null = null;
      let cursor: HeldCursor | null = null;
      do {
        const page: Awaited<ReturnType<typeof call<'held'>>> = await call('held', [
          cursor,
          clampLimit(limit),
        ]);
        seq ??= page.seq;
        cursor = page.cursor;
        yield { seq, entries: page.entries };
      } while (cursor !== null);
    },
    onCommit(listener) {
      // A listener of its own for each registration, so that one given twice is stopped twice.
      const own = (seq: Sequence): void => listener(seq);
      listeners.add(own);
      return () => void listeners.delete(own);
    },

    onRenewed(listener) {
      const own = (): void => listener();
      renewals.add(own);
      return () => void renewals.delete(own);
    },

    async renew() {
      incarnation = await call('renew', [createIncarnation(random)]);
      return incarnation;
    },
    close() {
      if (closing === null) {
        notesLeave();
        clockLooks.cancel();
        closing = carrier.close(now());
      }
      return closing;
    },
  };

  /** The best of each step, merged: nothing is sorted that isn't shown, and pushes pass between two steps. */
  async function ranked(query: RankQuery): Promise<{ devices: DeviceRecord[]; next: DeviceId | null }> {
    const { limit, order } = query;
    // One more than wanted tells whether there is more.
    const most = limit + 1;
    let best: DeviceRecord[] = [];
    let cursor: DeviceId | null = null;
    do {
      const step: RankQuery = { ...query, limit: most, ...(cursor === null ? {} : { cursor }) };
      const found: { devices: DeviceRecord[]; next: DeviceId | null } = await call('rankDevices', [step]);
      best = [...best, ...found.devices]
        .sort((a, b) => compareRanks(rankOf(order, a), rankOf(order, b)))
        .slice(0, most);
      cursor = found.next;
    } while (cursor !== null);
    const devices = best.slice(0, limit);
    return { devices, next: best.length > limit ? (devices.at(-1)?.device ?? null) : null };
  }

  return {
    outbox,
    committed(seq, changes, at = 0) {
      storeTime = Math.max(storeTime, at);
      if (seq === sequence) return;
      sequence = seq;
      if (changes === undefined) recent.skip(seq);
      else recent.add(seq, changes);
      for (const listener of [...listeners]) listener(seq);
    },
    renewed(fresh) {
      incarnation = fresh;
      for (const listener of [...renewals]) listener();
    },
  };
}

/** Makes the error again that a ledger threw in another thread. */
export function revive(refusal: Refusal): SallyportError {
  return new SallyportError(refusal.code as ErrorCode, refusal.message);
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}

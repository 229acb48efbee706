import type { Clock, Milliseconds } from '../../shared/clock.ts';
import { createCalls } from './front-calls.ts';
import type { Carrier } from './front-calls.ts';
import { devicesPage } from './front-devices.ts';
import { pushInSteps } from './front-pushes.ts';
import { createIdMaker, createIncarnation } from './ids.ts';
import type { RandomBytes } from './ids.ts';
import { CAMPAIGN_STEP, EXPIRE_STEP } from './ledger.ts';
import type { HeldCursor } from './ledger.ts';
import type { Incarnation, Message, Outbox, OutboxLimits, Sequence } from './outbox.ts';
import { checkResults, clampLimit, clipFacts, clipText, pushRequest } from './push-request.ts';
import { createRecentChanges } from './recent-changes.ts';
import type { RecordedChange } from './recent-changes.ts';
import type { KeptTime } from './store-time.ts';

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

/** Steps that one `expire` takes at most. */
const EXPIRE_STEPS = 10;

/**
 * Makes an outbox over a carrier: checks what it is given, names and stamps it, and keeps the number of waiting
 * calls within `limits.waiting`.
 */
export function createFront(options: FrontOptions): Front {
  const { clock, random, limits, opened } = options;
  const calls = createCalls(options);
  const { call, now } = calls;
  const createId = createIdMaker(random);
  const recent = createRecentChanges(opened.sequence, limits.history);
  const listeners = new Set<(seq: Sequence) => void>();
  const renewals = new Set<() => void>();
  let incarnation = opened.incarnation;
  let sequence = opened.sequence;
  let storeTime = opened.time.storeTime;

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

  const outbox: Outbox = {
    get incarnation() {
      return incarnation;
    },
    push: async (push) => {
      const made = pushRequest(createId(clock.wall()), push);
      return call('push', [made], made.bytes);
    },
    async pushMany(pushes) {
      calls.checkOpen();
      return pushInSteps(call, pushes, (push) => pushRequest(createId(clock.wall()), push));
    },
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
      calls.note([device, clipText(what), clipFacts(facts), noteOptions.session]);
    },

    message: (id) => call('message', [id]),
    nextActions: (device) => call('nextActions', [device]),
    awaited: (device) => call('awaited', [device]),
    overdue: (limit) => call('overdue', [clampLimit(limit)]),
    device: (device) => call('device', [device]),
    messages: (device, limit) => call('messages', [device, clampLimit(limit)]),
    deviceIds: (after, limit) => call('deviceIds', [after, clampLimit(limit)]),
    devices: (query) => devicesPage(call, query),
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
      calls.checkOpen();
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
    close: calls.close,
  };

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

import type { Milliseconds } from '../../../shared/clock.ts';
import type { Plan } from '../world/plan.ts';
import type { AskedPush, CommittedEvent, Fact, Judge } from './facts.ts';
import type { DeliveryBook } from './deliveries.ts';
import type { SessionBook } from './sessions.ts';
import type { BookedMessage, Store, Stores } from './stores.ts';

type Breach = (promise: string, why: string) => void;

const KEY_MEMORY_MS = 24 * 3_600_000;
/** How long a message can be looked up after its end, at least. */
const ENDED_MEMORY_MS = 7 * 24 * 3_600_000;
/** Between what a client asks and what it changes: a commit, or a relay that stands still. */
const SLACK_MS = 15_000;
/** How long after its time a message may still be held where the disk has room: a check each second, and slack. */
const LATE_MS = 90_000;

const REFUSALS = new Set(['OUTBOX_FULL', 'OUTBOX_STORAGE', 'OUTBOX_BUSY', 'KEY_REUSED', 'CLOSED']);

/** Whether a push of the one may end the other: of actions only where that was asked for. */
const mayReplace = (newer: BookedMessage, older: BookedMessage): boolean =>
  newer.device === older.device &&
  newer.kind === older.kind &&
  newer.generation > older.generation &&
  (newer.kind === 'contact-me' || (newer.push?.replace ?? true));

const keyOf = ({ device, key }: AskedPush): string => `${device} ${key}`;

/** What outboxes promise: P1, P4 to P7, P9 to P11. It knows no more of them than clients and their history tell. */
export interface OutboxJudge extends Judge {
  /** Whether the message ended in any store. */
  ended(id: string): boolean;
  /** What the store of this run holds. */
  held(run: number): BookedMessage[];
}

export function createOutboxJudge(
  plan: Plan,
  stores: Stores,
  sessions: SessionBook,
  deliveries: DeliveryBook,
): OutboxJudge {
  const asked = new Map<number, { run: number; at: Milliseconds; least: Milliseconds; push: AskedPush }>();
  /** Up to which generation clears were asked for, by device: one that crossed a crash may be told of later. */
  const clears = new Map<string, number>();
  const clearAsks = new Map<number, number>();
  const cancels = new Set<string>();
  const everEnded = new Set<string>();
  /** Pushes that a run was asked for, and that it answered without accepting anything. */
  const tally = new Map<number, { asked: number; settled: number; accepted: number }>();
  /** Runs of which the first commit was told. */
  const begun = new Set<number>();
  let shortOfDisk = -Infinity;

  const tallyOf = (run: number): { asked: number; settled: number; accepted: number } => {
    const found = tally.get(run) ?? { asked: 0, settled: 0, accepted: 0 };
    tally.set(run, found);
    return found;
  };
  const heldIn = (store: Store): BookedMessage[] =>
    [...store.messages.values()].filter(({ state }) => state === 'held');
  const name = ({ device, generation, id }: BookedMessage): string =>
    `message ${id.slice(-6)} (${device}, generation ${generation})`;

  function accept(store: Store, event: CommittedEvent, now: Milliseconds, breach: Breach): void {
    const { device, generation, message: id } = event;
    if (id === null) return;
    if (store.messages.has(id)) return breach('P6', `message ${id} was accepted twice`);
    const newest = store.generations.get(device) ?? 0;
    if (generation !== newest + 1) {
      breach('P4', `generation ${generation} of ${device} follows ${newest}`);
    }
    store.generations.set(device, generation);
    const { least, most } = store.time(now);
    const from = { least: least - SLACK_MS, most };
    store.messages.set(id, {
      id,
      device,
      kind: event.why,
      generation,
      state: 'held',
      since: now - SLACK_MS,
      from,
      endedFrom: 0,
      push: null,
    });
    const told = pushes.get(id);
    if (told !== undefined) bind(store, id, told);
  }

  const pushes = new Map<string, { at: Milliseconds; least: Milliseconds; push: AskedPush }>();

  /** A client has heard that its push is this message: now it is known exactly since when. */
  function bind(
    store: Store,
    id: string,
    { at, least, push }: { at: number; least: number; push: AskedPush },
  ): void {
    const message = store.messages.get(id);
    if (message === undefined || message.push !== null) return;
    message.push = push;
    message.since = at;
    message.from = { least, most: message.from.most };
  }

  /** Why the message may have ended so; null = there is no reason. */
  function cause(
    message: BookedMessage,
    event: CommittedEvent,
    store: Store,
    now: Milliseconds,
  ): string | null {
    const { device, kind, generation, push, since } = message;
    const during = sessions
      .of(device)
      .filter(({ beganAt, reason }) => beganAt >= since && reason === 'solicited');
    switch (event.event) {
      case 'cleared':
        if (event.why === 'session') {
          const completed = during.some(({ completedAt }) => completedAt !== null);
          return kind === 'contact-me' && completed ? null : 'P7';
        }
        // Whether the phone has answered all of it is looked at where its results are.
        if (event.why === 'courier') return kind === 'dls' ? null : 'P7';
        return (clears.get(device) ?? -1) >= generation ? null : 'P4';
      case 'superseded':
        return [...store.messages.values()].some((newer) => mayReplace(newer, message)) ? null : 'P11';
      case 'expired':
        return push === null || store.time(now).most >= message.from.least + push.ttl ? null : 'P10';
      case 'cancelled':
        return cancels.has(message.id) ? null : 'P6';
      case 'dead': {
        const limit = plan.deadAfterSessions;
        const fruitless =
          kind === 'dls'
            ? deliveries.fruitless(device, since)
            : during.filter((session) => session.fruitless).length;
        return limit > 0 && fruitless >= limit ? null : 'P9';
      }
      default:
        return 'P6';
    }
  }

  function end(store: Store, event: CommittedEvent, fact: { old: boolean }, now: number, breach: Breach) {
    const message = store.messages.get(event.message ?? '');
    if (message === undefined) return breach('P6', `an unknown message ended as ${event.event}`);
    if (message.state !== 'held') {
      return breach('P6', `${name(message)} ended as ${event.event}, and before as ${message.state}`);
    }
    const broken = fact.old ? null : cause(message, event, store, now);
    if (broken !== null)
      breach(broken, `${name(message)} ended as ${event.event} by ${event.why}, without a reason`);
    message.state = event.event;
    message.endedFrom = store.told();
    everEnded.add(message.id);
  }

  function redrive(store: Store, event: CommittedEvent, now: Milliseconds, breach: Breach): void {
    const message = store.messages.get(event.message ?? '');
    if (message?.state !== 'dead') return breach('P9', `a message that is not dead was re-driven`);
    const newest = store.generations.get(event.device) ?? 0;
    if (event.generation !== newest + 1)
      breach('P4', `re-driven as generation ${event.generation} after ${newest}`);
    store.generations.set(event.device, event.generation);
    message.state = 'held';
    message.generation = event.generation;
    message.since = now - SLACK_MS;
    const { least, most } = store.time(now);
    message.from = { least: least - SLACK_MS, most };
    everEnded.delete(message.id);
  }

  function commit(fact: Extract<Fact, { what: 'commit' }>, now: Milliseconds, breach: Breach): void {
    const store = stores.of(fact.run);
    const count = tallyOf(fact.run);
    const first = !begun.has(fact.run);
    begun.add(fact.run);
    for (const event of fact.events) {
      if (event.seq <= store.seq) breach('P6', `history goes from ${store.seq} to ${event.seq}`);
      store.seq = event.seq;
      if (event.event === 'note' || event.event === 'deferred') continue;
      if (event.event === 'accepted') {
        accept(store, event, now, breach);
        if (!first) count.accepted += 1;
      } else if (event.event === 'redriven') redrive(store, event, now, breach);
      else end(store, event, fact, now, breach);
    }
    if (first) checkKept(store, breach);
    if (count.accepted + count.settled > count.asked) {
      breach(
        'P11',
        `of ${count.asked} pushes ${count.settled} were answered otherwise and ${count.accepted} accepted`,
      );
    }
    checkCounts(store, fact, breach);
    checkTimes(store, now, breach);
  }

  function checkKept(store: Store, breach: Breach): void {
    for (const id of store.acknowledged) {
      if (!store.messages.has(id))
        breach('P1', `message ${id} was accepted and is not there after a restart`);
    }
  }

  function checkCounts(store: Store, { counts }: Extract<Fact, { what: 'commit' }>, breach: Breach): void {
    const ended = Object.values(counts.ended).reduce((sum, each) => sum + each, 0);
    if (counts.accepted !== ended + counts.held) {
      breach('P6', `${counts.accepted} accepted are not ${ended} ended and ${counts.held} held`);
    }
    if (counts.held > plan.held) breach('P11', `${counts.held} messages are held where ${plan.held} may be`);
    const held = heldIn(store).length;
    if (counts.accepted !== store.messages.size || counts.held !== held) {
      breach(
        'P6',
        `the store counts ${counts.accepted} accepted and ${counts.held} held, its history ${store.messages.size} and ${held}`,
      );
    }
  }

  function checkTimes(store: Store, now: Milliseconds, breach: Breach): void {
    if (now - Math.max(shortOfDisk, store.runsSince()) < LATE_MS) return;
    for (const message of heldIn(store)) {
      const { push, from } = message;
      if (push === null || store.time(now).least < from.most + push.ttl + LATE_MS) continue;
      breach(
        'P10',
        `${name(message)} is held ${store.time(now).least - from.most - push.ttl} ms past its time`,
      );
      message.push = null;
    }
  }

  /** Whether this message must still stand for its key, whatever the clocks did. */
  function stillKnown(store: Store, id: string, now: Milliseconds): boolean {
    const message = store.messages.get(id);
    if (message === undefined || message.state === 'held') return true;
    return store.time(now).most - message.endedFrom < KEY_MEMORY_MS;
  }

  function accepted(fact: Extract<Fact, { what: 'push-accepted' }>, now: Milliseconds, breach: Breach): void {
    const { run, ask, message, known } = fact;
    const store = stores.of(run);
    const push = asked.get(ask)?.push;
    if (push === undefined) return;
    const key = keyOf(push);
    const before = push.key === null ? undefined : store.keys.get(key);
    if (known) {
      tallyOf(run).settled += 1;
      if (before !== undefined && before.id !== message.id && stillKnown(store, before.id, now)) {
        breach('P5', `key ${key} stands for another message than before`);
      }
      if (before?.id === message.id && before.push.content !== push.content) {
        breach('P5', `key ${key} was taken for known though its content is another`);
      }
      return;
    }
    if (before !== undefined && stillKnown(store, before.id, now)) {
      breach('P5', `a push with key ${key} was accepted a second time`);
    }
    store.acknowledged.add(message.id);
    if (push.key !== null) store.keys.set(key, { id: message.id, push });
    pushes.set(message.id, asked.get(ask)!);
    bind(store, message.id, asked.get(ask)!);
  }

  function refused(
    { run, ask, code }: Extract<Fact, { what: 'push-refused' }>,
    now: Milliseconds,
    breach: Breach,
  ) {
    const push = asked.get(ask)?.push;
    if (push === undefined) return;
    if (!REFUSALS.has(code)) return breach('P11', `a push was refused by ${code}`);
    // Of what a crash or a failed disk cut off, nobody knows what was done.
    if (code === 'OUTBOX_FULL' || code === 'KEY_REUSED') tallyOf(run).settled += 1;
    if (code === 'OUTBOX_FULL' && plan.held > plan.devices.length) {
      breach('P11', 'a push was refused as full where there is room');
    }
    if (code !== 'KEY_REUSED') return;
    const before = stores.of(run).keys.get(keyOf(push));
    if (
      before !== undefined &&
      before.push.content === push.content &&
      stillKnown(stores.of(run), before.id, now)
    ) {
      breach('P5', `the same push with key ${keyOf(push)} was refused`);
    }
  }

  function lookedUp(
    { run, id, state }: Extract<Fact, { what: 'looked-up' }>,
    now: Milliseconds,
    breach: Breach,
  ): void {
    const store = stores.of(run);
    const message = store.messages.get(id);
    if (message === undefined) return;
    if (state === null) {
      const mayBeForgotten =
        message.state !== 'held' && store.time(now).most - message.endedFrom > ENDED_MEMORY_MS;
      if (!mayBeForgotten) breach('P1', `${name(message)} is not found any more`);
      return;
    }
    if (message.state !== 'held' && message.state !== 'dead' && state !== message.state) {
      breach('P6', `${name(message)} ended as ${message.state} and is now ${state}`);
    }
  }

  return {
    ended: (id) => everEnded.has(id),
    held: (run) => heldIn(stores.of(run)),
    take(fact, now, breach) {
      switch (fact.what) {
        case 'fault':
          if (fact.name === 'disk-full') shortOfDisk = now;
          return;
        case 'push-asked': {
          const { least } = stores.of(fact.run).time(now);
          asked.set(fact.ask, { run: fact.run, at: now, least: least - 1, push: fact.push });
          tallyOf(fact.run).asked += 1;
          return;
        }
        case 'push-accepted':
          return accepted(fact, now, breach);
        case 'push-refused':
          return refused(fact, now, breach);
        case 'clear-asked': {
          const generation = fact.generation ?? Infinity;
          clears.set(fact.device, Math.max(clears.get(fact.device) ?? -1, generation));
          clearAsks.set(fact.ask, generation);
          return;
        }
        case 'cleared':
          for (const { generation } of fact.ended) {
            const upTo = clearAsks.get(fact.ask) ?? 0;
            if (generation > upTo)
              breach('P4', `clearing up to generation ${upTo} ended generation ${generation}`);
          }
          return;
        case 'cancel-asked':
          cancels.add(fact.id);
          return;
        case 'redrive-refused':
          if (fact.state === 'dead' && fact.code !== 'OUTBOX_FULL' && fact.code !== 'OUTBOX_STORAGE') {
            breach('P9', `a dead message could not be re-driven: ${fact.code}`);
          }
          return;
        case 'looked-up':
          return lookedUp(fact, now, breach);
        case 'commit':
          return commit(fact, now, breach);
        default:
      }
    },
  };
}

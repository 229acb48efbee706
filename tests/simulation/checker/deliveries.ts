import type { Milliseconds } from '../../../shared/clock.ts';
import type { ActionReply, AskedPush, Fact, Judge, SeenActions } from './facts.ts';
import { FILE_WAIT_MS, SOFTWARE_GAP_MS } from '../world/plan.ts';
import type { BookedMessage, Store, Stores } from './stores.ts';

type Breach = (promise: string, why: string) => void;
type Asked = Extract<Fact, { what: 'phone-asked' }> & { at: Milliseconds; storeTime: Milliseconds };

/** What was delivered of actions, and what phones said of them. */
export interface DeliveryBook extends Judge {
  /** Sessions of deliveries since then that did not get on, through the phone's doing. */
  fruitless(device: string, since: Milliseconds): number;
}

/** An action as it came out, of which this much is looked at. */
interface Result {
  action: string;
  status: string;
  why?: string;
  items: { value?: string }[];
}

/** What is known of one store's messages with actions. */
interface Shelf {
  /** Tags of actions of which the outbox has the phone's answer on disk, and since when that is known. */
  durable: Map<string, Milliseconds>;
  /** Since when it is known that a message is there, and that it is over. */
  there: Map<string, Milliseconds>;
  over: Map<string, Milliseconds>;
  /** The results that were looked at. */
  checked: Map<string, string>;
}

const DOCUMENT = /<Action>(WriteItems|ReadItems|Restart|FileDeployment|SoftwareDeployment)<\/Action>/;
const DEPLOYMENT = /Deployment$/;
/** Between what a phone says and what is made of it. */
const SLACK_MS = 2_000;
/** A message that lives no longer than this may end its wait early. */
const SHORT_LIFE_MS = 60_000;
const TAG = /\bt\d+-\d+\b/;
const NONCE = /<Message nonce="([^"]*)">/;

/** Follows each action by its tag: P7 of what the courier delivers, and that nothing stays undelivered. */
export function createDeliveryBook(stores: Stores): DeliveryBook {
  const shelves = new Map<Store, Shelf>();
  const asked = new Map<string, Asked>();
  const heard = new Set<string>();
  const pushes = new Map<number, AskedPush>();
  const jobs = new Map<string, AskedPush>();
  /** The tags of a message's actions, in their order. */
  const tags = new Map<string, string[]>();
  const messagesOf = new Map<string, Set<string>>();
  const replies = new Map<string, ActionReply[]>();
  const starts = new Map<string, Milliseconds>();
  /** The message that a session was sent an action of, last. */
  const led = new Map<string, string>();
  /** Sessions that were sent any action. */
  const sent = new Set<string>();
  /** The session that was begun last in a device's name. */
  const newest = new Map<string, string>();
  const idle = new Map<string, Milliseconds[]>();
  /** When somebody in the phone's name first accepted a deployment, and what was said later of how it came out. */
  const accepted = new Map<string, Milliseconds>();
  const outcomes = new Map<string, Set<string>>();
  /** When software was sent last, by run and device. */
  const software = new Map<string, { tag: string; at: Milliseconds }>();
  let run = 0;

  const shelfOf = (store: Store): Shelf => {
    const found = shelves.get(store) ?? {
      durable: new Map(),
      there: new Map(),
      over: new Map(),
      checked: new Map(),
    };
    shelves.set(store, found);
    return found;
  };

  const bookTags = (id: string, its: string[]): void => {
    tags.set(id, its);
    for (const tag of its) messagesOf.set(tag, (messagesOf.get(tag) ?? new Set()).add(id));
  };

  const heldIn = (store: Store): BookedMessage[] =>
    [...store.messages.values()].filter(({ kind, state }) => kind === 'dls' && state === 'held');

  function ask(fact: Extract<Fact, { what: 'phone-asked' }>, now: Milliseconds): void {
    const { nonce, session, device, reason, reply, outcome } = fact;
    if (outcome !== null)
      outcomes.set(outcome.tag, (outcomes.get(outcome.tag) ?? new Set()).add(outcome.status));
    if (reply?.status === 'accepted' && !accepted.has(reply.tag)) accepted.set(reply.tag, now);
    const storeTime = fact.run === 0 ? -Infinity : stores.of(fact.run).time(now).least;
    asked.set(nonce, { ...fact, at: now, storeTime });
    if (reason === 'start-up') starts.set(device, now);
    if (reason !== 'reply-to' && reason !== 'clean-up') newest.set(device, session);
    // Who goes on in a session that another has taken the place of may answer what the other was asked.
    const late = reason === 'reply-to' && newest.get(device) !== session;
    const odd = reason === 'clean-up' || reply?.status === 'confused';
    if (late || (odd && sent.has(session))) idle.set(device, [...(idle.get(device) ?? []), now]);
    if (reply?.status !== 'accepted' && reply?.status !== 'failed') return;
    replies.set(reply.tag, [...(replies.get(reply.tag) ?? []), reply]);
  }

  /** Whether somebody in the phone's name has said something of the action that may settle it. */
  function isSettled(tag: string, device: string): boolean {
    if (replies.has(tag)) return true;
    const action = jobs.get(tag)?.actions?.find((each) => each.tag === tag)?.action;
    return action === 'Restart' && starts.has(device);
  }

  const actionOf = (tag: string): string =>
    jobs.get(tag)?.actions?.find((each) => each.tag === tag)?.action ?? '';

  /** Whether a deployment's outcome is still to be waited for. */
  function isAwaited(tag: string, now: Milliseconds): boolean {
    const since = accepted.get(tag);
    if (since === undefined || !DEPLOYMENT.test(actionOf(tag)) || outcomes.has(tag)) return false;
    return now < since + FILE_WAIT_MS - SLACK_MS && (jobs.get(tag)?.ttl ?? 0) > SHORT_LIFE_MS;
  }

  function got({ nonce, body }: Extract<Fact, { what: 'phone-got' }>, now: number, breach: Breach): void {
    const request = asked.get(nonce);
    const text = body.toString('utf8');
    const tag = TAG.exec(text)?.[0];
    if (request === undefined || tag === undefined || !DOCUMENT.test(text)) return;
    const { device, session, reply } = request;
    sent.add(session);
    if (NONCE.exec(text)?.[1] !== nonce) breach('P7', `action ${tag} came with the nonce of another request`);
    const job = jobs.get(tag);
    if (job === undefined || job.device !== device) {
      return breach('P7', `${device} was sent action ${tag}, which is not its own`);
    }
    if (request.run === 0) return;
    const store = stores.of(request.run);
    const shelf = shelfOf(store);
    const its = (job.actions ?? []).map((each) => each.tag);
    if (actionOf(tag) === 'SoftwareDeployment') checkGap(`${request.run} ${device}`, tag, request.at, breach);
    for (const before of its.slice(0, its.indexOf(tag))) {
      if (!isSettled(before, device)) breach('P7', `action ${tag} was sent before ${before} was answered`);
      if (isAwaited(before, now))
        breach('P7', `action ${tag} was sent before the outcome of ${before} was known`);
    }
    // What a phone has answered is on disk before it hears the next action.
    if (reply !== null && reply.tag !== tag && (reply.status === 'accepted' || reply.status === 'failed')) {
      if (!shelf.durable.has(reply.tag)) shelf.durable.set(reply.tag, now);
    }
    const ids = [...(messagesOf.get(tag) ?? [])].filter((id) => store.messages.has(id));
    const [id] = ids;
    // The same key a day later makes a second message of the same actions.
    if (id === undefined || ids.length > 1) return;
    if ((shelf.durable.get(tag) ?? Infinity) < request.at) {
      breach('P7', `action ${tag} was sent again, though the phone's answer was on disk`);
    }
    if ((shelf.over.get(id) ?? Infinity) < request.at) {
      breach('P7', `action ${tag} was sent, though its message had ended`);
    }
    if (led.get(session) !== id) checkOrder(store, id, request, breach);
    led.set(session, id);
  }

  function checkGap(where: string, tag: string, at: Milliseconds, breach: Breach): void {
    const last = software.get(where);
    software.set(where, { tag, at });
    if (last === undefined || at - last.at >= SOFTWARE_GAP_MS - SLACK_MS) return;
    breach('P7', `software ${tag} was sent ${at - last.at} ms after ${last.tag}`);
  }

  /** Nothing older waits that may be delivered, too. */
  function checkOrder(store: Store, id: string, request: Asked, breach: Breach): void {
    const message = store.messages.get(id);
    if (message === undefined) return;
    const older = heldIn(store).find(
      (each) =>
        each.device === message.device &&
        each.generation < message.generation &&
        each.push !== null &&
        // One whose outcome is awaited, or that is put off, holds up nobody.
        !(each.push.actions ?? []).some(({ action }) => DEPLOYMENT.test(action)) &&
        each.from.most + each.push.delay <= request.storeTime &&
        (shelfOf(store).there.get(each.id) ?? Infinity) < request.at,
    );
    if (older === undefined) return;
    breach(
      'P7',
      `${message.device} was sent generation ${message.generation} before ${older.generation}, which waits`,
    );
  }

  function commit(fact: Extract<Fact, { what: 'commit' }>, now: Milliseconds, breach: Breach): void {
    const store = stores.of(fact.run);
    const shelf = shelfOf(store);
    for (const { message: id, event } of fact.events) {
      if (id === null || event === 'deferred') continue;
      if (event === 'accepted' || event === 'redriven') {
        shelf.there.set(id, now);
        shelf.over.delete(id);
      } else shelf.over.set(id, now);
    }
    for (const message of fact.held) {
      if (!tags.has(message.id) && message.actions !== null) {
        bookTags(message.id, message.actions.match(new RegExp(TAG, 'g')) ?? []);
      }
      checkResults(message, shelf, now, breach);
    }
    for (const { message: id, event, why } of fact.events) {
      const its = tags.get(id ?? '');
      if (id === null || event !== 'cleared' || why !== 'courier' || its === undefined || fact.old) continue;
      const seen = fact.held.find((each) => each.id === id);
      const answered = seen === undefined ? its.length : resultsOf(seen.results).length;
      if (answered < its.length) {
        breach('P7', `a message is done with ${answered} of its ${its.length} actions answered`);
      }
    }
  }

  function checkResults(
    { id, device, results }: SeenActions,
    shelf: Shelf,
    now: Milliseconds,
    breach: Breach,
  ): void {
    const its = tags.get(id);
    if (results === null || its === undefined || shelf.checked.get(id) === results) return;
    const found = resultsOf(results);
    const before = resultsOf(shelf.checked.get(id) ?? null).length;
    shelf.checked.set(id, results);
    if (found.length < before) breach('P7', `of ${before} answers to a message ${found.length} are left`);
    found.forEach((result, i) => {
      const tag = its[i];
      if (tag === undefined) return breach('P7', `a message has more results than actions`);
      if (!shelf.durable.has(tag)) shelf.durable.set(tag, now);
      const started = result.action === 'Restart' && result.why !== undefined && starts.has(device);
      const said = replies.get(tag)?.some(({ status, value }) => {
        const told = result.items[0]?.value ?? null;
        return status === wordFor(result.status) && (value === null || value === told);
      });
      const deployed = DEPLOYMENT.test(result.action);
      const outcome = outcomes.get(tag)?.has(result.status) === true;
      if (deployed && result.status === 'accepted')
        breach('P7', `nobody has waited for the outcome of ${tag}`);
      if (result.status === 'done' && !outcome)
        breach('P7', `${tag} counts as done, which no phone has said`);
      if (said !== true && !started && !(deployed && outcome)) {
        breach('P7', `action ${tag} of ${device} counts as ${result.status}, which no phone has said`);
      }
    });
  }

  return {
    fruitless: (device, since) => (idle.get(device) ?? []).filter((at) => at >= since).length,
    take(fact, now, breach) {
      switch (fact.what) {
        case 'relay-began':
          if (fact.relay === 'hq-1') run = fact.run;
          return;
        case 'push-asked':
          pushes.set(fact.ask, fact.push);
          for (const { tag } of fact.push.actions ?? []) jobs.set(tag, fact.push);
          return;
        case 'push-accepted': {
          const actions = pushes.get(fact.ask)?.actions;
          if (actions != null && !tags.has(fact.message.id)) {
            bookTags(
              fact.message.id,
              actions.map(({ tag }) => tag),
            );
          }
          return;
        }
        case 'phone-asked':
          return ask(fact, now);
        case 'service-heard':
          heard.add(fact.nonce);
          return;
        case 'phone-got':
          if (fact.whole && !heard.has(fact.nonce)) got(fact, now, breach);
          return;
        case 'commit':
          return commit(fact, now, breach);
        default:
      }
    },
    settled: () => run !== 0 && heldIn(stores.of(run)).length === 0,
    end(_now, breach) {
      for (const { device, generation } of heldIn(stores.of(run))) {
        breach('live', `actions of ${device} (generation ${generation}) were not delivered`);
      }
    },
  };
}

/** What a phone has said of an action that came out so, for a start. */
const wordFor = (status: string): string =>
  ['waiting', 'done', 'unconfirmed'].includes(status) ? 'accepted' : status;

const resultsOf = (text: string | null): Result[] =>
  text === null || text === '' ? [] : (JSON.parse(text) as Result[]);

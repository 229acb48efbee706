import assert from 'node:assert/strict';
import fc from 'fast-check';
import t from 'tap';
import type {
  ConnectionObserver,
  Exchange,
  RawHeaders,
  UnreadExchange,
} from '../../../relay-client/services/observer.ts';
import type { SessionListener, WatchedSession } from '../../../relay-client/watcher/session-events.ts';
import { createWatcher } from '../../../relay-client/watcher/watcher.ts';
import type { Watcher } from '../../../relay-client/watcher/watcher.ts';
import { parseDeviceId } from '../../../shared/device-id.ts';
import { silentLog } from '../../../shared/log.ts';
import { buildPhoneMessage, buildServiceMessage } from '../../../shared/wpi/build.ts';
import { createFakeClock } from '../../fixtures/fake-clock.ts';
import { seededRandom } from '../../fixtures/seeded-random.ts';
import { NONCE, phoneOrigin } from './harness.ts';

/**
 * Honest phones behind one address, each with one conversation at a time, in any order of events: messages, answers,
 * closed connections, lost answers, waiting, messages and answers that nobody reads, replies that are said again or
 * come before their question counts as delivered, a relay that starts anew. Whatever happens, nothing may be said of
 * a phone that another one did, and where nobody can know whose a message is, that is told.
 */
type Deed =
  | { deed: Act; phone: number }
  | { deed: 'answer'; phone: number; answer: Answer }
  | { deed: 'wait'; ms: number }
  | { deed: 'restart' };
type Act =
  | 'begin'
  | 'reply'
  /** A reply that is too big to be read. */
  | 'big reply'
  | 'clean-up'
  | 'reconnect'
  /** It forgets what it was asked. */
  | 'give up'
  /** It closes its connection between two messages. */
  | 'leave'
  | 'deliver'
  /** The phone has the answer and comes back, before anybody tells that it was delivered. */
  | 'hurry'
  /** That is told now. */
  | 'catch up'
  | 'lose'
  | 'garbage';
type Answer =
  | 'ReadItems'
  | 'WriteItems'
  /** Too big to be read. */
  | 'WriteItems unread'
  /** The phone understands it, and nobody else does. */
  | 'WriteItems hidden'
  | 'CleanUp'
  | 'CleanUp again'
  | 'CleanUp overload'
  | 'empty'
  | 'error'
  | 'unreadable';

/** Small tables are quickly made. */
const SMALL = { sessions: 20, devices: 20, sharedCookies: 20, doubtfulAddresses: 20 };

const PHONES = 3;
const phone = fc.nat(PHONES - 1);
const plain: Answer[] = ['ReadItems', 'ReadItems', 'WriteItems', 'CleanUp', 'empty'];
const odd: Answer[] = [
  'WriteItems unread',
  'WriteItems hidden',
  'CleanUp again',
  'CleanUp overload',
  'error',
  'unreadable',
];
const acts = (weight: number, ...of: Act[]): { weight: number; arbitrary: fc.Arbitrary<Deed> } => ({
  weight,
  arbitrary: fc.record({ deed: fc.constantFrom(...of), phone }),
});
const answered = (weight: number, of: Answer[]): { weight: number; arbitrary: fc.Arbitrary<Deed> } => ({
  weight,
  arbitrary: fc.record({
    deed: fc.constant('answer' as const),
    phone,
    answer: fc.constantFrom(...of),
  }),
});
const calm = [
  acts(20, 'begin', 'reply', 'reply'),
  answered(10, plain),
  acts(15, 'deliver'),
  acts(10, 'leave', 'leave', 'hurry'),
  acts(4, 'catch up', 'clean-up'),
];
const rough = [
  answered(10, odd),
  acts(6, 'reconnect', 'lose', 'garbage', 'big reply'),
  {
    weight: 2,
    arbitrary: fc.record({
      deed: fc.constant('wait' as const),
      ms: fc.constantFrom(1_000, 59_000, 61_000, 301_000),
    }),
  },
  { weight: 1, arbitrary: fc.record({ deed: fc.constant('restart' as const) }) },
];

/** How upstream and a phone handle cookies. */
interface Way {
  sets: 'own' | 'shared' | 'both' | 'none';
  echoes: 'whole' | 'pair' | 'never';
}
const ways = fc.array(
  fc.record<Way>({
    sets: fc.constantFrom('own', 'shared', 'both', 'none'),
    echoes: fc.constantFrom('whole', 'pair', 'never', 'never'),
  }),
  { minLength: PHONES, maxLength: PHONES },
);
const LONG = { minLength: 40, maxLength: 90, size: 'max' } as const;
/** What leaves doubt behind is left out of half of them, or nobody would ever be known by its address. */
const story = fc.oneof(fc.array(fc.oneof(...calm), LONG), fc.array(fc.oneof(...calm, ...rough), LONG));

/** What happened in stories. */
interface Tally {
  completed: number;
  /** Replies without a cookie on a connection of their own. */
  bare: number;
  /** Those of them that were known all the same. */
  known: number;
  unknown: number;
}

/** Plays a story. @throws AssertionError where anything is said of a phone that it did not do */
function play(deeds: readonly Deed[], cookieWays: readonly Way[], tally: Tally, mixUp = false): void {
  const clock = createFakeClock();
  const open = new Map<string, WatchedSession>();
  const seen = new Set<string>();
  /** The phone whose call the watcher is answering now. */
  let speaking: number | null = null;
  let mayComplete = false;
  let warnings = 0;
  let starts = 0;
  let restarted = Infinity;
  const mine = (session: WatchedSession): void => {
    assert.equal(session.device, speaking === null ? session.device : deviceOf(speaking));
  };
  const listener: SessionListener = {
    began(session) {
      assert(!seen.has(session.id));
      seen.add(session.id);
      open.set(session.id, session);
      mine(session);
    },
    answered(session) {
      assert(open.has(session.id));
      mine(session);
    },
    ended(session, outcome) {
      assert(open.delete(session.id), 'ended once, after it began');
      if (outcome === 'cut') return;
      mine(session);
      assert(session.answered);
      if (outcome !== 'completed') return;
      assert(mayComplete, 'completed only by an answer that completes, once it is delivered');
      tally.completed += 1;
    },
    warn: () => void (warnings += 1),
  };
  const start = (): Watcher =>
    createWatcher({
      listener,
      clock,
      random: seededRandom((starts += 1)),
      log: silentLog,
      contactMeAddress: () => null,
      limits: SMALL,
      resumed: starts > 1,
    });
  let watcher = start();
  const phones = cookieWays.map((way, n) => createPhone(n, way, () => watcher));
  for (const deed of deeds) {
    if (deed.deed === 'wait') {
      clock.advance(deed.ms);
      // A phone that takes longer than a minute to come back to another run begins anew.
      if (clock.monotonic() < restarted + 60_000) continue;
      for (const each of phones) each.act('give up');
      restarted = Infinity;
      continue;
    }
    if (deed.deed === 'restart') {
      const former = watcher;
      watcher = start();
      restarted = clock.monotonic();
      for (const each of phones) each.act('lose');
      former.close();
      continue;
    }
    const here = phones[deed.phone];
    assert(here !== undefined);
    if (mixUp) here.take(phones[0]?.cookie() ?? null);
    speaking = deed.phone;
    const before = warnings;
    if (deed.deed === 'answer') here.answer(deed.answer);
    else {
      mayComplete = here.completing(deed.deed);
      const said = here.act(deed.deed);
      if (said !== null) {
        assert(said.device === null || said.device === deviceOf(deed.phone), 'nobody is taken for another');
        assert(said.device !== null || warnings > before, 'who is not known is counted');
        if (said.device === null) tally.unknown += 1;
        if (said.bare) tally[said.device === null ? 'bare' : 'known'] += 1;
      }
    }
    speaking = null;
  }
  watcher.close();
  assert.equal(open.size, 0, 'all that began has ended');
  assert.equal(watcher.sessions(), 0);
}

t.test('whatever the order of events, sessions belong to the phone that spoke, or to nobody', async (t) => {
  const tally: Tally = { completed: 0, bare: 0, known: 0, unknown: 0 };
  fc.assert(
    fc.property(story, ways, (deeds, cookieWays) => play(deeds, cookieWays, tally)),
    { numRuns: 1500 },
  );
  t.ok(tally.completed > 100, `sessions completed: ${tally.completed}`);
  t.ok(tally.known > 5, `phones without a cookie that were known by their address: ${tally.known}`);
  t.ok(tally.bare > 5, `and that were not: ${tally.bare}`);
  t.ok(tally.unknown > 100, `messages of nobody known, each counted: ${tally.unknown}`);
});

t.test('the same check finds a phone that is taken for another', async (t) => {
  const tally: Tally = { completed: 0, bare: 0, known: 0, unknown: 0 };
  // Phones that send each other's cookies: what no watcher can see through.
  const mixedUp = fc.property(story, (deeds) =>
    play(deeds, Array<Way>(PHONES).fill({ sets: 'own', echoes: 'whole' }), tally, true),
  );
  t.equal(fc.check(mixedUp, { numRuns: 200 }).failed, true);
});

function macOf(n: number): string {
  return `00:1A:E8:00:00:0${n + 1}`;
}

function deviceOf(n: number): string | null {
  return parseDeviceId(macOf(n));
}

/** What the watcher made of a message. */
interface Said {
  device: string | null;
  /** A reply without a cookie, the first on its connection. */
  bare: boolean;
}

interface Running {
  exchange: Exchange | null;
  unread: UnreadExchange | null;
  kind: 'begin' | 'reply' | 'clean-up' | 'garbage';
  /** The Action that it replies to. */
  action: string | null;
  busy: boolean;
  answer: Answer | null;
}

/** A phone, its connection, and what upstream answers it. */
function createPhone(n: number, way: Way, watcher: () => Watcher) {
  const connect = (): ConnectionObserver => watcher().connection(phoneOrigin('192.0.2.1'));
  let connection = connect();
  let jar: string | null = null;
  let owed: string | null = null;
  let fresh = true;
  let current: Running | null = null;
  /** Answers that the phone has, and of which that is not told yet. */
  const trailing: { connection: ConnectionObserver; running: Running }[] = [];

  const keep = (headers: RawHeaders): void => {
    for (let at = 0; at + 1 < headers.length; at += 2) {
      const value = headers[at + 1] ?? '';
      if (headers[at] === 'Set-Cookie' && way.echoes !== 'never') {
        jar = way.echoes === 'whole' ? value : (value.split(';')[0] ?? null);
      }
    }
  };
  const send = (body: Buffer | null, kind: Running['kind'], action: string | null = null): Said => {
    const headers = jar === null ? [] : ['Cookie', jar];
    const bare = fresh && jar === null && kind === 'reply';
    const busy = action === 'WriteItems';
    fresh = false;
    current = { exchange: null, unread: null, kind, action, busy, answer: null };
    if (body === null) {
      current.unread = connection.unread({ method: 'POST', path: '/', headers, reason: 'size' });
      return { device: null, bare: false };
    }
    current.exchange = connection.message({ path: '/', headers, body });
    return { device: current.exchange.device, bare };
  };
  const drop = (): void => {
    current?.exchange?.cut('phone');
    current = null;
    connection.closed('ended');
    connection = connect();
    fresh = true;
  };
  /** What the phone makes of an answer. */
  const receive = ({ answer, action, kind }: Running): void => {
    const [asked = ''] = answer?.split(' ') ?? [];
    const again = answer === 'CleanUp overload' || answer === 'error';
    owed =
      asked === 'ReadItems' || asked === 'WriteItems' ? asked : again && kind === 'reply' ? action : null;
  };

  return {
    cookie: () => jar,
    take: (cookie: string | null) => void (jar = cookie),
    completing(deed: Act): boolean {
      const running = deed === 'catch up' ? trailing[0]?.running : current;
      if (running?.kind === 'clean-up' || running?.busy === true) return false;
      return running?.answer === 'CleanUp' || running?.answer === 'empty';
    },
    act(deed: Act): Said | null {
      if (deed === 'reconnect' || deed === 'lose') {
        drop();
      } else if (deed === 'give up') {
        owed = null;
      } else if (deed === 'leave') {
        if (current === null) drop();
      } else if (deed === 'deliver') {
        if (current?.answer == null) return null;
        const running: Running = current;
        current = null;
        running.exchange?.delivered();
        receive(running);
      } else if (deed === 'hurry') {
        if (current?.answer == null) return null;
        trailing.push({ connection, running: current });
        receive(current);
        current = null;
        connection = connect();
        fresh = true;
      } else if (deed === 'catch up') {
        const late = trailing.shift();
        late?.running.exchange?.delivered();
        late?.connection.closed('ended');
      } else if (current !== null) {
        return null;
      } else if (deed === 'garbage') {
        return send(Buffer.from('<nothing'), 'garbage');
      } else if (deed === 'begin') {
        owed = null;
        const items = [{ name: 'mac-addr', value: macOf(n) }];
        return send(buildPhoneMessage({ nonce: NONCE, reason: 'solicited', items }), 'begin');
      } else if (owed !== null) {
        const action = owed;
        owed = null;
        if (deed === 'big reply') return send(null, 'reply', action);
        if (deed === 'clean-up') {
          return send(buildPhoneMessage({ nonce: NONCE, reason: 'clean-up' }), 'clean-up');
        }
        const status = action === 'WriteItems' ? 'busy' : 'accepted';
        return send(buildPhoneMessage({ nonce: NONCE, reason: 'reply-to', action, status }), 'reply', action);
      }
      return null;
    },
    answer(answer: Answer): void {
      if (current === null || current.answer !== null) return;
      current.answer = answer;
      const headers = [
        ...(way.sets === 'own' || way.sets === 'both' ? ['Set-Cookie', `S=${n}; Path=/x; Secure`] : []),
        ...(way.sets === 'shared' || way.sets === 'both' ? ['Set-Cookie', 'NODE=1'] : []),
      ];
      const status = answer === 'error' ? 500 : 200;
      keep(headers);
      if (current.exchange === null) return current.unread?.answered({ status, headers });
      if (answer === 'WriteItems unread') return current.exchange.answeredUnread({ status, headers });
      const added = current.exchange.answered({ status, headers, body: bodyOf(answer) });
      keep('body' in added ? added.headers : added);
    },
  };
}

function bodyOf(answer: Answer): Buffer {
  const [action = '', how] = answer.split(' ');
  if (answer === 'unreadable') return Buffer.from('<html>');
  if (answer === 'empty' || answer === 'error') return Buffer.alloc(0);
  const items =
    how === 'again'
      ? [{ name: 'send-solicited', value: 'true' }]
      : how === 'overload'
        ? [{ name: 'cleanup-reason', value: 'overload' }]
        : [];
  const document = buildServiceMessage({ nonce: NONCE, action, items });
  if (how !== 'hidden') return document;
  return Buffer.from(document.toString().replace('?>', '?><!DOCTYPE DLSMessage>'));
}

t.test('hostile messages never make the watcher throw, and leave nothing behind', async (t) => {
  const text = fc.oneof(
    fc.string({ maxLength: 30 }),
    fc.constantFrom('00:1A:E8:00:00:01', '__proto__', 'constructor', '<', '&amp;'),
  );
  const message = fc
    .record({
      nonce: text,
      reason: fc.oneof(text, fc.constantFrom('solicited', 'reply-to', 'clean-up')),
      action: text,
      mac: text,
      cookie: text,
    })
    .map(({ nonce, reason, action, mac, cookie }) => ({
      body: Buffer.from(
        `<WorkpointMessage><Message nonce="${nonce}"><ReasonForContact action="${action}">${reason}</ReasonForContact>` +
          `<ItemList><Item name="mac-addr">${mac}</Item></ItemList></Message></WorkpointMessage>`,
      ),
      cookie,
    }));
  fc.assert(
    fc.property(
      fc.array(message, { maxLength: 20 }),
      fc.array(fc.uint8Array({ maxLength: 60 })),
      (messages, answers) => {
        const clock = createFakeClock();
        let open = 0;
        const listener: SessionListener = {
          began: () => (open += 1),
          answered: () => undefined,
          ended: () => (open -= 1),
          warn: () => undefined,
        };
        const watcher = createWatcher({
          listener,
          clock,
          random: seededRandom(3),
          log: silentLog,
          contactMeAddress: () => 'http://x/',
          limits: SMALL,
        });
        messages.forEach(({ body, cookie }, n) => {
          const connection = watcher.connection(phoneOrigin(`192.0.2.${n % 3}`));
          const exchange = connection.message({
            path: '/',
            headers: ['Cookie', cookie, 'cookie', `sallyport=${cookie}`],
            body,
          });
          exchange.answered({
            status: 200,
            headers: ['set-cookie', cookie],
            body: Buffer.from(answers[n] ?? []),
          });
          if (n % 2 === 0) exchange.delivered();
          connection.closed('cut');
        });
        clock.advance(400_000);
        assert.equal(watcher.sessions(), 0);
        assert.equal(open, 0);
      },
    ),
    { numRuns: 150 },
  );
  t.pass('none threw');
});

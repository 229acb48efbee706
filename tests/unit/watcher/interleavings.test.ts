import assert from 'node:assert/strict';
import fc from 'fast-check';
import t from 'tap';
import type { RawHeaders } from '../../../relay-client/services/observer.ts';
import type { SessionListener, WatchedSession } from '../../../relay-client/watcher/session-events.ts';
import { createWatcher } from '../../../relay-client/watcher/watcher.ts';
import { parseDeviceId } from '../../../shared/device-id.ts';
import { silentLog } from '../../../shared/log.ts';
import { buildPhoneMessage, buildServiceMessage } from '../../../shared/wpi/build.ts';
import { createFakeClock } from '../../fixtures/fake-clock.ts';
import { seededRandom } from '../../fixtures/seeded-random.ts';
import { NONCE, phoneOrigin } from './harness.ts';

/**
 * Honest phones behind one address, each with one conversation at a time, in any order of events: messages,
 * answers, closed connections, lost answers, waiting. Whatever happens, nothing may be said of a phone that
 * another one did.
 */
type Deed =
  | { deed: 'begin' | 'reply' | 'clean-up' | 'reconnect' | 'deliver' | 'lose' | 'garbage'; phone: number }
  | { deed: 'answer'; phone: number; answer: Answer }
  | { deed: 'wait'; ms: number };
type Answer = 'ReadItems' | 'WriteItems' | 'CleanUp' | 'CleanUp again' | 'empty' | 'error' | 'unreadable';

/** Small tables are quickly made. */
const SMALL = { sessions: 20, devices: 20, sharedCookies: 20, doubtfulAddresses: 20 };

const PHONES = 3;
const phone = fc.nat(PHONES - 1);
const answers: Answer[] = [
  'ReadItems',
  'ReadItems',
  'WriteItems',
  'CleanUp',
  'CleanUp again',
  'empty',
  'error',
  'unreadable',
];
const anyDeed: fc.Arbitrary<Deed> = fc.oneof(
  {
    weight: 20,
    arbitrary: fc.record({
      deed: fc.constantFrom('begin' as const, 'reply' as const, 'reply' as const),
      phone,
    }),
  },
  {
    weight: 15,
    arbitrary: fc.record({
      deed: fc.constant('answer' as const),
      phone,
      answer: fc.constantFrom(...answers),
    }),
  },
  { weight: 15, arbitrary: fc.record({ deed: fc.constant('deliver' as const), phone }) },
  { weight: 8, arbitrary: fc.record({ deed: fc.constant('reconnect' as const), phone }) },
  {
    weight: 3,
    arbitrary: fc.record({
      deed: fc.constantFrom('clean-up' as const, 'lose' as const, 'garbage' as const),
      phone,
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      deed: fc.constant('wait' as const),
      ms: fc.constantFrom(1_000, 59_000, 61_000, 301_000),
    }),
  },
);

/** How upstream and a phone handle cookies. */
const cookieWays = fc.record({
  sets: fc.constantFrom('own', 'shared', 'both', 'none'),
  echoes: fc.constantFrom('whole', 'pair', 'never'),
});

t.test(
  'whatever the order of events, sessions begin and end once, and belong to the phone that spoke',
  async (t) => {
    let completed = 0;
    let byAddress = 0;
    fc.assert(
      fc.property(
        fc.array(anyDeed, { minLength: 40, maxLength: 90, size: 'max' }),
        fc.array(cookieWays, { minLength: PHONES, maxLength: PHONES }),
        (deeds, ways) => {
          const clock = createFakeClock();
          const open = new Map<string, WatchedSession>();
          const seen = new Set<string>();
          /** The phone whose call the watcher is answering now. */
          let speaking: number | null = null;
          let mayComplete = false;
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
              completed += 1;
            },
            warn: () => undefined,
          };
          const watcher = createWatcher({
            listener,
            clock,
            random: seededRandom(7),
            log: silentLog,
            contactMeAddress: () => null,
            limits: SMALL,
          });
          const phones = ways.map((way, n) => createPhone(n, way, watcher));
          const speak = (n: number, run: () => void): void => {
            speaking = n;
            run();
            speaking = null;
          };
          for (const deed of deeds) {
            if (deed.deed === 'wait') {
              clock.advance(deed.ms);
              continue;
            }
            const here = phones[deed.phone];
            assert(here !== undefined);
            speak(deed.phone, () => {
              mayComplete = here.completing();
              if (deed.deed === 'answer') here.answer(deed.answer);
              else here.act(deed.deed);
            });
            if (here.returnedWithoutCookie()) byAddress += 1;
          }
          watcher.close();
          assert.equal(open.size, 0, 'all that began has ended');
          assert.equal(watcher.sessions(), 0);
        },
      ),
      { numRuns: 600 },
    );
    t.ok(completed > 100, `sessions completed: ${completed}`);
    t.ok(byAddress > 5, `phones came back without a cookie: ${byAddress}`);
  },
);

function macOf(n: number): string {
  return `00:1A:E8:00:00:0${n + 1}`;
}

function deviceOf(n: number): string | null {
  return parseDeviceId(macOf(n));
}

/** A phone, its connection, and what upstream answers it. */
function createPhone(
  n: number,
  way: { sets: string; echoes: string },
  watcher: ReturnType<typeof createWatcher>,
) {
  let connection = watcher.connection(phoneOrigin('192.0.2.1'));
  let jar: string | null = null;
  let owed: string | null = null;
  let fresh = true;
  let returned = false;
  let current: {
    exchange: ReturnType<typeof connection.message>;
    kind: string;
    busy: boolean;
    answer: Answer | null;
  } | null = null;

  const keep = (headers: RawHeaders): void => {
    for (let at = 0; at + 1 < headers.length; at += 2) {
      const value = headers[at + 1] ?? '';
      if (headers[at] === 'Set-Cookie' && way.echoes !== 'never') {
        jar = way.echoes === 'whole' ? value : (value.split(';')[0] ?? null);
      }
    }
  };
  const send = (body: Buffer, kind: string, busy = false): void => {
    const headers = jar === null ? [] : ['Cookie', jar];
    current = { exchange: connection.message({ path: '/', headers, body }), kind, busy, answer: null };
    fresh = false;
  };
  const drop = (): void => {
    if (current !== null) current.exchange.cut('phone');
    current = null;
    connection.closed('ended');
    connection = watcher.connection(phoneOrigin('192.0.2.1'));
    fresh = true;
  };

  return {
    returnedWithoutCookie: () => returned,
    completing(): boolean {
      if (current?.kind === 'clean-up' || current?.busy === true) return false;
      return current?.answer === 'CleanUp' || current?.answer === 'empty';
    },
    act(deed: string): void {
      returned = false;
      if (deed === 'reconnect') drop();
      else if (deed === 'lose') drop();
      else if (deed === 'deliver') {
        if (current?.answer == null) return;
        const { exchange, answer } = current;
        current = null;
        exchange.delivered();
        owed = answer === 'ReadItems' || answer === 'WriteItems' ? answer : null;
      } else if (current !== null) return;
      else if (deed === 'garbage') send(Buffer.from('<nothing'), 'garbage');
      else if (deed === 'begin') {
        owed = null;
        send(
          buildPhoneMessage({
            nonce: NONCE,
            reason: 'solicited',
            items: [{ name: 'mac-addr', value: macOf(n) }],
          }),
          'begin',
        );
      } else if (owed !== null && deed === 'reply') {
        returned = fresh && jar === null;
        const status = owed === 'WriteItems' ? 'busy' : 'accepted';
        send(
          buildPhoneMessage({ nonce: NONCE, reason: 'reply-to', action: owed, status }),
          'reply',
          status === 'busy',
        );
        owed = null;
      } else if (owed !== null && deed === 'clean-up') {
        send(buildPhoneMessage({ nonce: NONCE, reason: 'clean-up' }), 'clean-up');
        owed = null;
      }
    },
    answer(answer: Answer): void {
      if (current === null || current.answer !== null) return;
      current.answer = answer;
      const set = [
        ...(way.sets === 'own' || way.sets === 'both' ? ['Set-Cookie', `S=${n}; Path=/x; Secure`] : []),
        ...(way.sets === 'shared' || way.sets === 'both' ? ['Set-Cookie', 'NODE=1'] : []),
      ];
      const [action = '', again] = answer.split(' ');
      const items = again === undefined ? [] : [{ name: 'send-solicited', value: 'true' }];
      const body =
        answer === 'unreadable'
          ? Buffer.from('<html>')
          : answer === 'empty' || answer === 'error'
            ? Buffer.alloc(0)
            : buildServiceMessage({ nonce: NONCE, action, items });
      const added = current.exchange.answered({ status: answer === 'error' ? 500 : 200, headers: set, body });
      keep([...set, ...('body' in added ? added.headers : added)]);
    },
  };
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

import t from 'tap';
import type { Message } from '../../../relay-client/outbox/outbox.ts';
import { VERDICTS } from '../../../relay-client/why/facts.ts';
import type { WhyFacts } from '../../../relay-client/why/facts.ts';
import { OFFER_PATIENCE_MS, POLL_OVERDUE_MS } from '../../../relay-client/why/phone.ts';
import { why } from '../../../relay-client/why/why.ts';
import { span } from '../../../relay-client/words.ts';
import {
  device,
  linkedProxy,
  NOON,
  PROXY_URL,
  runningSession,
  wpiService,
} from '../../fixtures/fake-view.ts';

const PHONE = device('00:1a:e8:00:00:01');
const MINUTE = 60_000;
const record = { device: PHONE, generation: 1, pending: 1, dead: 0, lastSession: null };

function heldMessage(changes: Partial<Message> = {}): Message {
  return {
    id: 'm-1',
    device: PHONE,
    kind: 'contact-me',
    generation: 1,
    state: 'held',
    key: null,
    campaign: null,
    actions: null,
    results: null,
    awaitedFor: null,
    parked: false,
    failed: false,
    acceptedAt: NOON - MINUTE,
    endedAt: null,
    endedBy: null,
    dueIn: 0,
    expiresIn: 3_600_000,
    fruitlessSessions: 0,
    ...changes,
  };
}

/** A device with one message held for a minute, all links and services up, polled and told 202 ten seconds ago. */
function facts(changes: Partial<WhyFacts> = {}): WhyFacts {
  return {
    device: PHONE,
    now: NOON,
    record,
    messages: [heldMessage()],
    offeredSince: NOON - MINUTE,
    heldAt: [{ proxy: PROXY_URL, since: NOON - MINUTE, exact: true }],
    lastPoll: { device: PHONE, at: NOON - 10_000, status: 202, proxy: PROXY_URL },
    unknown: null,
    pollSecret: false,
    session: null,
    quietUntil: null,
    unproven: null,
    lesson: null,
    warnings: [],
    proxies: [linkedProxy()],
    services: [wpiService()],
    ...changes,
  };
}

const stranger = { record: null, messages: [], offeredSince: null, lastPoll: null };
const idle = { messages: [], offeredSince: null };
const down = linkedProxy({ state: 'down', why: 'connect ETIMEDOUT' });
const other = linkedProxy({ url: 'wss://other.example:9443' });

const cases: [string, string, Partial<WhyFacts>, RegExp][] = [
  ['a device that nobody knows', 'unknown', stranger, /never pushed to.*no proxy has seen it poll/],
  [
    'a device that polls and was never pushed to',
    'never-pushed',
    { ...stranger, unknown: { device: PHONE, at: NOON - 5000, address: '192.0.2.1', proxy: PROXY_URL } },
    /Nothing was ever pushed.*last polled 5 s ago/,
  ],
  [
    'a device known by its sessions only',
    'never-pushed',
    { ...stranger, record: { ...record, generation: 0, pending: 0 } },
    /Nothing was ever pushed/,
  ],
  [
    'a device whose last message was cleared',
    'nothing-pending',
    {
      offeredSince: null,
      messages: [heldMessage({ state: 'cleared', endedAt: NOON - 3 * MINUTE, endedBy: 'session' })],
    },
    /Nothing is pending.*3 min ago: cleared \(session\)/,
  ],
  ['a device whose messages were all forgotten', 'nothing-pending', idle, /Nothing is pending for \S+\.$/],
  [
    'a device with a dead message',
    'dead',
    {
      record: { ...record, pending: 0, dead: 1 },
      messages: [heldMessage({ state: 'dead', fruitlessSessions: 20 })],
    },
    /1 message ended dead after 20 sessions/,
  ],
  ['no proxy at all', 'no-link', { proxies: [] }, /none is configured/],
  ['every link down', 'no-link', { proxies: [down] }, /ETIMEDOUT/],
  [
    'the link to the proxy that the phone polls down',
    'no-link',
    { proxies: [down, other] },
    /polls wss:\/\/proxy\.example/,
  ],
  [
    'the service down',
    'upstream-down',
    { services: [wpiService(false)] },
    /service wpi cannot be reached: connect ECONNREFUSED/,
  ],
  [
    'a session running',
    'in-session',
    { session: runningSession(PHONE, { startedAt: NOON - 4000 }) },
    /solicited session.*4 s.*ReadItems/,
  ],
  ['proxies that lag', 'catching-up', { proxies: [linkedProxy({ lag: 7 })] }, /7 changes to go/],
  [
    'work for later',
    'not-before',
    { messages: [heldMessage({ dueIn: 5 * MINUTE })] },
    /2026-01-01T12:05:00.000Z, in 5 min/,
  ],
  ['the gap after a session', 'quiet', { quietUntil: NOON + 30_000 }, /another 30 s/],
  [
    'the gap after a session that did not complete',
    'not-completing',
    {
      quietUntil: NOON + 30_000,
      record: { ...record, lastSession: { at: NOON - 5_000, outcome: 'busy' } },
    },
    /came out as busy; the work is offered again, in 30 s at the earliest\.$/,
  ],
  [
    'an outcome that is awaited',
    'awaiting-outcome',
    { messages: [heldMessage({ kind: 'dls', dueIn: MINUTE, awaitedFor: MINUTE })] },
    /awaited for another 60 s at most/,
  ],
  [
    'actions behind an outcome that is awaited',
    'told',
    {
      messages: [
        heldMessage({ kind: 'dls', id: 'm-2' }),
        heldMessage({ kind: 'dls', dueIn: MINUTE, awaitedFor: MINUTE }),
      ],
    },
    /told 202/,
  ],
  [
    'actions while the service is down',
    'told',
    { messages: [heldMessage({ kind: 'dls' })], services: [wpiService(false)] },
    /told 202/,
  ],
  [
    'secrets for a phone that proves nothing',
    'unproven',
    {
      messages: [heldMessage({ kind: 'dls' })],
      unproven: { at: NOON - 5000, why: 'no client certificate' },
    },
    /kept from .*, last 5 s ago: no client certificate/,
  ],
  [
    'secrets that were put off because of it',
    'unproven',
    {
      messages: [heldMessage({ kind: 'dls', dueIn: 2 * MINUTE, awaitedFor: 2 * MINUTE })],
      unproven: { at: NOON - 5000, why: 'no client certificate' },
    },
    /no client certificate\. They are offered again in /,
  ],
  [
    'a refusal from before the push',
    'told',
    {
      messages: [heldMessage({ kind: 'dls' })],
      unproven: { at: NOON - 9 * MINUTE, why: 'no client certificate' },
    },
    /told 202/,
  ],
  ['a phone that never polled', 'never-polled', { lastPoll: null }, /has not polled any proxy/],
  [
    'a phone unheard of for long',
    'poll-overdue',
    { lastPoll: { device: PHONE, at: NOON - POLL_OVERDUE_MS - 1000, status: 200, proxy: PROXY_URL } },
    /last heard of 30 min ago/,
  ],
  [
    'a phone that has yet to poll since the push',
    'awaiting-poll',
    { lastPoll: { device: PHONE, at: NOON - 2 * MINUTE, status: 200, proxy: PROXY_URL } },
    /before the push/,
  ],
  [
    'a phone told 200 although work is due',
    'withheld',
    { lastPoll: { device: PHONE, at: NOON - 5000, status: 200, proxy: PROXY_URL } },
    /last told 200, 5 s ago/,
  ],
  ['a phone told 202 just now', 'told', {}, /told 202 10 s ago/],
  [
    'a phone told 202 that has gone silent',
    'told-not-coming',
    {
      offeredSince: NOON - 9 * MINUTE,
      lastPoll: { device: PHONE, at: NOON - 8 * MINUTE, status: 202, proxy: PROXY_URL },
    },
    /last 8 min ago, but opened no session/,
  ],
  [
    'a phone told 202 time and again',
    'told-not-coming',
    { offeredSince: NOON - OFFER_PATIENCE_MS - 1 },
    /since the push 10 min ago/,
  ],
  [
    'sessions that end busy',
    'not-completing',
    { record: { ...record, lastSession: { at: NOON - 5000, outcome: 'busy' } } },
    /5 s ago came out as busy/,
  ],
  [
    'sessions that were counted as fruitless',
    'not-completing',
    {
      messages: [heldMessage({ fruitlessSessions: 3 })],
      record: { ...record, lastSession: { at: NOON - 5000, outcome: 'service-error' } },
    },
    /service-error; 3 sessions did not complete it/,
  ],
  [
    'a device that only passes by unread',
    'blind',
    { services: [{ ...wpiService(), kind: 'tcp' }] },
    /told 202, 10 s ago; .* pass unread/,
  ],
  [
    'a device of a site whose phones reach the service by themselves',
    'blind',
    { proxies: [linkedProxy({ direct: true })], services: [wpiService(false)] },
    /told 202, 10 s ago; .* pass unread/,
  ],
  [
    'a device of such a site that never polled',
    'never-polled',
    { proxies: [linkedProxy({ direct: true })], lastPoll: null },
    /not polled any proxy/,
  ],
  [
    'a device that passes by unread, between its windows',
    'blind',
    {
      services: [{ ...wpiService(), kind: 'tcp' }],
      lastPoll: { device: PHONE, at: NOON - 5000, status: 200, proxy: PROXY_URL },
    },
    /told 200, 5 s ago; .* ten minutes in each hour/,
  ],
];

for (const [name, verdict, changes, sentence] of cases) {
  t.test(`${name}: ${verdict}`, async (t) => {
    const found = why(facts(changes));
    t.equal(found.verdict, verdict);
    t.match(found.sentence, sentence);
    t.notMatch(found.sentence, /\n|undefined|null|NaN/);
    if (verdict !== 'catching-up') t.match(found.sentence, PHONE, 'it names the device');
    if (verdict === 'nothing-pending') t.equal(found.advice, null, 'there is nothing to do');
    else t.match(found.advice, /^[A-Z].{15,}\.$/, 'it says what to do');
  });
}

t.test('whatever a session came to, the advice is about that', async (t) => {
  const advices = ['busy', 'again', 'overloaded', 'refused', 'phone-clean-up', 'service-error', 'cut'].map(
    (outcome) => {
      const lastSession = { at: NOON - 5000, outcome };
      const { verdict, advice } = why(facts({ record: { ...record, lastSession } }));
      t.equal(verdict, 'not-completing', outcome);
      return advice;
    },
  );
  t.equal(new Set(advices).size, advices.length, 'each its own');
  t.match(advices[2], /no room now.*--spread/);
});

t.test('where nobody can be taught, the advice says so', async (t) => {
  const { advice } = why(facts({ proxies: [linkedProxy({ direct: true })], lastPoll: null }));
  t.match(advice, /can teach nobody here.*sessions: direct/);
});

t.test('a 202 right after the push is not taken for one before it', async (t) => {
  const lastPoll = { device: PHONE, at: NOON - 20_030, status: 202, proxy: PROXY_URL } as const;
  t.not(why(facts({ lastPoll, offeredSince: NOON - 20_000 })).verdict, 'awaiting-poll');
  t.equal(why(facts({ lastPoll, offeredSince: NOON - 19_000 })).verdict, 'awaiting-poll');
  const told200 = { ...lastPoll, status: 200 } as const;
  t.equal(why(facts({ lastPoll: told200, offeredSince: NOON - 20_000 })).verdict, 'awaiting-poll');
});

t.test('every verdict has a case', async (t) => {
  t.same([...new Set(cases.map(([, verdict]) => verdict))].sort(), [...VERDICTS].sort());
});

t.test('what is wrong with all phones is said before what is wrong with one', async (t) => {
  const everything = { lastPoll: null, quietUntil: NOON + 1000, services: [wpiService(false)] };
  t.equal(why(facts({ ...everything, proxies: [down] })).verdict, 'no-link');
  t.equal(why(facts(everything)).verdict, 'upstream-down');
});

t.test('a session from before the push says nothing about it', async (t) => {
  const before = { record: { ...record, lastSession: { at: NOON - 5 * MINUTE, outcome: 'busy' } } };
  t.equal(why(facts(before)).verdict, 'told');
});

t.test('a service that is down does not matter while another of its kind is up', async (t) => {
  t.equal(why(facts({ services: [wpiService(false), wpiService(true)] })).verdict, 'told');
  t.equal(
    why(facts({ services: [wpiService(true), { ...wpiService(false), kind: 'tcp' }] })).verdict,
    'told',
  );
});

t.test('facts are flat and complete', async (t) => {
  t.match(why(facts()).facts, {
    pending: 1,
    generation: 1,
    message: 'm-1',
    last_poll_status: 202,
    last_poll_at: '2026-01-01T11:59:50.000Z',
    last_session_at: null,
    proxies_linked: 1,
    services_up: 1,
  });
});

t.test('lengths of time read as a person would say them', async (t) => {
  t.same([-5, 400, 89_000, 120_000, 5_400_000, 86_400_000, 3 * 86_400_000].map(span), [
    '0 s',
    '0 s',
    '89 s',
    '2 min',
    '2 h',
    '24 h',
    '3 days',
  ]);
});

t.test('polls without the right secret are told of, where one is wanted', async (t) => {
  const unknown = { device: PHONE, at: NOON - 5_000, address: '192.0.2.1', proxy: PROXY_URL };
  const before = { device: PHONE, at: NOON - 2 * MINUTE, status: 200 as const, proxy: PROXY_URL };
  const wrong = /not under its secret, were seen 5 s ago/;
  for (const lastPoll of [null, before, { ...before, at: NOON - POLL_OVERDUE_MS - 1_000 }]) {
    t.match(why(facts({ lastPoll, unknown, pollSecret: true })).advice, wrong);
    t.notMatch(why(facts({ lastPoll, unknown })).advice ?? '', wrong);
    const old = { ...unknown, at: NOON - 2 * MINUTE };
    t.notMatch(
      why(facts({ lastPoll, unknown: old, pollSecret: true })).advice ?? '',
      wrong,
      'before the push',
    );
  }
});

t.test('it says at which proxies the work stands and since when, and no more than is known', (t) => {
  const at = (heldAt: WhyFacts['heldAt'], changes: Partial<WhyFacts> = {}) =>
    why(facts({ heldAt, ...changes }));
  const here = { proxy: 'wss://a', since: NOON - 5 * MINUTE, exact: true };
  const both = { proxies: [linkedProxy({ url: 'wss://a' }), linkedProxy({ url: 'wss://b' })] };
  t.match(at([here]), {
    standing: /^At the proxies: wss:\/\/a has held it for 5 min/,
    facts: { at_proxies: 1, at_proxies_since: new Date(NOON - 5 * MINUTE).toISOString() },
  });
  t.match(at([here, { proxy: 'wss://b', since: NOON - 2_000, exact: true }], both), {
    standing: 'At the proxies: wss://a has held it for 5 min; wss://b has held it for 2 s.',
    facts: { at_proxies: 2, at_proxies_since: new Date(NOON - 2_000).toISOString() },
  });
  t.match(at([here, { proxy: 'wss://b', since: NOON - MINUTE, exact: false }], both), {
    standing: 'At the proxies: wss://a has held it for 5 min; wss://b has held it for 60 s or longer.',
    facts: { at_proxies: 2, at_proxies_since: null },
  });
  t.match(at([here, { proxy: 'wss://b', since: null, exact: false }], both), {
    standing: 'At the proxies: wss://a has held it for 5 min; wss://b has yet to be told.',
    facts: { at_proxies: 1, at_proxies_since: null },
  });
  t.match(at([here], both), {
    standing:
      'At the proxies: wss://a has held it for 5 min; wss://b is not linked, so what it holds is not known.',
  });
  t.match(at([], { proxies: [down] }), { standing: null, facts: { at_proxies: 0, at_proxies_since: null } });
  t.match(at([], { ...idle }), { standing: null });
  t.match(at([here], { messages: [heldMessage(), heldMessage({ id: 'm-0' })] }), {
    standing: /^Its newest message at the proxies: /,
  });
  t.end();
});

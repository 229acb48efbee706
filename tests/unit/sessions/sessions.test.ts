import t from 'tap';
import { sessionsFinished } from '../../../shared/finish.ts';
import { createModelOutbox } from '../../../relay-client/outbox/model.ts';
import type { ModelFaults } from '../../../relay-client/outbox/model.ts';
import { createPendingView } from '../../../relay-client/pending-view.ts';
import { createSessions, NOTES_PER_DEVICE_PER_MINUTE } from '../../../relay-client/sessions/sessions.ts';
import type { SessionsOptions } from '../../../relay-client/sessions/sessions.ts';
import type { SessionOutcome, WatchedSession } from '../../../relay-client/watcher/session-events.ts';
import type { DeviceId } from '../../../shared/device-id.ts';
import type { Log, LogFields } from '../../../shared/log.ts';
import { silentLog } from '../../../shared/log.ts';
import { createFakeClock } from '../../fixtures/fake-clock.ts';
import { seededRandom } from '../../fixtures/seeded-random.ts';

const ONE = '00:1a:e8:00:00:01' as DeviceId;
const DAY = 86_400_000;

async function setUp(options: Partial<SessionsOptions> = {}) {
  const clock = createFakeClock();
  const faults: Partial<ModelFaults> = {};
  const outbox = createModelOutbox({ clock, random: seededRandom(1), faults });
  const pending = createPendingView({ outbox, clock, log: silentLog });
  await pending.ready;
  const told: string[] = [];
  const logged: [string, LogFields | undefined][] = [];
  const log: Log = {
    ...silentLog,
    error: (msg, fields) => logged.push([msg, fields]),
    warn: (msg, fields) => logged.push([msg, fields]),
  };
  const links = {
    quiet: (_device: DeviceId, generation: number, ms: number) => told.push(`quiet ${generation} ${ms}`),
    loud: () => told.push('loud'),
    gap: () => told.push('gap'),
    told: () => Promise.resolve(),
  };
  const sessions = createSessions({ outbox, pending, links, clock, log, deadAfterSessions: 2, ...options });
  let made = 0;
  return {
    clock,
    outbox,
    faults,
    sessions,
    told,
    logged,
    /** Lets the outbox commit and the view follow. */
    settle: async () => {
      await sessions.close();
      await new Promise((resolve) => setImmediate(resolve));
    },
    async push(delay = 0, kind: 'contact-me' | 'dls' = 'contact-me') {
      const actions = kind === 'dls' ? { actions: '[]' } : {};
      const { message } = await outbox.push({ device: ONE, kind, ttl: DAY, delay, ...actions });
      await new Promise((resolve) => setImmediate(resolve));
      return message.id;
    },
    begin(reason = 'solicited', device: DeviceId | null = ONE) {
      const session = {
        id: `s${(made += 1)}`,
        device,
        reason,
        origin: { proxy: 'p', door: 'wpi', address: '192.0.2.1', port: 1, tls: 'relay' as const },
        startedAt: clock.wall(),
        answered: false,
        action: null as string | null,
      };
      sessions.began(session);
      return {
        session,
        answer(action: string | null) {
          session.answered = true;
          session.action = action;
          sessions.answered(session, action);
        },
        end: (outcome: SessionOutcome) => sessions.ended(session, outcome),
      };
    },
  };
}

t.test('a completed session clears what was offered when it began, and nothing newer', async (t) => {
  const { outbox, begin, push, settle } = await setUp();
  const older = await push();
  const session = begin();
  session.answer('ReadAllItems');
  const newer = await push();
  session.end('completed');
  await settle();
  t.equal((await outbox.message(older))?.state, 'superseded');
  t.equal((await outbox.message(newer))?.state, 'held', 'pushed after the session began');
  const next = begin();
  next.answer('CleanUp');
  next.end('completed');
  await settle();
  t.match(await outbox.message(newer), { state: 'cleared', endedBy: 'session' });
});

t.test('who begins a session while we end is not waited for, whoever ran one before is', async (t) => {
  const { sessions, begin, clock } = await setUp();
  const before = begin('start-up', null);
  const parts = { sessions: sessions.lasting(), connections: () => 1 };
  let finished = false;
  const done = sessionsFinished(parts, clock, clock.monotonic() + 27_000).then(() => (finished = true));
  let latest = begin('start-up', null);
  for (let n = 0; n < 50; n++) {
    const next = begin('start-up', null);
    latest.end('completed');
    latest = next;
    clock.advance(100);
    await Promise.resolve();
  }
  t.notOk(finished, 'the first one still runs');
  before.end('completed');
  clock.advance(100);
  await done;
  t.equal(sessions.count(), 1, 'the latest one runs on');
});

t.test('only a solicited session that completed clears', async (t) => {
  const { outbox, begin, push, settle } = await setUp({ deadAfterSessions: 0 });
  const id = await push();
  const outcomes: SessionOutcome[] = [
    'busy',
    'again',
    'overloaded',
    'refused',
    'phone-clean-up',
    'service-error',
    'cut',
  ];
  for (const outcome of outcomes) {
    const session = begin();
    session.answer('ReadItems');
    session.end(outcome);
  }
  for (const reason of ['start-up', 'local-changes', 'status', 'other']) {
    const session = begin(reason);
    session.answer('CleanUp');
    session.end('completed');
  }
  const nobody = begin('solicited', null);
  nobody.answer('CleanUp');
  nobody.end('completed');
  await settle();
  t.equal((await outbox.message(id))?.state, 'held');
});

t.test('a session clears neither what is for later nor what is of another kind', async (t) => {
  const { clock, outbox, begin, push, settle } = await setUp();
  const later = await push(60_000);
  const actions = await push(0, 'dls');
  begin().end('completed');
  await settle();
  t.equal((await outbox.message(later))?.state, 'held');
  clock.advance(60_000);
  begin().end('completed');
  await settle();
  t.equal((await outbox.message(later))?.state, 'cleared');
  t.equal((await outbox.message(actions))?.state, 'held');
});

t.test('only answered sessions that say something of the work count towards dead', async (t) => {
  const { outbox, begin, push, settle } = await setUp();
  const id = await push();
  for (const outcome of ['busy', 'again', 'overloaded', 'cut'] as const) {
    const session = begin();
    session.answer('WriteItems');
    session.end(outcome);
  }
  begin().end('service-error');
  await settle();
  t.match(await outbox.message(id), { state: 'held', fruitlessSessions: 0 });
  for (const [outcome, state] of [
    ['refused', 'held'],
    ['phone-clean-up', 'dead'],
  ] as const) {
    const session = begin();
    session.answer('WriteItems');
    session.end(outcome);
    await settle();
    t.equal((await outbox.message(id))?.state, state);
  }
});

t.test('the phone is left in peace while the service works with it', async (t) => {
  const { clock, told, sessions, begin, push, settle } = await setUp();
  await push();
  const session = begin();
  t.strictSame(told, [], 'a beginning alone does nothing: anybody can begin');
  t.equal(sessions.session(ONE), session.session);
  session.answer('ReadAllItems');
  session.answer('WriteItems');
  t.strictSame(told, ['gap', 'quiet 1 120000']);
  t.equal(sessions.calledAt(ONE), clock.wall());
  t.equal(sessions.quietUntil(ONE), clock.wall() + 120_000);
  t.strictSame(sessions.quiets(), [{ device: ONE, generation: 1, ms: 120_000 }]);
  clock.advance(30_000);
  session.answer('CleanUp');
  session.end('busy');
  t.strictSame(told, ['gap', 'quiet 1 120000', 'loud']);
  t.equal(sessions.session(ONE), null);
  await settle();
});

t.test('a CleanUp at once asks for no quiet, an answer of any kind for the gap', async (t) => {
  const { told, begin, push } = await setUp();
  await push();
  for (const action of ['CleanUp', null]) {
    const session = begin();
    session.answer(action);
    session.end('refused');
  }
  t.strictSame(told, ['gap', 'gap']);
});

t.test('other sessions than solicited ones change nothing for polls', async (t) => {
  const { told, begin, push } = await setUp();
  await push();
  for (const session of [begin('start-up'), begin('solicited', null)]) {
    session.answer('ReadAllItems');
    session.end('completed');
  }
  t.strictSame(told, []);
});

t.test('two sessions of one device are kept apart', async (t) => {
  const { sessions, told, begin, push, settle } = await setUp();
  await push();
  const real = begin();
  const forged = begin();
  t.equal(sessions.session(ONE), forged.session, 'the newest');
  t.equal(sessions.count(), 2);
  real.answer('ReadItems');
  forged.answer('ReadItems');
  forged.end('cut');
  t.equal(sessions.session(ONE), real.session);
  real.end('completed');
  await settle();
  t.strictSame(told, ['gap', 'quiet 1 120000', 'gap', 'loud']);
  t.equal(sessions.count(), 0);
});

t.test('when the outbox refuses, it is logged with its code and the message stays held', async (t) => {
  const { outbox, faults, logged, begin, push, settle } = await setUp();
  const id = await push();
  faults.full = true;
  begin().end('completed');
  await settle();
  t.match(logged, [[/the message stays held/, { what: 'clear', device: ONE, code: 'OUTBOX_STORAGE' }]]);
  faults.full = false;
  t.equal((await outbox.message(id))?.state, 'held');
});

t.test('sessions go into the history of their device, within reason', async (t) => {
  const { clock, outbox, begin, push, settle } = await setUp();
  await push();
  const session = begin();
  session.answer('WriteItems');
  clock.advance(1_500);
  session.end('busy');
  begin('solicited', null).end('cut');
  await push();
  const noted = (await outbox.recentHistory(ONE, 10)).find(({ event }) => event === 'note');
  t.match(noted, {
    event: 'note',
    what: 'session',
    facts: {
      reason: 'solicited',
      outcome: 'busy',
      answered: true,
      action: 'WriteItems',
      duration_ms: 1_500,
      address: '192.0.2.1',
    },
  });
  t.match((await outbox.device(ONE))?.lastSession, { outcome: 'busy' });
  for (let n = 0; n < 100; n += 1) begin('start-up').end('cut');
  await push();
  await settle();
  const notes = (await outbox.recentHistory(ONE, 1000)).filter(({ event }) => event === 'note');
  t.equal(notes.length, NOTES_PER_DEVICE_PER_MINUTE);
  clock.advance(60_000);
  begin('start-up').end('cut');
  await push();
  t.equal(
    (await outbox.recentHistory(ONE, 1000)).filter(({ event }) => event === 'note').length,
    notes.length + 1,
  );
});

t.test('a device is loud only once the proxies know that its work is done', async (t) => {
  const told: string[] = [];
  const known = Promise.withResolvers<void>();
  const links = {
    quiet: () => told.push('quiet'),
    loud: () => told.push('loud'),
    gap: () => undefined,
    told: () => (told.push('asked'), known.promise),
  };
  const { outbox, sessions, begin, push, settle } = await setUp({ links });
  await push();
  const session = begin();
  session.answer('WriteItems');
  session.end('completed');
  await settle();
  t.strictSame(told, ['quiet', 'asked'], 'on disk, and the proxies are being told');
  t.match(await outbox.device(ONE), { pending: 0 });
  t.not(sessions.quietUntil(ONE), null);
  known.resolve();
  await settle();
  t.strictSame(told, ['quiet', 'asked', 'loud']);

  await push();
  const busy = begin();
  busy.answer('WriteItems');
  busy.end('busy');
  t.equal(told.at(-1), 'loud', 'where the work stays there is nothing to wait for');
});

t.test('who asked is told of each beginning and end', async (t) => {
  const { sessions, begin } = await setUp();
  const changes: [WatchedSession, string, string | null][] = [];
  const stop = sessions.onChange(({ session, phase, outcome }) => changes.push([session, phase, outcome]));
  const one = begin();
  one.end('cut');
  stop();
  begin();
  t.strictSame(changes, [
    [one.session, 'began', null],
    [one.session, 'ended', 'cut'],
  ]);
});

import t from 'tap';
import { createModelOutbox } from '../../../relay-client/outbox/model.ts';
import { createPendingView } from '../../../relay-client/pending-view.ts';
import { createSessions } from '../../../relay-client/sessions/sessions.ts';
import { silentLog } from '../../../shared/log.ts';
import { createFakeClock } from '../../fixtures/fake-clock.ts';
import { seededRandom } from '../../fixtures/seeded-random.ts';
import { createStage, DEVICE, MAC } from '../watcher/harness.ts';

const VICTIM = '192.0.2.1';
const FORGER = '203.0.113.66';
const FORGERS_OWN = '00:1A:E8:66:66:66';
const DEAD_AFTER = 3;
const QUIET_MS = 120_000;

/** The watcher and what its sessions mean for one message of the victim, by a clock of the test's. */
async function setUp(deadAfterSessions = 0) {
  const clock = createFakeClock();
  const outbox = createModelOutbox({ clock, random: seededRandom(1) });
  const pending = createPendingView({ outbox, clock, log: silentLog });
  await pending.ready;
  let quiet: { since: number; ms: number } | null = null;
  let quietMs = 0;
  // As the proxy does: quiet lasts as long as was said, if nobody ends it before.
  const endQuiet = (): void => {
    if (quiet !== null) quietMs += Math.min(quiet.ms, clock.monotonic() - quiet.since);
    quiet = null;
  };
  const sessions = createSessions({
    outbox,
    pending,
    clock,
    log: silentLog,
    deadAfterSessions,
    links: {
      quiet(_device, _generation, ms) {
        endQuiet();
        quiet = { since: clock.monotonic(), ms };
      },
      loud: endQuiet,
      gap: () => undefined,
      told: () => Promise.resolve(),
    },
  });
  const warnings: string[] = [];
  const stage = createStage({ clock, listener: { ...sessions, warn: (what) => warnings.push(what) } });
  const { message } = await outbox.push({ device: DEVICE, kind: 'contact-me', ttl: 86_400_000, delay: 0 });
  await new Promise((resolve) => setImmediate(resolve));
  return {
    clock,
    stage,
    warnings,
    sessions,
    /** How long the victim's polls were kept at 200 in all. */
    quietMs() {
      endQuiet();
      return quietMs;
    },
    async state() {
      await sessions.close();
      await new Promise((resolve) => setImmediate(resolve));
      return (await outbox.message(message.id))?.state;
    },
  };
}

t.test(
  'a forged session in default mode gets what the service gives, and is taken for its phone',
  async (t) => {
    const { stage, state } = await setUp();
    const forger = stage.connect(FORGER);
    forger
      .begin('solicited', { mac: MAC })
      .action('WriteItems', { items: [{ name: 'sip-pwd', value: 'x' }] });
    forger.reply('WriteItems').action('CleanUp');
    t.equal(await state(), 'cleared', 'the service believes that the job is done, and so does the relay');
  },
);

t.test('sessions forged to be fruitless end a message as dead, and not sooner than is allowed', async (t) => {
  const { stage, state } = await setUp(DEAD_AFTER);
  for (let n = 1; n <= DEAD_AFTER; n++) {
    t.equal(await state(), 'held', `after ${n - 1}`);
    const forger = stage.connect(FORGER);
    forger.begin('solicited', { mac: MAC }).action('WriteItems');
    forger.cleanUp().action('CleanUp');
    forger.close();
  }
  t.equal(await state(), 'dead');
});

t.test('a forged session clears nothing that the service did not complete', async (t) => {
  const { stage, state } = await setUp();
  const forgeries: [string, (forger: ReturnType<typeof stage.connect>) => void][] = [
    ['turned away', (forger) => void forger.begin('solicited').answer(403)],
    ['failed', (forger) => void forger.begin('solicited').answer(503)],
    ['answered, and gone', (forger) => void forger.begin('solicited').action('ReadItems')],
    ['another reason', (forger) => void forger.begin('start-up').action('CleanUp')],
    ['local changes', (forger) => void forger.begin('local-changes').action('CleanUp')],
    [
      'a CleanUp without a nonce',
      (forger) => void forger.begin('solicited').action('CleanUp', { nonce: '' }),
    ],
    [
      'a reply without a session',
      (forger) => void forger.reply('WriteItems', { mac: MAC }).action('CleanUp'),
    ],
    [
      'a reply that says busy',
      (forger) => {
        forger.begin('solicited').action('WriteItems');
        forger.reply('WriteItems', { status: 'busy' }).action('CleanUp');
      },
    ],
  ];
  for (const [name, forge] of forgeries) {
    const forger = stage.connect(FORGER);
    forge(forger);
    forger.close('cut');
    t.equal(await state(), 'held', name);
  }
});

t.test('forged sessions keep a phone from being called for two minutes of a push, in all', async (t) => {
  const { stage, clock, sessions, state, quietMs } = await setUp();
  // An hour of sessions that the service answers and nobody ends, one after the other.
  for (let minutes = 0; minutes < 60; minutes += 5) {
    const forger = stage.connect(FORGER);
    forger.begin('solicited', { mac: MAC }).action('ReadItems');
    clock.advance(280_000);
    forger.close('cut');
    clock.advance(20_000);
  }
  t.equal(await state(), 'held');
  t.equal(sessions.quietUntil(DEVICE), null, 'it may be called');
  const spent = quietMs();
  t.ok(spent > 0 && spent <= QUIET_MS, `${spent} ms of an hour`);
});

t.test('a forged session does not take over the session of the phone, nor its identity', async (t) => {
  const { stage, state, warnings } = await setUp();
  const phone = stage.connect(VICTIM);
  phone.begin('solicited').action('WriteItems', { setCookie: 'S=victim' });
  // It says that it is the victim, under a connection and a cookie that are known to be another device's.
  const forger = stage.connect(FORGER);
  forger.begin('start-up', { mac: FORGERS_OWN }).action('ReadItems', { setCookie: 'S=forger' });
  forger.reply('WriteItems', { mac: MAC, cookie: 'S=forger' }).action('CleanUp');
  stage.connect(FORGER).reply('WriteItems', { mac: MAC, cookie: 'S=forger' }).action('CleanUp');
  stage.connect(FORGER).reply('WriteItems', { mac: MAC }).action('CleanUp');
  t.equal(await state(), 'held');
  t.ok(warnings.filter((what) => what === 'unidentified').length >= 2, 'and it is told');
  phone.close();
  stage.connect(VICTIM).reply('WriteItems', { cookie: 'S=victim' }).action('CleanUp');
  t.equal(await state(), 'cleared', 'the phone itself goes on as if nothing had been');
});

import t from 'tap';
import type { Test } from 'tap';
import { systemClock } from '../../../shared/clock.ts';
import { silentLog } from '../../../shared/log.ts';
import { createTeacher } from '../../../relay-client/teacher/teacher.ts';
import { createWatcher } from '../../../relay-client/watcher/watcher.ts';
import { seededRandom } from '../../fixtures/seeded-random.ts';
import { createPlainService } from '../../fixtures/services/index.ts';
import type { PlainServiceOptions } from '../../fixtures/services/index.ts';
import { DIALECTS } from '../../fixtures/services/dialect.ts';
import { createPhone } from '../../phones/index.ts';
import type { Exchange, Phone, PhoneOptions } from '../../phones/index.ts';
import { answering, eventually, ok, post, startRawUpstream, startWpi } from '../services/harness.ts';

const DEVICE = '00:1A:E8:00:00:01';
const ITEMS = { 'dcmp-url': 'http://proxy.example:8080/dcmp/' };

/** A watcher that teaches, and what came of it. */
function school() {
  const results: string[] = [];
  const outcomes: string[] = [];
  const observer = createWatcher({
    listener: {
      began: () => undefined,
      answered: () => undefined,
      ended: (session, outcome) => void outcomes.push(`${session.reason} ${outcome}`),
      warn: (what) => void outcomes.push(what),
    },
    clock: systemClock,
    random: seededRandom(1),
    log: silentLog,
    contactMeAddress: () => null,
    teacher: createTeacher({
      pollSecretOf: () => '',
      items: ITEMS,
      clock: systemClock,
      tell: (_device, result) => void results.push(result),
    }),
  });
  return { observer, results, outcomes };
}

async function setUp(
  t: Test,
  door: 'sealed' | 'inspected',
  options: { service?: PlainServiceOptions; phone?: Partial<PhoneOptions> },
) {
  const answers: Buffer[] = [];
  const service = await createPlainService({
    tls: false,
    ...options.service,
    onEvent: (event) => event.type === 'answer' && answers.push(event.body),
  });
  t.teardown(() => service.close());
  const taught = school();
  t.teardown(() => taught.observer.close());
  const wpi = await startWpi(t, {
    upstream: service.url,
    observer: taught.observer,
    ...(door === 'sealed' ? { tls: {} } : {}),
  });
  const exchanges: Exchange[] = [];
  const phone: Phone = createPhone({
    deviceId: DEVICE,
    service: `${door === 'sealed' ? 'https' : 'http'}://127.0.0.1:${wpi.door.port}`,
    pollIntervalMs: 0,
    contactListen: false,
    onExchange: (exchange) => exchanges.push(exchange),
    ...options.phone,
  });
  t.teardown(() => phone.close());
  return { ...taught, service, phone, exchanges, answers };
}

const bodyOf = (message: Buffer | undefined): string =>
  message?.toString('latin1').split('\r\n\r\n')[1] ?? '';

const SERVICES: Record<string, PlainServiceOptions> = {
  plain: {},
  'signing its answers': { dialect: DIALECTS.dls },
  'of other cookies': { dialect: DIALECTS.gemeinschaft },
  'without cookies': { dialect: DIALECTS.gs5 },
  'ending with an empty 200': { dialect: DIALECTS.dlsir },
  'ending with 204': { dialect: { end: '204' } },
  'closing after each answer': { dialect: DIALECTS['wpi-php'] },
  'of HTTP/1.0': { dialect: { httpVersion: '1.0', close: true } },
  'sending chunks': { dialect: { chunked: true } },
  'ending at once': { readAllOnStartUp: false, startUpItems: {} },
  'ending at once with 204': { readAllOnStartUp: false, startUpItems: {}, dialect: { end: '204' } },
};

for (const door of ['sealed', 'inspected'] as const) {
  for (const [name, service] of Object.entries(SERVICES)) {
    for (const keepAlive of [true, false]) {
      const phones = keepAlive ? 'keeping its connection' : 'closing after each request';
      t.test(`a phone ${phones} is taught at a service ${name}: ${door}`, async (t) => {
        const school = await setUp(t, door, { service, phone: { keepAlive } });
        const session = await school.phone.start();
        t.match(session, { outcome: 'completed', endedBy: 'clean-up' });
        t.strictSame(session?.actions.slice(-2), ['WriteItems', 'CleanUp']);
        t.equal(school.phone.pollUrl, ITEMS['dcmp-url']);
        await eventually(() => school.outcomes.length > 0);
        t.strictSame(school.outcomes, ['start-up completed']);
        t.strictSame(school.results, ['taught']);
        if (keepAlive && name !== 'closing after each answer' && name !== 'of HTTP/1.0')
          t.equal(session?.connections, 1);

        const { exchanges, answers } = school;
        const heard = school.service.requests.map((request) => request.body.toString('latin1'));
        const said = exchanges.map(({ request }) => bodyOf(request));
        t.strictSame(heard, said.slice(0, -1), 'the service gets all but the reply to us, byte for byte');
        const given = exchanges.map(({ answer }) => bodyOf(answer));
        const own = answers.map((body) => body.toString('latin1')).slice(0, given.length - 2);
        t.strictSame(given.slice(0, own.length), own, 'and the phone all but its last answer');
      });
    }
  }
}

t.test('a restarted phone that has forgotten is taught again', async (t) => {
  const { phone, results } = await setUp(t, 'sealed', { phone: { forgetPollOnRestart: true } });
  await phone.start();
  await phone.restart();
  t.equal(phone.pollUrl, ITEMS['dcmp-url']);
  t.strictSame(results, ['taught', 'taught']);
});

t.test('a phone in a call is taught by its next session', async (t) => {
  const { phone, results } = await setUp(t, 'sealed', {
    service: { startUpItems: {} },
    phone: { supportsSendSolicited: false },
  });
  phone.setInCall(true);
  await phone.start();
  t.equal(phone.pollUrl, undefined);
  phone.setInCall(false);
  await phone.changeLocally({ realm: 'x' });
  t.equal(phone.pollUrl, ITEMS['dcmp-url']);
  t.strictSame(results, ['busy', 'taught']);
});

t.test('a phone that knows no such item starts up all the same', async (t) => {
  const { phone, results } = await setUp(t, 'sealed', { phone: { unknownItems: ['dcmp-url'] } });
  t.match(await phone.start(), { outcome: 'completed' });
  t.strictSame(results, ['refused']);
});

t.test("a phone's clean-up at our items is answered here", async (t) => {
  const cleanUp = '<DLSMessage><Message nonce="1"><Action>CleanUp</Action></Message></DLSMessage>';
  const upstream = await startRawUpstream(
    t,
    answering(ok(`<Signature><Object>${cleanUp}</Object></Signature>`)),
  );
  const { observer, results, outcomes } = school();
  t.teardown(() => observer.close());
  const { phone } = await startWpi(t, { upstream: upstream.url, observer });
  const { send, answer } = await phone();
  const say = (reason: string): void =>
    send(
      post(
        `<WorkpointMessage><Message nonce="1"><ReasonForContact>${reason}</ReasonForContact><ItemList>` +
          `<Item name="mac-addr">${DEVICE}</Item></ItemList></Message></WorkpointMessage>`,
      ),
    );
  say('start-up');
  t.match((await answer()).body, /<Action>WriteItems<\/Action>/);
  say('clean-up');
  const { head, body } = await answer();
  t.match(head, /^HTTP\/1\.1 200 OK\r\nContent-Length: 0(\r\n|$)/);
  t.equal(body, '');
  t.strictSame([results, outcomes], [['refused'], ['start-up phone-clean-up']]);
  say('start-up');
  t.match((await answer()).body, /^<Signature>/, 'from now on it gets what the service says');
  t.equal(
    upstream.connections.flatMap(({ received }) => received().match(/POST \//g) ?? []).length,
    2,
    'the service heard the start-ups only',
  );
});

import t from 'tap';
import { buildServiceMessage } from '../../../shared/wpi/build.ts';
import { readServiceMessage } from '../../../shared/wpi/read.ts';
import type { OwnAnswer } from '../../../relay-client/services/observer.ts';
import { createTeacher, CUTS_IN_A_ROW, LEFT_ALONE_MS } from '../../../relay-client/teacher/teacher.ts';
import { createFakeClock } from '../../fixtures/fake-clock.ts';
import { createStage, DEVICE, NONCE } from '../watcher/harness.ts';
import type { PhoneSide, Stage, Step } from '../watcher/harness.ts';

const ITEMS = { 'dcmp-url': 'http://proxy.example:8080/dcmp/', 'poll-interval': '300' };
const URL_ITEM = { name: 'dcmp-url', value: ITEMS['dcmp-url'] };

interface School extends Stage {
  /** Each lesson that is over: its result, and why. */
  lessons(): string[];
  pass(ms: number): void;
}

function open(items: Record<string, string> = ITEMS): School {
  const results: string[] = [];
  const clock = createFakeClock();
  const teacher = createTeacher({
    pollSecretOf: (device) => `secret-of-${device.slice(-2)}`,
    items,
    clock,
    tell: (device, result, { why = '', refused = '' }) =>
      results.push(
        [result, why, refused].filter((part) => part !== '').join('; ') + (device === DEVICE ? '' : device),
      ),
  });
  const stage = createStage({ teacher });
  return {
    ...stage,
    lessons: () => results.splice(0),
    pass(ms) {
      clock.advance(ms);
      stage.clock.advance(ms);
    },
  };
}

const messageIn = (answer: OwnAnswer | null | undefined) => {
  if (answer == null) return null;
  const message = readServiceMessage(answer.body);
  return 'unreadable' in message ? message.unreadable : message;
};

/** Whether the phone got our WriteItems in place of the service's last answer. */
const isTaught = (step: Step): boolean => {
  const message = messageIn(step.instead);
  return message !== null && typeof message === 'object' && message.action === 'WriteItems';
};

/** A whole start-up session of which the service soon takes its leave; returns the step of that. */
const startUp = (phone: PhoneSide, items: { name: string; value: string }[] = []): Step => {
  const step = phone.begin('start-up');
  step.action('CleanUp', { items });
  return step;
};

/** The phone's reply to our items, answered here. */
const replied = (phone: PhoneSide, options: Parameters<PhoneSide['reply']>[1] = {}): Step => {
  const step = phone.reply('WriteItems', options);
  step.exchange.delivered();
  return step;
};

t.test(
  'the last answer to a start-up gives way to our items, and the session ends as the service meant',
  async (t) => {
    const school = open({ ...ITEMS, secret: 'x{device-id}y{poll_secret}z{device-id}' });
    const phone = school.connect();
    phone.begin('start-up').action('ReadAllItems');
    const last = phone.reply('ReadAllItems', { items: [{ name: 'realm', value: 'x' }] });
    last.undelivered('CleanUp');
    t.match(last.instead, { status: 200, headers: ['Content-Type', 'text/xml'] });
    t.match(messageIn(last.instead), {
      nonce: NONCE,
      action: 'WriteItems',
      items: [
        URL_ITEM,
        { name: 'poll-interval', value: '300' },
        { name: 'secret', value: `x${DEVICE}ysecret-of-${DEVICE.slice(-2)}z${DEVICE}` },
      ],
    });
    last.exchange.delivered();
    t.strictSame(school.since(), [`began ${DEVICE} start-up`, 'answered ReadAllItems', 'answered CleanUp']);
    const reply = phone.reply('WriteItems');
    t.match(messageIn(reply.exchange.local), { nonce: NONCE, action: 'CleanUp', items: [] });
    t.strictSame(school.lessons(), ['taught']);
    t.strictSame(school.since(), [], 'not before our CleanUp is delivered');
    reply.exchange.delivered();
    t.strictSame(school.since(), [`ended ${DEVICE} start-up completed`]);
    t.equal(school.watcher.sessions(), 0);
  },
);

t.test('each start-up is taught, other sessions are not', async (t) => {
  const school = open();
  const phone = school.connect();
  for (const reason of ['solicited', 'local-changes', 'inventory-changes', 'status']) {
    const step = phone.begin(reason);
    step.action('CleanUp');
    t.equal(step.instead, null, reason);
  }
  for (let n = 0; n < 3; n += 1) {
    t.ok(isTaught(startUp(phone)));
    replied(phone);
  }
  t.strictSame(school.lessons(), ['taught', 'taught', 'taught']);
});

t.test('an empty last answer gives way, too', async (t) => {
  for (const status of [200, 204]) {
    const school = open();
    const phone = school.connect();
    const step = phone.begin('start-up');
    step.answer(status);
    t.ok(isTaught(step), String(status));
    t.match(messageIn(replied(phone).exchange.local), { action: 'CleanUp', items: [] });
    t.strictSame(school.outcomes(), ['completed']);
  }
});

t.test('what the service asks of the phone with its CleanUp comes with ours', async (t) => {
  const school = open();
  const phone = school.connect();
  const again = { name: 'send-solicited', value: 'true' };
  t.ok(isTaught(startUp(phone, [again])));
  t.match(messageIn(replied(phone).exchange.local), { action: 'CleanUp', items: [again] });
  t.strictSame(school.outcomes(), ['again']);
});

t.test('a session that the service does not end well is left to itself', async (t) => {
  const school = open();
  const phone = school.connect();
  t.equal(startUp(phone, [{ name: 'cleanup-reason', value: 'overload' }]).instead, null);
  t.equal(startUp(phone, [{ name: 'cleanup-reason', value: 'no' }]).instead, null);
  for (const [status, body] of [
    [500, ''],
    [503, ''],
    [200, '<html>'],
  ] as const) {
    const step = phone.begin('start-up');
    step.answer(status, body);
    t.equal(step.instead, null);
  }
  const step = phone.cleanUp();
  step.answer(200);
  t.equal(step.instead, null, "the phone's own clean-up");
  t.strictSame(school.lessons(), []);
});

t.test('nobody is taught by whoever cannot be named', async (t) => {
  const school = open();
  const step = school.connect().begin('start-up', { mac: null });
  step.action('CleanUp');
  t.equal(step.instead, null);
});

t.test("the service's cookies come with our items, and ours where it has none", async (t) => {
  const school = open();
  const cookies = ['JSESSIONID=1; Path=/DeploymentService; Secure', 'node=b; path=/'];
  const step = school.connect().begin('start-up');
  step.action('CleanUp', { setCookie: cookies });
  t.strictSame(step.instead?.headers, [
    ...['Content-Type', 'text/xml'],
    ...cookies.flatMap((cookie) => ['Set-Cookie', cookie]),
  ]);
  const back = school.connect();
  const reply = back.reply('WriteItems', { cookie: cookies[0]! });
  t.ok(reply.exchange.local, 'known by it on another connection');
  reply.exchange.delivered();

  const bare = startUp(school.connect());
  const [, , name = '', ours = ''] = bare.instead?.headers ?? [];
  t.equal(name, 'Set-Cookie');
  t.match(ours, /^sallyport=/);
  const again = school.connect('198.51.100.1').reply('WriteItems', { cookie: ours });
  t.ok(again.exchange.local);
  t.strictSame(again.exchange.headers, ['Host', 'dls']);
  t.strictSame(school.lessons(), ['taught', 'taught']);
});

t.test('a busy phone is taught at the end of its next session, whatever that is for', async (t) => {
  const school = open();
  const phone = school.connect();
  startUp(phone);
  const busy = replied(phone, { status: 'Busy' });
  t.match(
    messageIn(busy.exchange.local),
    { action: 'CleanUp', items: [{ name: 'send-solicited', value: 'true' }] },
    'it is asked to come again, for it polls nobody yet',
  );
  t.strictSame(school.lessons(), ['busy']);
  t.strictSame(school.outcomes(), ['completed'], "the service's own session was in order");

  phone.begin('local-changes').action('ReadItems');
  const next = phone.reply('ReadItems');
  next.action('CleanUp');
  t.ok(isTaught(next));
  replied(phone, { status: 'busy' });

  const solicited = phone.begin('solicited');
  solicited.action('CleanUp');
  t.ok(isTaught(solicited), 'until it is not busy');
  replied(phone);
  t.strictSame(school.lessons(), ['busy', 'taught']);
  const last = phone.begin('solicited');
  last.action('CleanUp');
  t.equal(last.instead, null, 'and no longer');
});

t.test(
  'a phone that was busy in the start-up session itself is taught at the end of the next one',
  async (t) => {
    const school = open();
    const phone = school.connect();
    phone.begin('start-up').action('WriteItems');
    const last = phone.reply('WriteItems', { status: 'busy' });
    last.action('CleanUp', { items: [{ name: 'send-solicited', value: 'true' }] });
    t.equal(last.instead, null);
    const next = phone.begin('solicited');
    next.action('CleanUp');
    t.ok(isTaught(next));
    replied(phone);
    t.strictSame(school.outcomes(), ['busy', 'completed']);
    t.strictSame(school.lessons(), ['busy; the phone was busy in the session itself', 'taught']);
  },
);

t.test(
  'a refusal is told with the names of what was refused, and ends the session all the same',
  async (t) => {
    const school = open();
    const phone = school.connect();
    const refusals = [
      { status: 'failed' },
      { items: [{ name: 'poll-interval', status: 'Unknown Item' }] },
      {
        items: [
          { name: 'dcmp-url', status: 'read only' },
          { name: 'realm', status: 'failed' },
        ],
      },
      { status: '<x>', items: [{ name: 'dcmp-url', status: '0123456789 0123456789 0123456789 0123456789' }] },
    ];
    for (const refusal of refusals) {
      t.ok(isTaught(startUp(phone)), 'tried at each start-up');
      t.match(
        messageIn(replied(phone, refusal).exchange.local),
        { action: 'CleanUp' },
        'and once only in it',
      );
    }
    t.strictSame(school.lessons(), [
      'refused; the phone replied failed',
      'refused; the phone refused items; poll-interval: unknown item',
      'refused; the phone refused items; dcmp-url: read only',
      'refused; the phone replied an odd status; dcmp-url: an odd status',
    ]);
    t.strictSame(new Set(school.outcomes()), new Set(['completed']));
  },
);

const signed = (nonce = NONCE): string =>
  '<Signature xmlns="http://www.w3.org/2000/09/xmldsig#"><Object Id="DLSMessage">' +
  buildServiceMessage({ nonce, action: 'CleanUp' }).toString().replace(/^.*\n/, '') +
  '</Object></Signature>';

t.test('a phone that wants signatures is left alone for a day', async (t) => {
  for (const body of [signed(), signed().replace('</Object>', '</Object></Object>')]) {
    const school = open();
    const phone = school.connect();
    const taught = (): boolean => {
      const step = phone.begin('start-up');
      step.answer(200, body);
      return isTaught(step);
    };
    t.ok(taught());
    const farewell = phone.cleanUp();
    t.match(
      farewell.exchange.local,
      { status: 200, body: Buffer.alloc(0) },
      'the service hears nothing of it',
    );
    farewell.exchange.delivered();
    t.strictSame(school.lessons(), [
      'refused; the service signs its answers, and the phone ended the session at our unsigned one',
    ]);
    t.strictSame(school.outcomes(), ['phone-clean-up']);
    t.notOk(taught());
    school.pass(LEFT_ALONE_MS - 1);
    t.notOk(taught());
    school.pass(1);
    t.ok(taught(), 'a day later it may be another phone');
    replied(phone);
    t.strictSame(school.lessons(), ['taught'], 'or one that minds no more');
  }
});

t.test(
  'a phone that ends the session at our unsigned items for no such reason is left alone, too',
  async (t) => {
    const school = open();
    const phone = school.connect();
    startUp(phone);
    phone.cleanUp().exchange.delivered();
    t.strictSame(school.lessons(), ['refused; the phone ended the session']);
    t.notOk(isTaught(startUp(phone)));
  },
);

t.test('a phone that does not come back is noted; after some times it is left alone', async (t) => {
  const school = open();
  const ways: ((phone: PhoneSide) => void)[] = [
    () => school.pass(301_000),
    (phone) => {
      phone.close();
      school.pass(61_000);
    },
    (phone) => void phone.begin('start-up').answer(500),
  ];
  t.equal(ways.length, CUTS_IN_A_ROW);
  for (const away of ways) {
    const phone = school.connect();
    t.ok(isTaught(startUp(phone)));
    away(phone);
    t.equal(school.outcomes()[0], 'cut');
    t.strictSame(school.lessons(), ['cut; the phone did not reply']);
  }
  t.notOk(isTaught(startUp(school.connect())));
});

t.test('a phone that was cut off in between is taught the next time', async (t) => {
  const school = open();
  const phone = school.connect();
  const step = phone.begin('start-up');
  step.undelivered('CleanUp');
  step.exchange.cut('phone');
  t.strictSame(school.lessons(), ['cut; the phone did not reply']);
  startUp(phone);
  const reply = phone.reply('WriteItems');
  reply.exchange.cut('phone');
  t.strictSame(school.lessons(), ['taught'], 'it has said so');
  t.strictSame(school.outcomes(), ['cut', 'cut']);
});

t.test('a reply to something else is for the service, which is not talked over twice', async (t) => {
  const school = open();
  const phone = school.connect();
  phone.begin('start-up').action('ReadAllItems');
  phone.reply('ReadAllItems').action('CleanUp');
  const repeated = phone.reply('ReadAllItems');
  t.equal(repeated.exchange.local, undefined);
  repeated.action('CleanUp');
  t.equal(repeated.instead, null);
  t.strictSame(school.lessons(), ['cut; the phone replied to something else']);
  t.strictSame(school.outcomes(), ['completed']);
});

t.test('a phone that takes too few items at once is not sent more', async (t) => {
  const school = open();
  const phone = school.connect();
  const body = (maxItems: number): Buffer =>
    Buffer.from(
      `<WorkpointMessage><Message nonce="1" maxItems="${maxItems}"><ReasonForContact>start-up</ReasonForContact>` +
        `<ItemList><Item name="mac-addr">${DEVICE}</Item></ItemList></Message></WorkpointMessage>`,
    );
  const step = phone.post(body(1));
  step.action('CleanUp');
  t.equal(step.instead, null);
  t.strictSame(school.lessons(), ['refused; the phone takes fewer items at once']);
  const enough = phone.post(body(2));
  enough.action('CleanUp');
  t.ok(isTaught(enough));
});

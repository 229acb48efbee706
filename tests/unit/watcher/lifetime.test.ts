import t from 'tap';
import type { DeviceId } from '../../../shared/device-id.ts';
import { createStage, DEVICE, MAC } from './harness.ts';

const COOKIE = 'JSESSIONID=1';

t.test('a phone whose connection closed has a minute to come back', async (t) => {
  for (const [ms, outcome] of [
    [59_000, 'completed'],
    [61_000, 'cut'],
  ] as const) {
    const stage = createStage();
    const first = stage.connect();
    first.begin().action('ReadItems', { setCookie: COOKIE });
    first.close();
    stage.clock.advance(ms);
    stage.connect().reply('ReadItems', { cookie: COOKIE }).action('CleanUp');
    t.strictSame(stage.outcomes(), [outcome]);
  }
});

t.test('a phone whose connection stays open has five minutes to reply', async (t) => {
  const stage = createStage();
  const phone = stage.connect();
  phone.begin().action('WriteItems');
  stage.clock.advance(299_000);
  phone.reply('WriteItems').action('WriteItems');
  stage.clock.advance(299_000);
  t.strictSame(stage.outcomes(), []);
  stage.clock.advance(2_000);
  t.strictSame(stage.outcomes(), ['cut']);
  stage.since();
  phone.reply('WriteItems').action('CleanUp');
  t.strictSame(stage.since(), [`odd no-session ${DEVICE}`], 'too late: what is pending stays so');
});

t.test('while upstream works on an answer, no time is counted', async (t) => {
  const stage = createStage();
  const step = stage.connect().begin();
  stage.clock.advance(3_600_000);
  step.action('CleanUp');
  t.strictSame(stage.outcomes(), ['completed']);
});

t.test('a new beginning on the same connection ends the former session at once', async (t) => {
  const stage = createStage();
  const phone = stage.connect();
  phone.begin().action('ReadItems');
  phone.begin('start-up');
  t.strictSame(stage.outcomes(), ['cut']);
});

t.test('a new beginning elsewhere ends the former session once the service has answered it', async (t) => {
  const stage = createStage();
  const first = stage.connect();
  first.begin().action('ReadItems');
  const again = stage.connect().begin();
  t.strictSame(stage.outcomes(), [], 'anybody can say that');
  again.action('ReadItems');
  t.strictSame(stage.outcomes(), ['cut']);
  first.reply('ReadItems').action('CleanUp');
  t.strictSame(stage.outcomes(), ['cut'], 'the former one is over for good');
});

t.test('a beginning elsewhere that the service turns away leaves the running session alone', async (t) => {
  for (const status of [400, 500, 503]) {
    const stage = createStage();
    const phone = stage.connect();
    phone.begin().action('ReadItems');
    stage.connect('203.0.113.66').begin().answer(status);
    stage.connect('203.0.113.66').begin().exchange.cut('upstream');
    stage.connect('203.0.113.66').begin().answer(200, '<html>what?</html>');
    phone.reply('ReadItems').action('CleanUp');
    t.equal(stage.outcomes().at(-1), 'completed', String(status));
  }
});

t.test('a phone that goes on without waiting for an answer is not judged by that answer', async (t) => {
  const stage = createStage();
  const first = stage.connect();
  first.begin().action('ReadItems', { setCookie: COOKIE });
  const lost = first.reply('ReadItems');
  const second = stage.connect().reply('ReadItems', { cookie: COOKIE });
  lost.action('CleanUp');
  lost.exchange.cut('phone');
  first.close('cut');
  t.strictSame(stage.outcomes(), []);
  second.action('CleanUp');
  t.strictSame(stage.outcomes(), ['completed']);
});

t.test('a connection that its phone has left for another has no part in the session any more', async (t) => {
  const stage = createStage();
  const left = stage.connect();
  left.begin().action('ReadItems', { setCookie: COOKIE });
  const phone = stage.connect();
  phone.reply('ReadItems', { cookie: COOKIE }).action('WriteItems');
  left.reply('WriteItems').action('CleanUp');
  left.close('cut');
  t.strictSame(stage.outcomes(), []);
  phone.reply('WriteItems').action('CleanUp');
  t.strictSame(stage.outcomes(), ['completed']);
});

t.test('after a cut, an address alone identifies nobody for a while', async (t) => {
  const stage = createStage();
  const lost = stage.connect();
  lost.begin('solicited', { mac: '00:1A:E8:00:00:02' }).action('ReadItems');
  lost.close();
  stage.clock.advance(61_000);
  const phone = stage.connect();
  phone.begin().action('ReadItems');
  phone.close();
  // This may be the lost phone, late.
  stage.connect().reply('ReadItems').action('CleanUp');
  t.strictSame(stage.outcomes(), ['cut']);
  stage.clock.advance(600_000);
  const later = stage.connect('192.0.2.7');
  later.begin().action('ReadItems');
  later.close();
  stage.connect('192.0.2.7').reply('ReadItems').action('CleanUp');
  t.strictSame(stage.outcomes(), ['cut', 'cut', 'completed']);
});

t.test('a session of nobody known ends with its connection', async (t) => {
  const stage = createStage();
  const phone = stage.connect();
  phone.begin('solicited', { mac: null }).action('ReadItems');
  phone.close();
  t.strictSame(stage.outcomes(), ['cut']);
});

t.test('more sessions than the limit end those that were silent longest', async (t) => {
  const stage = createStage({ limits: { sessions: 3 } });
  const phones = [1, 2, 3].map((n) => {
    const phone = stage.connect();
    phone.begin('solicited', { mac: `00:1A:E8:00:00:0${n}` }).action('ReadItems');
    return phone;
  });
  phones[0]?.reply('ReadItems').action('WriteItems');
  stage.since();
  stage.connect().begin('start-up', { mac: '00:1A:E8:00:00:04' });
  t.strictSame(stage.since(), [
    'odd session-limit 00:1a:e8:00:00:02',
    'ended 00:1a:e8:00:00:02 solicited cut',
    'began 00:1a:e8:00:00:04 start-up',
  ]);
  t.equal(stage.watcher.sessions(), 3);
  phones[0]?.reply('WriteItems').action('CleanUp');
  t.equal(stage.outcomes().at(-1), 'completed');
});

t.test('new devices are taken on so many a minute; known ones always', async (t) => {
  const known = new Set<DeviceId>(['00:1a:e8:00:00:09' as DeviceId]);
  const stage = createStage({ limits: { newDevicesPerMinute: 2 }, known: (device) => known.has(device) });
  for (const n of [1, 2, 3, 9, 1]) stage.connect().begin('start-up', { mac: `00:1A:E8:00:00:0${n}` });
  stage.clock.advance(60_000);
  stage.connect().begin('start-up', { mac: '00:1A:E8:00:00:03' });
  t.strictSame(
    stage.told.filter((line) => /^(began|odd)/.test(line)),
    [
      'began 00:1a:e8:00:00:01 start-up',
      'began 00:1a:e8:00:00:02 start-up',
      'odd new-device-limit null',
      'began null start-up',
      'began 00:1a:e8:00:00:09 start-up',
      'began 00:1a:e8:00:00:01 start-up',
      'began 00:1a:e8:00:00:03 start-up',
    ],
  );
});

t.test('what is remembered of devices and cookies has limits', async (t) => {
  const stage = createStage({ limits: { devices: 2, cookiesPerDevice: 2 } });
  const phone = stage.connect();
  phone.begin().action('ReadItems', { setCookie: ['a=1', 'b=2', `c=${'3'.repeat(4000)}`] });
  phone.close();
  stage.since();
  const far = stage.connect('198.51.100.9');
  far.reply('ReadItems', { cookie: 'a=1' });
  t.match(stage.since(), [/^odd unidentified/], 'the oldest cookie is forgotten');
  far.reply('ReadItems', { cookie: `c=${'3'.repeat(4000)}` }).action('CleanUp');
  t.strictSame(stage.outcomes(), ['completed'], 'a long one is not');
});

t.test(
  'the contact-me value is replaced in every message that carries it, for the device it is of',
  async (t) => {
    const asked: string[] = [];
    const stage = createStage({
      contactMeAddress: (device) => {
        asked.push(device);
        return 'http://10.0.0.5:8085/x/contact_dls.html/ContactDLS';
      },
    });
    const items = [{ name: 'contact-me-uri', value: 'http://192.168.1.5:8085/contact_dls.html/ContactDLS' }];
    const phone = stage.connect();
    const first = phone.begin('start-up', { items });
    t.match(
      first.exchange.body.toString(),
      `<Item name="mac-addr">${MAC}</Item>\n<Item name="contact-me-uri">http://10.0.0.5`,
    );
    first.action('ReadAllItems');
    const second = phone.reply('ReadAllItems', { items });
    t.match(second.exchange.body.toString(), '<Item name="contact-me-uri">http://10.0.0.5:8085/x/');
    second.action('CleanUp');
    const late = phone.reply('ReadItems', { items });
    t.match(late.exchange.body.toString(), 'http://10.0.0.5:8085/x/', 'even without a session');
    const body = Buffer.from('<WorkpointMessage/>');
    t.equal(phone.post(body).exchange.body, body, 'the very same buffer where nothing changes');
    stage.connect().begin('start-up', { mac: null, items });
    t.strictSame(asked, [DEVICE, DEVICE, DEVICE], 'never for nobody');
  },
);

t.test('closing the watcher ends all sessions as cut and stops its clock', async (t) => {
  const stage = createStage();
  const step = stage.connect().begin();
  stage.watcher.close();
  t.strictSame(stage.outcomes(), ['cut']);
  step.action('CleanUp');
  stage.clock.advance(3_600_000);
  t.strictSame(stage.outcomes(), ['cut']);
});

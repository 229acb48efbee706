import t from 'tap';
import { createStage, DEVICE } from './harness.ts';

t.test('a solicited session is told from its first message to its end', async (t) => {
  const stage = createStage();
  const phone = stage.connect();
  phone.begin().action('ReadAllItems');
  phone.reply('ReadAllItems').action('WriteItems');
  const last = phone.reply('WriteItems');
  last.undelivered('CleanUp');
  t.strictSame(stage.since(), [
    `began ${DEVICE} solicited`,
    'answered ReadAllItems',
    'answered WriteItems',
    'answered CleanUp',
  ]);
  last.exchange.delivered();
  t.strictSame(stage.since(), [`ended ${DEVICE} solicited completed`], 'only what was delivered is over');
  phone.close();
  t.strictSame(stage.since(), []);
  t.equal(stage.watcher.sessions(), 0);
});

const cleanUp = (items: { name: string; value?: string }[], nonce?: string) => {
  const stage = createStage();
  stage
    .connect()
    .begin()
    .action('CleanUp', { items, ...(nonce === undefined ? {} : { nonce }) });
  return stage.outcomes();
};

t.test('a CleanUp completes only with a nonce and without a wish to hear again', async (t) => {
  t.strictSame(cleanUp([]), ['completed']);
  t.strictSame(cleanUp([], ''), ['refused'], 'no nonce');
  t.strictSame(cleanUp([{ name: 'send-solicited', value: 'true' }]), ['again']);
  t.strictSame(cleanUp([{ name: 'send-solicited', value: ' TRUE ' }]), ['again']);
  t.strictSame(cleanUp([{ name: 'send-solicited' }]), ['again'], 'whatever it means, it is not a no');
  t.strictSame(cleanUp([{ name: 'send-solicited', value: 'false' }]), ['completed']);
  t.strictSame(cleanUp([{ name: 'cleanup-reason', value: 'overload' }]), ['overloaded']);
  t.strictSame(cleanUp([{ name: 'cleanup-reason', value: 'wrong TAN from device' }]), ['refused']);
  t.strictSame(cleanUp([{ name: 'cleanup-reason' }]), ['refused']);
});

t.test('an answer without a body completes when its status is 200 or 204', async (t) => {
  const outcomeOf = (status: number, body = ''): string[] => {
    const stage = createStage();
    stage.connect().begin().answer(status, body);
    return stage.outcomes();
  };
  t.strictSame(outcomeOf(200), ['completed']);
  t.strictSame(outcomeOf(204), ['completed']);
  for (const status of [201, 302, 400, 404, 500, 502, 504])
    t.strictSame(outcomeOf(status), ['service-error']);
  for (const status of [429, 503]) t.strictSame(outcomeOf(status), ['overloaded']);
});

t.test(
  'an answer that is no message is an error, unless the phone then ends the session itself',
  async (t) => {
    for (const body of [' ', '<html>login</html>', '<DLSMessage><Message nonce="1"/></DLSMessage>']) {
      for (const [next, outcome] of [
        ['nothing', 'service-error'],
        ['closes', 'service-error'],
        ['begins anew', 'service-error'],
        ['cleans up', 'phone-clean-up'],
        ['replies all the same', 'completed'],
      ] as const) {
        const stage = createStage();
        const phone = stage.connect();
        phone.begin().answer(200, body);
        t.strictSame(stage.outcomes(), [], 'a blank is a body, too');
        if (next === 'closes') phone.close();
        if (next === 'begins anew') phone.begin();
        if (next === 'cleans up') phone.cleanUp().answer(200);
        if (next === 'replies all the same') phone.reply('ReadItems').action('CleanUp');
        stage.clock.advance(301_000);
        t.equal(stage.outcomes()[0], outcome, next);
      }
    }
  },
);

t.test('a session whose last reply was busy has not completed', async (t) => {
  for (const end of ['CleanUp', 'empty', 'again'] as const) {
    const stage = createStage();
    const phone = stage.connect();
    phone.begin().action('WriteItems');
    const reply = phone.reply('WriteItems', { status: 'Busy' });
    if (end === 'empty') reply.answer(200);
    else
      reply.action('CleanUp', { items: end === 'again' ? [{ name: 'send-solicited', value: 'true' }] : [] });
    t.strictSame(stage.outcomes(), ['busy'], end);
  }
  const stage = createStage();
  const phone = stage.connect();
  phone.begin().action('WriteItems');
  phone.reply('WriteItems', { status: 'busy' }).action('WriteItems');
  phone.reply('WriteItems', { status: 'accepted' }).action('CleanUp');
  t.strictSame(stage.outcomes(), ['completed'], 'busy once, but not at last');
});

t.test('the clean-up of a phone never completes, whatever the service says to it', async (t) => {
  for (const answer of ['CleanUp', 'empty', 'error'] as const) {
    const stage = createStage();
    const phone = stage.connect();
    phone.begin().action('WriteItems');
    const step = phone.cleanUp();
    if (answer === 'CleanUp') step.action('CleanUp');
    else step.answer(answer === 'empty' ? 200 : 500);
    t.strictSame(stage.outcomes(), ['phone-clean-up'], answer);
  }
});

t.test('a cut before the last byte is a cut, whatever was answered', async (t) => {
  for (const by of ['phone', 'upstream'] as const) {
    const stage = createStage();
    const step = stage.connect().begin();
    if (by === 'phone') step.undelivered('CleanUp');
    step.exchange.cut(by);
    step.exchange.delivered();
    t.strictSame(stage.outcomes(), ['cut'], by);
  }
});

t.test('a connection that closes within an exchange cuts it', async (t) => {
  const stage = createStage();
  const phone = stage.connect();
  phone.begin().undelivered('CleanUp');
  phone.close('cut');
  t.strictSame(stage.outcomes(), ['cut']);
});

t.test('an answer too long to be read goes on, unless its status is an error', async (t) => {
  const stage = createStage();
  const phone = stage.connect();
  const step = phone.begin();
  step.exchange.answeredUnread({ status: 200, headers: [] });
  step.exchange.delivered();
  phone.reply('WriteItems').action('CleanUp');
  t.strictSame(stage.since(), [
    `began ${DEVICE} solicited`,
    `odd unread ${DEVICE}`,
    'answered null',
    'answered CleanUp',
    `ended ${DEVICE} solicited completed`,
  ]);
  const failed = stage.connect().begin();
  failed.exchange.answeredUnread({ status: 500, headers: [] });
  failed.exchange.delivered();
  t.strictSame(stage.outcomes(), ['completed', 'service-error']);
});

t.test('what deserves a look is told and changes nothing', async (t) => {
  const stage = createStage();
  const phone = stage.connect();
  phone.begin('start-up').action('FileDeployment', {
    nonce: 'other',
    items: [{ name: 'file-server', value: '192.0.2.9' }],
  });
  phone.reply('ReadItems').action('FileDeployment', {
    items: [
      { name: 'file-server', value: '192.0.2.9' },
      { name: 'file-https-base-url', value: 'https://10.0.0.9/x' },
    ],
  });
  phone.reply('FileDeployment').action('CleanUp');
  phone.unread('size');
  phone.unread('method');
  phone.post(Buffer.from('<broken')).answer(200);
  t.strictSame(
    stage.since().filter((line) => !line.startsWith('answered')),
    [
      `began ${DEVICE} start-up`,
      `odd nonce-odd ${DEVICE}`,
      `odd ftp ${DEVICE}`,
      `odd action-odd ${DEVICE}`,
      `odd inside-address ${DEVICE}`,
      `ended ${DEVICE} start-up completed`,
      `odd unread ${DEVICE}`,
      `odd unreadable ${DEVICE} (not well-formed)`,
    ],
  );
});

t.test('fragments may be named by either Action', async (t) => {
  for (const name of ['ReadAllItems', 'GetNextFragment']) {
    const stage = createStage();
    const phone = stage.connect();
    phone.begin().action('ReadAllItems');
    phone.reply('ReadAllItems').action('GetNextFragment');
    phone.reply(name).action('GetNextFragment');
    phone.reply(name).action('CleanUp');
    t.strictSame(
      stage.told.filter((line) => line.startsWith('odd')),
      [],
    );
    t.strictSame(stage.outcomes(), ['completed']);
  }
});

t.test('a reason that is no plain word is not passed on', async (t) => {
  const stage = createStage();
  stage.connect().begin('in\nlog: "forged"');
  stage.connect().begin('x'.repeat(100));
  t.strictSame(stage.since(), [`began ${DEVICE} other`, `began ${DEVICE} other`]);
});

import t from 'tap';
import { readActions } from '../../../relay-client/courier/actions.ts';
import { DEFAULT_COURIER } from '../../../relay-client/courier/config.ts';
import { createCourier } from '../../../relay-client/courier/courier.ts';
import { createModelOutbox } from '../../../relay-client/outbox/model.ts';
import { createPendingView } from '../../../relay-client/pending-view.ts';
import { parseDeviceId } from '../../../shared/device-id.ts';
import { silentLog } from '../../../shared/log.ts';
import { createFakeClock } from '../../fixtures/fake-clock.ts';
import { seededRandom } from '../../fixtures/seeded-random.ts';
import { createStage, DEVICE, MAC } from './harness.ts';
import type { Stage } from './harness.ts';

const OTHER_MAC = '00:1A:E8:00:00:02';
const JSESSION = 'JSESSIONID=30DE0123456789ABCDEF; Path=/DeploymentService; Secure';

t.test(
  'a phone that closes each connection is known by the cookie of upstream, echoed whole or as a pair',
  async (t) => {
    for (const echo of [
      JSESSION,
      'JSESSIONID=30DE0123456789ABCDEF',
      'a=b; JSESSIONID=30DE0123456789ABCDEF',
    ]) {
      const stage = createStage();
      const first = stage.connect('192.0.2.1');
      t.strictSame(first.begin().action('ReadAllItems', { setCookie: JSESSION }), [], 'no cookie of our own');
      first.close();
      const second = stage.connect('198.51.100.9');
      second.reply('ReadAllItems', { cookie: echo }).action('CleanUp');
      t.strictSame(stage.outcomes(), ['completed'], echo);
    }
  },
);

t.test('where upstream sets no cookie, ours is set, recognised, and taken out again', async (t) => {
  const echoes = [
    (pair: string) => [pair, null],
    (pair: string) => [`lang=de; ${pair}`, 'lang=de'],
    (pair: string) => [`${pair}; lang=de ;x=1`, 'lang=de ;x=1'],
    (pair: string) => [`a=1; ${pair};b="2;3"`, 'a=1;b="2;3"'],
    (pair: string) => [`$Version=1; ${pair}; $Path=/; a=1`, '$Version=1; a=1'],
    (pair: string) => [pair.replace('=', '="') + '"', null],
  ];
  for (const echo of echoes) {
    const stage = createStage();
    const first = stage.connect();
    const added = first.begin().action('ReadAllItems');
    t.equal(added[0], 'Set-Cookie');
    first.close();
    const [cookie = '', left] = echo(added[1] ?? '');
    const step = stage.connect('198.51.100.9').reply('ReadAllItems', { cookie: cookie ?? '' });
    t.strictSame(step.exchange.headers, left == null ? ['Host', 'dls'] : ['Host', 'dls', 'Cookie', left]);
    step.action('CleanUp');
    t.strictSame(stage.outcomes(), ['completed'], cookie ?? '');
  }
});

t.test('headers without our cookie go on as the very same array', async (t) => {
  const stage = createStage();
  const headers = ['Cookie', 'JSESSIONID=1; Path=/', 'X-Note', 'sallyport=is a word here'];
  t.equal(stage.connect().post(Buffer.from('<x/>'), headers).exchange.headers, headers);
});

t.test('our cookie is given once, and not to a phone that already has one', async (t) => {
  const stage = createStage({ ownCookieName: 'ours' });
  const phone = stage.connect();
  const [, cookie = ''] = phone.begin().action('ReadAllItems');
  t.match(cookie, /^ours=[0-9a-f]{48}$/);
  t.strictSame(phone.reply('ReadAllItems', { cookie }).action('WriteItems'), []);
  t.strictSame(phone.reply('WriteItems', { cookie }).action('CleanUp'), []);
  t.strictSame(stage.connect().begin('solicited', { cookie: 'PHPSESSID=1; path=/' }).action('ReadItems'), []);
  t.strictSame(stage.connect().begin('solicited', { mac: null }).action('ReadItems'), [], 'none for nobody');
});

t.test(
  'a late reply of a session that another has replaced is never taken for one of the newer',
  async (t) => {
    for (const [how, cookies] of Object.entries({
      'without cookies': [undefined, undefined],
      'with our cookie': [undefined, undefined],
      'with cookies of the service': ['JSESSIONID=A', 'JSESSIONID=B'],
    })) {
      const own = how === 'with our cookie';
      for (const stays of [true, false]) {
        const stage = createStage();
        const set = (cookie: string | undefined) => (cookie === undefined ? {} : { setCookie: cookie });
        const shown = (given: string | undefined, lines: readonly string[]) => {
          const cookie = given ?? (own ? lines[1] : undefined);
          return cookie === undefined ? {} : { cookie };
        };
        const former = stage.connect();
        const first = shown(cookies[0], former.begin().action('WriteItems', set(cookies[0])));
        const newer = stage.connect();
        const second = shown(cookies[1], newer.begin().action('WriteItems', set(cookies[1])));
        if (!stays) former.close();
        if (!stays) newer.close();
        t.strictSame(stage.outcomes(), ['cut'], 'the former session is over');
        // By its address alone a phone without a cookie is nobody's after that.
        (stays ? former : stage.connect()).reply('WriteItems', first).action('CleanUp');
        t.strictSame(stage.outcomes(), ['cut'], `${how}, ${stays ? 'on its own' : 'on another'} connection`);
        if (!stays && !own && cookies[1] === undefined) continue;
        (stays ? newer : stage.connect()).reply('WriteItems', second).action('CleanUp');
        t.strictSame(stage.outcomes(), ['cut', 'completed'], 'the newer goes on by its own reply');
      }
    }
  },
);

t.test('a phone may come back to a connection on which its session was before', async (t) => {
  const stage = createStage();
  const cookie = 'PHPSESSID=1; path=/';
  const first = stage.connect();
  first.begin('solicited', { cookie }).action('ReadItems');
  const second = stage.connect();
  second.reply('ReadItems', { cookie }).action('WriteItems');
  first.reply('WriteItems', { cookie }).action('CleanUp');
  t.strictSame(stage.outcomes(), ['completed']);
});

t.test('a phone that keeps the cookie of its session before is known by it', async (t) => {
  const stage = createStage();
  const first = stage.connect();
  const [, cookie = ''] = first.begin().action('ReadItems');
  first.reply('ReadItems').action('CleanUp');
  first.close();
  const second = stage.connect();
  const [, fresh] = second.begin('solicited', { cookie }).action('ReadItems');
  t.not(fresh, cookie, 'it is given another one');
  second.close();
  stage.connect('198.51.100.9').reply('ReadItems', { cookie }).action('CleanUp');
  t.strictSame(stage.outcomes(), ['completed', 'completed'], 'though it shows the old one');
});

t.test('a cookie that came with a phone beginning a session is remembered', async (t) => {
  const stage = createStage();
  const first = stage.connect();
  first.begin('solicited', { cookie: 'PHPSESSID=old; path=/' }).action('ReadItems');
  first.close();
  stage.connect('198.51.100.9').reply('ReadItems', { cookie: 'PHPSESSID=old; path=/' }).action('CleanUp');
  t.strictSame(stage.outcomes(), ['completed']);
});

t.test('a cookie that several phones have identifies none of them', async (t) => {
  const stage = createStage();
  for (const mac of [MAC, OTHER_MAC]) {
    const phone = stage.connect();
    phone.begin('solicited', { mac }).action('ReadItems', { setCookie: ['NODE=1', `S=${mac}`] });
    phone.close();
  }
  stage.since();
  stage.connect().reply('ReadItems', { cookie: 'NODE=1' }).action('CleanUp');
  t.strictSame(stage.since(), ['odd unidentified null (reply of nobody known)']);
  stage
    .connect()
    .reply('ReadItems', { cookie: `NODE=1; S=${MAC}` })
    .action('CleanUp');
  t.strictSame(stage.since(), ['answered CleanUp', `ended ${DEVICE} solicited completed`]);
});

t.test(
  'without any cookie, a reply is known by address and Action where only one phone can mean it',
  async (t) => {
    const stage = createStage();
    const first = stage.connect();
    first.begin().action('ReadItems');
    first.close();
    stage.connect().reply('ReadItems').action('CleanUp');
    t.strictSame(stage.outcomes(), ['completed']);
  },
);

t.test('where two phones behind one address could mean it, nothing is guessed', async (t) => {
  const stage = createStage();
  for (const mac of [MAC, OTHER_MAC]) {
    const phone = stage.connect();
    phone.begin('solicited', { mac }).action('ReadItems');
    phone.close();
  }
  stage.since();
  stage.connect().reply('ReadItems').action('CleanUp');
  t.strictSame(stage.since(), ['odd unidentified null (reply of nobody known)']);
  t.equal(stage.watcher.sessions(), 2);
});

t.test("a reply that may be another phone's is nobody's", async (t) => {
  /** What the other phone did at the address where ours is awaited then. It replies only now. */
  const others: Record<string, (stage: Stage) => void> = {
    'its clean-up was answered by a question': (stage) => {
      const other = stage.connect();
      other.begin('solicited', { mac: OTHER_MAC }).action('ReadItems');
      other.cleanUp().action('ReadItems');
      other.close();
    },
    'its clean-up was answered by something unread': (stage) => {
      const other = stage.connect();
      other.begin('solicited', { mac: OTHER_MAC }).action('ReadItems');
      const { exchange } = other.cleanUp();
      exchange.answeredUnread({ status: 200, headers: [] });
      exchange.delivered();
      other.close();
    },
    'its clean-up was answered by a question, and that it has got it is not told yet': (stage) => {
      const other = stage.connect();
      other.begin('solicited', { mac: OTHER_MAC }).action('ReadItems');
      other.cleanUp().undelivered('ReadItems');
    },
    'it came from there with a clean-up that was answered by a question': (stage) => {
      const first = stage.connect('198.51.100.9');
      first.begin('solicited', { mac: OTHER_MAC }).action('ReadItems', { setCookie: 'S=2' });
      first.close();
      const second = stage.connect();
      second.cleanUp({ cookie: 'S=2' }).action('ReadItems');
      second.close();
    },
    'its last answer could not be read, and it has not come back for long': (stage) => {
      const other = stage.connect();
      other.begin('solicited', { mac: OTHER_MAC }).answer(200, '<!DOCTYPE x><DLSMessage/>');
      other.close();
      stage.clock.advance(61_000);
    },
    'it came over from another address, naming itself': (stage) => {
      const first = stage.connect('198.51.100.9');
      first.begin('solicited', { mac: OTHER_MAC }).action('ReadAllItems');
      first.close();
      const second = stage.connect();
      second.reply('ReadAllItems', { mac: OTHER_MAC }).action('ReadItems');
      second.close();
    },
    'it went over to another address, and may be back': (stage) => {
      const first = stage.connect();
      first.begin('solicited', { mac: OTHER_MAC }).action('ReadItems');
      first.close();
      stage.connect('198.51.100.9').reply('ReadItems', { mac: OTHER_MAC }).action('ReadItems');
    },
  };
  for (const [what, happens] of Object.entries(others)) {
    const stage = createStage();
    happens(stage);
    const ours = stage.connect();
    ours.begin().action('ReadItems');
    ours.close();
    stage.since();
    stage.connect().reply('ReadItems').action('CleanUp');
    t.strictSame(stage.since(), ['odd unidentified null (reply of nobody known)'], what);
  }
});

t.test('a phone without cookies that has come over from another address is known there', async (t) => {
  const stage = createStage();
  const first = stage.connect('198.51.100.9');
  first.begin().action('ReadAllItems');
  first.close();
  const second = stage.connect();
  second.reply('ReadAllItems', { mac: MAC }).action('WriteItems');
  second.close();
  stage.connect('198.51.100.9').reply('WriteItems').action('CleanUp');
  t.strictSame(stage.outcomes(), [], 'and no longer at the one before');
  stage.connect().reply('WriteItems').action('CleanUp');
  t.strictSame(stage.outcomes(), ['completed']);
});

t.test('phones that the courier leads are awaited at their address like others', async (t) => {
  const courierOf = async (...macs: string[]) => {
    const clock = createFakeClock();
    const outbox = createModelOutbox({ clock, random: seededRandom(2) });
    for (const mac of macs) {
      const actions = [{ action: 'WriteItems', items: [{ name: 'e164', value: '1' }] }];
      await outbox.push({
        device: parseDeviceId(mac)!,
        kind: 'dls',
        ttl: 86_400_000,
        delay: 0,
        actions: JSON.stringify(readActions(actions)),
      });
    }
    const pending = createPendingView({ outbox, clock, log: silentLog });
    await pending.ready;
    return createCourier({ config: DEFAULT_COURIER, outbox, pending, clock, log: silentLog, deadAfter: 20 });
  };
  /** The courier's answer goes out, and the connection closes. */
  const led = async (stage: Stage, mac: string) => {
    const phone = stage.connect();
    const { exchange } = phone.begin('solicited', { mac });
    t.ok(await exchange.later, 'the courier leads it');
    exchange.delivered();
    phone.close();
  };

  const alone = createStage({ courier: await courierOf(MAC) });
  await led(alone, MAC);
  const { exchange } = alone.connect().reply('WriteItems');
  await exchange.later;
  exchange.delivered();
  t.strictSame(alone.outcomes(), ['completed']);

  const two = createStage({ courier: await courierOf(OTHER_MAC) });
  await led(two, OTHER_MAC);
  const ours = two.connect();
  const begun = ours.begin('solicited');
  await begun.exchange.later;
  begun.action('WriteItems');
  ours.close();
  two.since();
  two.connect().reply('WriteItems').action('CleanUp');
  t.strictSame(two.since(), ['odd unidentified null (reply of nobody known)']);
});

t.test(
  'neither the wrong Action, nor another address, nor a phone that is still connected will do',
  async (t) => {
    const stage = createStage();
    const first = stage.connect();
    first.begin().action('ReadItems');
    stage.connect().reply('ReadItems').action('CleanUp');
    first.close();
    stage.connect().reply('WriteItems').action('CleanUp');
    stage.connect('198.51.100.9').reply('ReadItems').action('CleanUp');
    t.strictSame(stage.outcomes(), []);
    t.equal(stage.told.filter((line) => line.startsWith('odd unidentified')).length, 3);
  },
);

t.test('a reply that names its device is known by that, where that device is awaited with it', async (t) => {
  const stage = createStage();
  const first = stage.connect();
  first.begin().action('ReadAllItems');
  stage.connect('198.51.100.9').reply('ReadAllItems', { mac: MAC }).action('CleanUp');
  t.strictSame(stage.outcomes(), [], 'not while the phone is connected elsewhere');
  first.close();
  stage.connect('198.51.100.9').reply('WriteItems', { mac: MAC }).action('CleanUp');
  t.strictSame(stage.outcomes(), [], 'nor for another Action');
  stage.connect('198.51.100.9').reply('ReadAllItems', { mac: '001ae8-000001' }).action('CleanUp');
  t.strictSame(stage.outcomes(), ['completed']);
});

t.test('a reply with cookies that nobody knows is not known by its address', async (t) => {
  const stage = createStage();
  const first = stage.connect();
  first.begin().action('ReadItems', { setCookie: 'S=1' });
  first.close();
  stage.connect().reply('ReadItems', { cookie: 'S=2' }).action('CleanUp');
  t.strictSame(stage.outcomes(), []);
});

t.test('once somebody unknown was answered at an address, the address says nothing', async (t) => {
  for (const unread of [false, true]) {
    const stage = createStage();
    const first = stage.connect();
    first.begin().action('ReadItems');
    first.close();
    const stranger = stage.connect().post(Buffer.from('<unreadable'));
    if (unread) stranger.exchange.answeredUnread({ status: 200, headers: [] });
    else stranger.action('ReadItems');
    stage.connect().reply('ReadItems').action('CleanUp');
    t.strictSame(stage.outcomes(), []);
  }
});

t.test('a phone whose question or answer nobody has read may be the one that replies', async (t) => {
  const meanwhile: Record<string, (stage: Stage) => void> = {
    'an answer passed unread': (stage) => {
      const other = stage.connect();
      const { exchange } = other.begin('solicited', { mac: OTHER_MAC });
      exchange.answeredUnread({ status: 200, headers: [] });
      exchange.delivered();
      other.close();
    },
    'an answer could not be read': (stage) => {
      const other = stage.connect();
      other.begin('solicited', { mac: OTHER_MAC }).answer(200, '<!DOCTYPE x><DLSMessage/>');
      other.close();
    },
    'a message passed unread': (stage) => {
      const other = stage.connect();
      other.begin('solicited', { mac: OTHER_MAC }).action('ReadAllItems');
      other.unread('size').answered({ status: 200, headers: [] });
      other.close();
    },
    'a message passed unread, and may come again': (stage) => {
      const other = stage.connect();
      other.begin('solicited', { mac: OTHER_MAC }).action('ReadItems');
      other.unread('size');
      other.close();
    },
    'a reply of nobody known was cut off, and may come again': (stage) => {
      stage.connect().reply('WriteItems').exchange.cut('upstream');
    },
    'an answer is with the phone, and that is not told yet': (stage) => {
      stage.connect().begin('solicited', { mac: OTHER_MAC }).undelivered('ReadItems');
    },
    'a reply was shed, and may come again': (stage) => {
      const other = stage.connect();
      other.begin('solicited', { mac: OTHER_MAC }).action('ReadItems');
      other.reply('ReadItems').action('CleanUp', { items: [{ name: 'cleanup-reason', value: 'overload' }] });
      other.close();
    },
    'a reply was answered with an error, and may come again': (stage) => {
      const other = stage.connect();
      other.begin('solicited', { mac: OTHER_MAC }).action('ReadItems');
      other.reply('ReadItems').answer(500);
      other.close();
    },
  };
  for (const [what, happens] of Object.entries(meanwhile)) {
    const stage = createStage();
    const first = stage.connect();
    first.begin().action('ReadItems');
    first.close();
    happens(stage);
    stage.since();
    stage.connect().reply('ReadItems').action('CleanUp');
    t.strictSame(stage.since(), ['odd unidentified null (reply of nobody known)'], what);
  }
});

t.test('a phone that waits for its answer is not the one that replies', async (t) => {
  const stage = createStage();
  const first = stage.connect();
  first.begin().action('ReadItems');
  first.close();
  const other = stage.connect();
  other.begin('solicited', { mac: OTHER_MAC }).action('ReadItems');
  other.reply('ReadItems');
  stage.connect().reply('ReadItems').action('CleanUp');
  t.strictSame(stage.outcomes(), ['completed']);
});

t.test(
  'after a restart nobody is known by an address alone, until all that ran before is over',
  async (t) => {
    const stage = createStage({ resumed: true });
    const come = (address: string): void => {
      const phone = stage.connect(address);
      phone.begin().action('ReadItems');
      phone.close();
      stage.connect(address).reply('ReadItems').action('CleanUp');
    };
    come('192.0.2.1');
    t.strictSame(stage.outcomes(), []);
    stage.clock.advance(600_001);
    come('203.0.113.1');
    t.strictSame(stage.outcomes(), ['cut', 'completed']);
  },
);

t.test('after a restart a cookie of upstream tells nothing at first, as everybody may have it', async (t) => {
  const stage = createStage({ resumed: true });
  const come = (setCookie: string[]): void => {
    const phone = stage.connect();
    const lines = phone.begin().action('ReadItems', { setCookie });
    phone.close();
    const cookie = setCookie[0] ?? lines[1] ?? '';
    stage.connect('198.51.100.9').reply('ReadItems', { cookie }).action('CleanUp');
  };
  come(['NODE=1']);
  t.strictSame(stage.outcomes(), []);
  come([]);
  t.strictSame(stage.outcomes(), ['cut', 'completed'], 'one of our own does');
  stage.clock.advance(60_001);
  come(['NODE=1']);
  t.strictSame(stage.outcomes(), ['cut', 'completed', 'completed']);
});

t.test('our own cookie does not go on with a request that nobody reads', async (t) => {
  const stage = createStage();
  const phone = stage.connect();
  const [, cookie = ''] = phone.begin().action('ReadAllItems');
  for (const reason of ['size', 'method'] as const) {
    t.strictSame(phone.unread(reason, ['Host', 'dls', 'Cookie', cookie]).headers, ['Host', 'dls'], reason);
  }
});

t.test('cookies of an answer that nobody reads are learnt, or known to be of nobody', async (t) => {
  const cookie = ['Set-Cookie', 'S=1; Path=/'];
  const stage = createStage();
  const come = (): void => {
    const phone = stage.connect();
    const { exchange } = phone.begin();
    exchange.answeredUnread({ status: 200, headers: cookie });
    exchange.delivered();
    phone.unread('size').answered({ status: 200, headers: cookie });
    phone.close();
    stage.connect('198.51.100.9').reply('WriteItems', { cookie: 'S=1' }).action('CleanUp');
  };
  come();
  t.strictSame(stage.outcomes(), ['completed'], 'learnt');
  stage.connect('198.51.100.9').unread('size').answered({ status: 200, headers: cookie });
  come();
  t.strictSame(stage.outcomes(), ['completed'], 'somebody unknown has it, too');
});

t.test('a cookie that somebody unknown was given identifies nobody', async (t) => {
  const stage = createStage();
  const first = stage.connect();
  first.begin().action('ReadItems', { setCookie: 'NODE=1' });
  first.close();
  stage.connect('198.51.100.9').post(Buffer.from('<unreadable')).action('ReadItems', { setCookie: 'NODE=1' });
  stage.connect('198.51.100.9').reply('ReadItems', { cookie: 'NODE=1' }).action('CleanUp');
  t.strictSame(stage.outcomes(), []);
});

t.test('contradicting signs of identity are not weighed', async (t) => {
  const stage = createStage();
  for (const mac of [MAC, OTHER_MAC]) {
    const phone = stage.connect();
    phone.begin('solicited', { mac }).action('ReadAllItems', { setCookie: `S=${mac}` });
    phone.close();
  }
  stage.since();
  stage
    .connect()
    .reply('ReadAllItems', { cookie: `S=${MAC}; S=${OTHER_MAC}` })
    .action('CleanUp');
  stage
    .connect()
    .reply('ReadAllItems', { cookie: `S=${MAC}`, mac: OTHER_MAC })
    .action('CleanUp');
  const phone = stage.connect();
  phone.begin('solicited', { mac: '00:1A:E8:00:00:03' }).action('ReadAllItems');
  phone.reply('ReadAllItems', { mac: MAC }).action('CleanUp');
  t.strictSame(stage.outcomes(), []);
  t.equal(stage.told.filter((line) => line.startsWith('odd unidentified')).length, 3);
  stage.since();
  stage.connect().begin('solicited', { mac: null, cookie: `S=${MAC}; S=${OTHER_MAC}` });
  phone.begin('solicited', { mac: null, cookie: `S=${MAC}` });
  t.equal(stage.since().filter((line) => line === 'began null solicited').length, 2);
});

t.test('a session whose device is unknown is followed but has no device', async (t) => {
  const stage = createStage();
  for (const mac of [null, 'no device id!', '']) {
    const phone = stage.connect();
    phone.begin('solicited', { mac }).action('ReadAllItems');
    phone.reply('ReadAllItems', { mac: MAC }).action('CleanUp');
  }
  t.strictSame(stage.outcomes(), ['completed', 'completed', 'completed']);
  t.notOk(stage.told.some((line) => line.includes(DEVICE)));
});

t.test('a beginning without a device id is that of the connection, or of the cookie', async (t) => {
  const stage = createStage();
  const phone = stage.connect();
  const [, cookie = ''] = phone.begin('start-up').action('ReadItems');
  phone.reply('ReadItems').action('CleanUp');
  phone.begin('solicited', { mac: null }).action('CleanUp');
  stage.connect().begin('status', { mac: null, cookie }).action('CleanUp');
  t.strictSame(
    stage.told.filter((line) => line.startsWith('ended')),
    ['start-up', 'solicited', 'status'].map((reason) => `ended ${DEVICE} ${reason} completed`),
  );
});

t.test('two device ids in one message are none', async (t) => {
  const stage = createStage();
  stage.connect().begin('solicited', { items: [{ name: 'mac-addr', value: OTHER_MAC }] });
  t.match(stage.since(), ['odd unidentified null (no device id)', 'began null solicited']);
});

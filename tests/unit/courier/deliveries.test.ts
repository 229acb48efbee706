import t from 'tap';
import { COURIER_LIMITS } from '../../../relay-client/courier/limits.ts';
import { bodyOf, DEVICE, startLab } from './lab.ts';

const write = (items: Record<string, string>) => ({
  action: 'WriteItems',
  items: Object.entries(items).map(([name, value]) => ({ name, value })),
});

for (const keepAlive of [true, false]) {
  const phones = keepAlive ? 'keeps its connection' : 'closes after each request';
  t.test(`a phone that ${phones} is told and asked in order, the nonces echoed`, async (t) => {
    const lab = await startLab(t);
    const phone = lab.phone({ keepAlive });
    const { id } = await lab.hold([
      write({ 'terminal-name': 'lobby', realm: 'Ä & <b>' }),
      { action: 'ReadItems', items: ['terminal-name', 'no-such-item'] },
      { action: 'ReadItems', items: [{ name: 'codec-priority', index: 3 }, 'function-key-def'] },
    ]);
    const session = await phone.openSession('solicited');
    t.match(session, { outcome: 'completed', endedBy: 'clean-up', sendSolicited: false });
    t.strictSame(session.actions, ['WriteItems', 'ReadItems', 'ReadItems', 'CleanUp']);
    t.equal(phone.items.get('terminal-name'), 'lobby');
    t.equal(phone.items.get('realm'), 'Ä & <b>');
    await lab.sessions(1);
    t.strictSame(lab.ended, ['solicited completed by courier']);
    const { state, endedBy, read } = await lab.look(id);
    t.match({ state, endedBy }, { state: 'cleared', endedBy: 'courier' });
    t.match(read, [
      {
        action: 'WriteItems',
        status: 'accepted',
        items: [
          { name: 'terminal-name', status: 'accepted' },
          { name: 'realm', status: 'accepted' },
        ],
      },
      {
        action: 'ReadItems',
        items: [
          { name: 'terminal-name', status: 'accepted', value: 'lobby' },
          { name: 'no-such-item', status: 'failed' },
        ],
      },
      { action: 'ReadItems' },
    ]);
    t.equal(read[2]?.items.length, 61, 'a name without an index reads all there are');
    t.strictSame(read[2]?.items[0], { name: 'codec-priority', index: '3', status: 'accepted', value: '3' });
    t.strictSame(lab.service.requests, [], 'the service is not asked');
    const nonces = phone.exchanges.map(({ request, answer }) =>
      [request, answer].map((each) => /nonce="([^"]+)"/.exec(bodyOf(each))?.[1]),
    );
    for (const [asked, answered] of nonces) t.equal(answered, asked);
    t.equal(new Set(nonces.map(([asked]) => asked)).size, 4);
    t.strictSame(lab.counted, ['WriteItems accepted', 'ReadItems accepted', 'ReadItems accepted']);
  });
}

t.test('messages go one after another, in one session', async (t) => {
  const lab = await startLab(t);
  const phone = lab.phone();
  const first = await lab.hold([write({ realm: 'one' })]);
  const second = await lab.hold([{ action: 'ReadItems', items: ['realm'] }]);
  const later = await lab.hold([write({ realm: 'three' })], { delay: 3_600_000 });
  const session = await phone.openSession('solicited');
  t.strictSame(session.actions, ['WriteItems', 'ReadItems', 'CleanUp']);
  t.match(await lab.look(first.id), { state: 'cleared' });
  t.match((await lab.look(second.id)).read, [{ items: [{ value: 'one' }] }]);
  t.match(await lab.look(later.id), { state: 'held', results: null });
});

t.test('each item tells how it came out', async (t) => {
  const lab = await startLab(t);
  const phone = lab.phone({ unknownItems: ['strange'], failingItems: ['broken'], refuseEmpty: true });
  const { id } = await lab.hold([
    write({ realm: 'ok', strange: '1', broken: '1', 'mac-addr': '1', 'terminal-name': '' }),
    { action: 'ReadItems', items: ['nothing-there'] },
  ]);
  await phone.openSession('solicited');
  const { state, read } = await lab.look(id);
  t.equal(state, 'cleared');
  t.strictSame(
    read[0]?.items.map(({ name, status }) => [name, status]),
    [
      ['realm', 'accepted'],
      ['strange', 'unknown item'],
      ['broken', 'failed'],
      ['mac-addr', 'read only'],
      ['terminal-name', 'missing item content'],
    ],
  );
  t.equal(read[0]?.status, 'accepted');
  t.match(await lab.outbox.recentHistory(DEVICE, 9), [
    {},
    { event: 'cleared', facts: { actions: 2, items: 6, items_refused: 5 } },
  ]);
});

t.test('an action that the phone refuses is failed, and the next one follows', async (t) => {
  const lab = await startLab(t);
  const phone = lab.phone({ failingActions: ['ReadAllItems'] });
  const { id } = await lab.hold([{ action: 'ReadAllItems' }, write({ realm: 'next' })]);
  const session = await phone.openSession('solicited');
  t.strictSame(session.actions, ['ReadAllItems', 'WriteItems', 'CleanUp']);
  const { state, read } = await lab.look(id);
  t.equal(state, 'cleared');
  t.match(read, [{ status: 'failed', why: 'the phone replied failed' }, { status: 'accepted' }]);
});

t.test('a busy phone keeps its work, and comes again by itself', async (t) => {
  const lab = await startLab(t);
  const phone = lab.phone();
  const { id } = await lab.hold([
    { action: 'ReadItems', items: ['realm'] },
    write({ realm: 'after the call' }),
  ]);
  phone.setInCall(true);
  const session = await phone.openSession('solicited');
  t.match(session, { busy: true, sendSolicited: true, actions: ['ReadItems', 'WriteItems', 'CleanUp'] });
  await lab.sessions(1);
  t.strictSame(lab.ended, ['solicited busy by courier']);
  t.match(await lab.look(id), { state: 'held', fruitlessSessions: 0 });
  t.equal((await lab.look(id)).read.length, 1, 'what was answered is kept');
  phone.setInCall(false);
  await lab.sessions(2);
  t.equal(phone.items.get('realm'), 'after the call');
  t.match(await lab.look(id), { state: 'cleared' });
  t.strictSame(lab.counted, ['ReadItems accepted', 'WriteItems accepted'], 'and not asked for twice');
});

for (const fragmentAction of ['GetNextFragment', 'original'] as const) {
  t.test(`a reply in parts is joined; later parts name ${fragmentAction}`, async (t) => {
    const lab = await startLab(t);
    const phone = lab.phone({ fragmentItems: 40, fragmentAction });
    const { id } = await lab.hold([{ action: 'ReadAllItems' }, { action: 'ReadItems', items: ['realm'] }]);
    const session = await phone.openSession('solicited');
    t.equal(session.outcome, 'completed');
    t.ok(session.actions.filter((action) => action === 'GetNextFragment').length >= 5);
    const { read } = await lab.look(id);
    t.equal(read[0]?.items.length, phone.items.all().length);
    t.match(
      read[0]?.items.find(({ name }) => name === 'admin-pwd'),
      { withheld: true, value: undefined },
    );
    t.notOk(JSON.stringify(read).includes('123456'), 'what is secret is not kept');
    t.match(read[1]?.items, [{ name: 'realm', value: 'phones' }]);
  });
}

t.test('a reply without end is cut short, and says so', async (t) => {
  const lab = await startLab(t);
  const phone = lab.phone({ fragmentItems: 1 });
  const { id } = await lab.hold([{ action: 'ReadAllItems' }]);
  const session = await phone.openSession('solicited');
  t.equal(session.outcome, 'completed');
  const { state, read } = await lab.look(id);
  t.match({ state, read }, { state: 'cleared', read: [{ status: 'accepted', truncated: true }] });
  t.equal(read[0]?.items.length, 200);
});

t.test('what a phone does not take at once is split, items of one index together', async (t) => {
  const lab = await startLab(t);
  const phone = lab.phone({ maxItems: 5 });
  const keys = Array.from({ length: 9 }, (_, i) => i + 1);
  const { id } = await lab.hold([
    {
      action: 'WriteItems',
      items: [
        ...keys.map((index) => ({ name: 'function-key-def', index, value: '7' })),
        ...keys.map((index) => ({ name: 'key-label-unicode', index, value: `K${index}` })),
      ],
    },
  ]);
  const session = await phone.openSession('solicited');
  t.strictSame(session.actions, [...Array<string>(5).fill('WriteItems'), 'CleanUp']);
  t.notOk(session.replies.includes('failed'));
  for (const { answer } of phone.exchanges) {
    const indexes = [...bodyOf(answer).matchAll(/index="(\d+)"/g)].map(([, index]) => index);
    t.equal(indexes.length, new Set(indexes).size * 2, 'both items of an index');
  }
  t.equal((await lab.look(id)).read[0]?.items.length, 18);
});

t.test('an action of more documents than a session has answers is brought to its end', async (t) => {
  const lab = await startLab(t);
  const phone = lab.phone({ maxItems: 1 });
  const items = Array.from({ length: COURIER_LIMITS.answers + 20 }, (_, i) => ({
    name: `n${i}`,
    value: String(i),
  }));
  const { id } = await lab.hold([
    { action: 'WriteItems', items },
    { action: 'ReadItems', items: ['realm'] },
  ]);
  const first = await phone.openSession('solicited');
  t.equal(first.actions.length, items.length + 1);
  t.match(first, { sendSolicited: true, outcome: 'completed' }, 'no other action is begun');
  await lab.sessions(2);
  t.match(await lab.look(id), { state: 'cleared' });
  t.strictSame(lab.ended, ['solicited again by courier', 'solicited completed by courier']);
});

t.test('documents stay within 50 kB', async (t) => {
  const lab = await startLab(t);
  const phone = lab.phone();
  const items = Array.from({ length: 30 }, (_, i) => ({ name: `text-${i}`, value: '&'.repeat(3_000) }));
  await lab.hold([{ action: 'WriteItems', items }]);
  const session = await phone.openSession('solicited');
  t.ok(session.actions.length > 8);
  for (const { answer } of phone.exchanges) t.ok(Buffer.byteLength(bodyOf(answer)) <= 50_000);
  for (const { name, value } of items) t.equal(phone.items.get(name), value);
});

t.test('what cannot be split is not sent to a phone that takes fewer items', async (t) => {
  const lab = await startLab(t);
  const phone = lab.phone({ maxItems: 1 });
  const { id } = await lab.hold([
    {
      action: 'FileDeployment',
      items: [
        { name: 'file-name', value: 'a.png' },
        { name: 'file-type', value: 'LOGO' },
      ],
    },
    { action: 'ReadItems', items: ['realm'] },
  ]);
  const session = await phone.openSession('solicited');
  t.strictSame(session.actions, ['ReadItems', 'CleanUp']);
  t.match((await lab.look(id)).read, [{ status: 'failed', why: /takes 1 items/ }, { status: 'accepted' }]);
});

t.test('a phone that comes by itself is the service’s, and what is held stays', async (t) => {
  const lab = await startLab(t);
  const phone = lab.phone();
  const { id } = await lab.hold([write({ realm: 'x' })]);
  for (const reason of ['start-up', 'local-changes', 'inventory-changes'] as const) {
    await phone.openSession(reason);
  }
  t.match(await lab.look(id), { state: 'held', results: null });
  t.ok(lab.service.requests.length >= 3);
});

t.test('the courier works while the service is down', async (t) => {
  const lab = await startLab(t, { down: true });
  const phone = lab.phone();
  const { id } = await lab.hold([write({ realm: 'alone' })]);
  t.match(await phone.openSession('solicited'), { outcome: 'completed' });
  t.match(await lab.look(id), { state: 'cleared' });
  t.match(await phone.openSession('solicited'), { outcome: 'failed', status: 502 });
});

for (const supportsSendSolicited of [true, false]) {
  const how = supportsSendSolicited ? 'at once' : 'at its next poll';
  t.test(`a phone that the service wants too is led on to it, ${how}`, async (t) => {
    const lab = await startLab(t);
    const phone = lab.phone({ supportsSendSolicited });
    const call = await lab.call();
    const { id } = await lab.hold([write({ realm: 'mine' })]);
    t.match(await phone.openSession('solicited'), { sendSolicited: true });
    await lab.sessions(1);
    t.match(lab.ended[0], 'solicited again by courier');
    t.match(await lab.look(id), { state: 'cleared' });
    if (!supportsSendSolicited) {
      t.match(await lab.look(call.id), { state: 'held' });
      await phone.openSession('solicited');
    }
    await lab.sessions(2);
    await lab.until(async () => (await lab.look(call.id)).state === 'cleared');
    t.strictSame(lab.ended, ['solicited again by courier', 'solicited completed']);
    t.match(await lab.look(call.id), { endedBy: 'session' });
  });
}

t.test('a message that was cancelled on its way is not gone on with', async (t) => {
  const lab = await startLab(t);
  const phone = lab.phone();
  const { id } = await lab.hold([write({ realm: 'first' }), write({ 'terminal-name': 'second' })]);
  const next = await lab.hold([write({ e164: '4711' })]);
  let cancelled: Promise<unknown> | null = null;
  phone.on((event) => {
    if (event.type === 'items-written') {
      cancelled ??= lab.outbox.end(id, { state: 'cancelled', by: 'api' });
    }
  });
  const session = await phone.openSession('solicited');
  t.strictSame(session.actions, ['WriteItems', 'WriteItems', 'CleanUp']);
  t.equal(phone.items.get('e164'), '4711');
  t.not(phone.items.get('terminal-name'), 'second');
  t.match(await lab.look(id), { state: 'cancelled' });
  t.match(await lab.look(next.id), { state: 'cleared' });
});

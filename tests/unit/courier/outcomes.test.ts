import { randomBytes } from 'node:crypto';
import t from 'tap';
import { createModelOutbox } from '../../../relay-client/outbox/model.ts';
import type { Message, Outbox } from '../../../relay-client/outbox/outbox.ts';
import { systemClock } from '../../../shared/clock.ts';
import { readActions } from '../../../relay-client/courier/actions.ts';
import { writeResults } from '../../../relay-client/courier/results.ts';
import type { ActionResult } from '../../../relay-client/courier/results.ts';
import { parseDeviceId } from '../../../shared/device-id.ts';
import type { DeviceId } from '../../../shared/device-id.ts';
import { bodyOf, startLab } from './lab.ts';

const restart = { action: 'Restart' };
const write = { action: 'WriteItems', items: [{ name: 'realm', value: 'after' }] };
const file = (...more: object[]) => ({
  action: 'FileDeployment',
  items: [
    { name: 'file-https-base-url', value: 'https://files.example/logo.png' },
    { name: 'file-type', value: 'LOGO' },
    ...more,
  ],
});
const software = (version: string) => ({
  action: 'SoftwareDeployment',
  items: [{ name: 'file-sw-version', value: version }],
});

t.test('a restart ends its session; what follows it waits for the next one', async (t) => {
  const lab = await startLab(t);
  const phone = lab.phone({ rebootMs: 1 });
  const { id } = await lab.hold([restart, write]);
  const rebooted = phone.next('session', ({ reason }) => reason === 'start-up');
  const session = await phone.openSession('solicited');
  t.match(session, { actions: ['Restart', 'CleanUp'], sendSolicited: false, outcome: 'completed' });
  await rebooted;
  t.match(await lab.look(id), { state: 'held', read: [{ action: 'Restart', status: 'accepted' }] });
  t.strictSame((await phone.openSession('solicited')).actions, ['WriteItems', 'CleanUp']);
  t.match(await lab.look(id), { state: 'cleared', read: [{}, { action: 'WriteItems' }] });
});

t.test('a phone that restarts without a word is not restarted twice', async (t) => {
  const lab = await startLab(t);
  const phone = lab.phone();
  const { id } = await lab.hold([restart]);
  const other = await lab.wpi.phone();
  other.send(post(solicited('N1')));
  t.match((await other.answer()).body, /<Action>Restart</);
  other.socket.destroy();
  await phone.openSession('start-up');
  await lab.until(async () => (await lab.look(id)).state === 'cleared');
  t.match((await lab.look(id)).read, [{ status: 'accepted', why: /started up since/ }]);
});

t.test('a message that cannot be opened keeps no other waiting, and stays held', async (t) => {
  const model = createModelOutbox({ clock: systemClock, random: randomBytes });
  let broken = '';
  const closed = (message: Message): Message => ({
    ...message,
    actions: message.id === broken ? null : message.actions,
  });
  const outbox = Object.create(model, {
    overdue: { value: async (limit: number) => (await model.overdue(limit)).map(closed) },
    awaited: { value: async (device: DeviceId) => (await model.awaited(device)).map(closed) },
  }) as Outbox;
  const lab = await startLab(t, { outbox, config: { fileWait: 50 } });
  const waiting: ActionResult = { action: 'FileDeployment', status: 'waiting', at: 0, items: [] };
  const other = parseDeviceId('00:1A:E8:00:00:02') as DeviceId;
  const actions = JSON.stringify(readActions([file()]));
  broken = (await model.push({ device: other, kind: 'dls', ttl: 60_000, delay: 0, actions })).message.id;
  await model.advance(broken, { results: writeResults([waiting]), wait: 1 });
  const { id } = await lab.hold([file()]);
  await model.advance(id, { results: writeResults([waiting]), wait: 2 });
  await lab.until(async () => (await lab.look(id)).state === 'cleared');
  t.match(await lab.look(id), { read: [{ status: 'unconfirmed' }] });
  t.match(await lab.look(broken), { state: 'held', read: [{ status: 'waiting' }] });
});

t.test('what was cut off before its answer is sent again, what was answered is not', async (t) => {
  const lab = await startLab(t);
  const phone = lab.phone();
  const { id } = await lab.hold([{ action: 'ReadItems', items: ['realm'] }, write]);
  const other = await lab.wpi.phone();
  other.send(post(solicited('N1')));
  t.match((await other.answer()).body, /nonce="N1"[^]*<Action>ReadItems</);
  other.send(post(reply('N2', 'ReadItems')));
  t.match((await other.answer()).body, /nonce="N2"[^]*<Action>WriteItems</);
  other.socket.destroy();
  t.match(await lab.look(id), { state: 'held', fruitlessSessions: 0, read: [{ action: 'ReadItems' }] });
  t.strictSame((await phone.openSession('solicited')).actions, ['WriteItems', 'CleanUp']);
  t.match(await lab.look(id), { state: 'cleared' });
  await lab.sessions(2);
  t.strictSame(lab.ended, ['solicited cut by courier', 'solicited completed by courier']);
});

for (const [downloads, status] of [
  ['pretend-ok', 'done'],
  ['pretend-failed', 'failed'],
] as const) {
  t.test(`a file is followed to its status session: ${status}`, async (t) => {
    const lab = await startLab(t);
    const phone = lab.phone({ downloads });
    const { id } = await lab.hold([file(), write]);
    const told = phone.next('session', ({ reason }) => reason === 'status');
    t.strictSame((await phone.openSession('solicited')).actions, ['FileDeployment', 'CleanUp']);
    await told;
    await lab.until(async () => (await lab.look(id)).read[0]?.status !== 'waiting');
    t.match(await lab.look(id), { state: 'held', read: [{ status }] });
    await lab.until(async () => (await lab.outbox.nextActions((await lab.look(id)).device)) !== null);
    await phone.openSession('solicited');
    t.match(await lab.look(id), { state: 'cleared', read: [{ status }, { status: 'accepted' }] });
    t.match(lab.counted, [`FileDeployment waiting`, `FileDeployment ${status}`, 'WriteItems accepted']);
  });
}

t.test('while an outcome is awaited the message is not offered, and others are', async (t) => {
  const lab = await startLab(t);
  const phone = lab.phone({ downloads: 'pretend-ok' });
  const { id, device } = await lab.hold([file({ name: 'file-name', value: 'other.png' })]);
  const quiet = lab.phone({ downloads: 'pretend-ok' });
  const session = await quiet.openSession('solicited');
  t.strictSame(session.actions, ['FileDeployment', 'CleanUp']);
  await quiet.close();
  const waiting = await lab.look(id);
  if (waiting.state === 'held') {
    t.match(waiting.read, [{ status: 'waiting' }]);
    t.ok(waiting.dueIn > 500_000);
    t.equal(await lab.outbox.nextActions(device), null);
  }
  const next = await lab.hold([write]);
  t.strictSame((await phone.openSession('solicited')).actions, ['WriteItems', 'CleanUp']);
  t.match(await lab.look(next.id), { state: 'cleared' });
});

t.test('deletions and several files have no outcome to wait for', async (t) => {
  const lab = await startLab(t);
  const phone = lab.phone({ downloads: 'pretend-ok' });
  const deletion = await lab.hold([file({ name: 'file-action', value: 'delete' })]);
  const several = await lab.hold([
    {
      action: 'FileDeployment',
      items: [1, 2].map((index) => ({ name: 'file-name', index, value: `${index}.png` })),
    },
  ]);
  await phone.openSession('solicited');
  await phone.openSession('solicited');
  for (const { id } of [deletion, several]) {
    t.match(await lab.look(id), { state: 'cleared', read: [{ status: 'accepted' }] });
  }
});

t.test('firmware is followed to the start-up with its version', async (t) => {
  const lab = await startLab(t);
  const phone = lab.phone({ rebootMs: 1 });
  const { id } = await lab.hold([software('V3 R5.13.0')]);
  t.strictSame((await phone.openSession('solicited')).actions, ['SoftwareDeployment', 'CleanUp']);
  await lab.until(async () => (await lab.look(id)).state === 'cleared');
  t.match((await lab.look(id)).read, [{ action: 'SoftwareDeployment', status: 'done' }]);
});

t.test(
  'another version at start-up says nothing; when the wait is over the outcome is unknown',
  async (t) => {
    const lab = await startLab(t, { config: { softwareWait: 1_500 } });
    const { id } = await lab.hold([software('V9')]);
    const other = await lab.wpi.phone();
    other.send(post(solicited('N1')));
    t.match((await other.answer()).body, /<Action>SoftwareDeployment</);
    other.send(post(reply('N2', 'SoftwareDeployment')));
    t.match((await other.answer()).body, /<Action>CleanUp</);
    const phone = lab.phone();
    await phone.openSession('start-up');
    t.match(await lab.look(id), { state: 'held', read: [{ status: 'waiting' }] });
    await lab.until(async () => (await lab.look(id)).state === 'cleared');
    t.match((await lab.look(id)).read, [{ status: 'unconfirmed' }]);
    t.match(lab.counted, ['SoftwareDeployment waiting', 'SoftwareDeployment unconfirmed']);
  },
);

t.test('sessions that come to nothing make a message dead, and leave the contact-me alone', async (t) => {
  const lab = await startLab(t, { deadAfter: 2 });
  const call = await lab.call();
  const { id } = await lab.hold([write]);
  for (const odd of [reply('N2', 'ReadAllItems'), cleanUp('N2')]) {
    const other = await lab.wpi.phone();
    other.send(post(solicited('N1')));
    await other.answer();
    other.send(post(odd));
    await other.answer();
    other.socket.destroy();
  }
  await lab.until(async () => (await lab.look(id)).state === 'dead');
  t.match(await lab.look(id), { fruitlessSessions: 2 });
  t.match(await lab.look(call.id), { state: 'held', fruitlessSessions: 0 });
  await lab.sessions(2);
  t.strictSame(lab.ended, ['solicited refused by courier', 'solicited phone-clean-up by courier']);
});

t.test('a newer session of the device takes over, and only it writes results', async (t) => {
  const lab = await startLab(t);
  const { id } = await lab.hold([write, { action: 'ReadItems', items: ['realm'] }]);
  const [one, two] = [await lab.wpi.phone(), await lab.wpi.phone()];
  one.send(post(solicited('A1')));
  t.match((await one.answer()).body, /<Action>WriteItems</);
  two.send(post(solicited('B1')));
  t.match((await two.answer()).body, /<Action>WriteItems</);
  one.send(post(reply('A2', 'WriteItems')));
  t.notMatch((await one.answer()).body, /ReadItems/, 'the older one is not gone on with');
  t.match((await lab.look(id)).read, []);
  two.send(post(reply('B2', 'WriteItems')));
  t.match((await two.answer()).body, /nonce="B2"[^]*<Action>ReadItems</);
  two.send(post(reply('B3', 'ReadItems', '<Item name="realm">after</Item>')));
  t.match((await two.answer()).body, /<Action>CleanUp</);
  t.match(await lab.look(id), { state: 'cleared', read: [{}, { items: [{ value: 'after' }] }] });
});

t.test('answers of the courier are what phones can read', async (t) => {
  const lab = await startLab(t);
  const phone = lab.phone();
  await lab.hold([write]);
  await phone.openSession('solicited');
  for (const { answer } of phone.exchanges) {
    const head = answer.toString('latin1').split('\r\n\r\n')[0] ?? '';
    t.match(head, /^HTTP\/1\.1 200 OK\r\n/);
    t.match(head, /Content-Type: text\/xml/i);
    t.match(head, new RegExp(`Content-Length: ${Buffer.byteLength(bodyOf(answer))}\\b`, 'i'));
    t.notMatch(head, /transfer-encoding/i);
  }
});

const MAC_ITEM = '<Item name="mac-addr">00:1A:E8:00:00:01</Item>';
const message = (nonce: string, reason: string, items: string): string =>
  `<WorkpointMessage xmlns="http://www.siemens.com/DLS"><Message nonce="${nonce}" maxItems="-1">${reason}<ItemList>${items}</ItemList></Message></WorkpointMessage>`;
const solicited = (nonce: string): string =>
  message(nonce, '<ReasonForContact>solicited</ReasonForContact>', MAC_ITEM);
const cleanUp = (nonce: string): string =>
  message(nonce, '<ReasonForContact>clean-up</ReasonForContact>', MAC_ITEM);
const reply = (nonce: string, action: string, items = ''): string =>
  message(nonce, `<ReasonForContact action="${action}" status="accepted">reply-to</ReasonForContact>`, items);
const post = (body: string): string =>
  `POST /DeploymentService/LoginService HTTP/1.1\r\nHost: dls.example\r\nContent-Length: ${body.length}\r\n\r\n${body}`;

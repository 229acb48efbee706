import t from 'tap';
import type { Test } from 'tap';
import { DEFAULT_COURIER } from '../../../relay-client/courier/config.ts';
import { readActions } from '../../../relay-client/courier/actions.ts';
import { createStrangers } from '../../../relay-client/courier/strangers.ts';
import { createIsSecret, maskActions, tellsSecrets } from '../../../relay-client/courier/secrets.ts';
import { createFakeClock } from '../../fixtures/fake-clock.ts';
import { authority, temporaryDirectory, writeCredentials } from '../services/harness.ts';
import { bodyOf, DEVICE, startLab } from './lab.ts';

const isSecret = createIsSecret(DEFAULT_COURIER.secretItems);
const SECRET = { action: 'WriteItems', items: [{ name: 'sip-pwd', value: 'hunter2' }] };
const PLAIN = { action: 'WriteItems', items: [{ name: 'realm', value: 'plain' }] };

t.test('what is known to be secret is so by default', async (t) => {
  for (const name of [
    'user-pwd',
    'admin-pwd',
    'sip-pwd',
    'FILE-PWD',
    'restart-password',
    'bootstrapping-tan',
    'cloud-pin-value',
    'secure-mode-data',
    'dls-client-certificate',
    'tls-private-key',
    'pin',
  ]) {
    t.ok(isSecret(name), name);
  }
  for (const name of ['realm', 'e164', 'function-key-def', 'key-label-unicode', 'mapping', 'dls-server-ca'])
    t.notOk(isSecret(name), name);
  const literal = createIsSecret(['a.b', 'c*']);
  t.strictSame(['a.b', 'axb', 'c', 'cd', 'dc'].map(literal), [true, false, true, true, false]);
});

t.test('secrets are in what a phone is told, not in what it is asked', async (t) => {
  t.ok(tellsSecrets(readActions([PLAIN, SECRET]), isSecret));
  t.notOk(tellsSecrets(readActions([PLAIN, { action: 'ReadItems', items: ['sip-pwd'] }]), isSecret));
  t.notOk(
    tellsSecrets(readActions([{ action: 'WriteItems', items: [{ name: 'sip-pwd', value: '' }] }]), isSecret),
    'deleting one tells nothing',
  );
  t.strictSame(maskActions(readActions([SECRET]), isSecret), [
    { action: 'WriteItems', items: [{ name: 'sip-pwd', value: '***' }] },
  ]);
});

t.test('a phone that proves nothing does not get secrets; they stay held', async (t) => {
  const lab = await startLab(t);
  const phone = lab.phone();
  const { id } = await lab.hold([SECRET]);
  const session = await phone.openSession('solicited');
  t.equal(session.outcome, 'completed');
  t.equal(phone.items.get('sip-pwd'), undefined);
  for (const { answer } of phone.exchanges) t.notMatch(bodyOf(answer), /hunter2/);
  t.match(await lab.look(id), { state: 'held', fruitlessSessions: 0 });
  t.ok(lab.service.requests.length > 0, 'the session is the service’s');
  t.strictSame(lab.counted, ['unproven']);
  await lab.until(async () =>
    (await lab.outbox.recentHistory(DEVICE, 9)).some(({ what }) => what === 'courier-unproven'),
  );
});

t.test('secrets are put off for a phone that is not proven, and what is behind them goes on', async (t) => {
  const { clientCa, tls, another } = await certified(t, '001AE8000001');
  const lab = await startLab(t, { clientCa });
  const { id } = await lab.hold([SECRET]);
  const behind = await lab.hold([PLAIN]);
  t.strictSame((await lab.phone(another).openSession('solicited')).actions, ['WriteItems', 'CleanUp']);
  t.match(await lab.look(behind.id), { state: 'cleared' });
  const putOff = await lab.look(id);
  t.match(putOff, { state: 'held', fruitlessSessions: 0 });
  t.ok(putOff.dueIn > 30_000 && putOff.dueIn <= 60_000, `a 202 would be in vain for ${putOff.dueIn} ms`);

  const phone = lab.phone({ tls });
  await phone.openSession('start-up');
  await lab.until(async () => (await lab.look(id)).dueIn === 0);
  await lab.phone(another).openSession('solicited');
  t.equal((await lab.look(id)).dueIn, 0, 'nobody else puts it off for a phone that has proven itself');
  await phone.openSession('solicited');
  t.match(await lab.look(id), { state: 'cleared' });
  t.equal(phone.items.get('sip-pwd'), 'hunter2');
});

t.test('what is about to expire is put off once in a session, not over and over', async (t) => {
  const lab = await startLab(t);
  const { id } = await lab.hold([SECRET], { ttl: 2_500 });
  const before = lab.outbox.sequence();
  await lab.phone().openSession('solicited');
  t.match(await lab.look(id), { state: 'held' });
  const entries = await lab.outbox.history({ after: before, limit: 100 });
  t.equal(entries.filter(({ event }) => event === 'deferred').length, 1);
});

t.test('the wait of strangers grows to an hour, and ends with the phone itself', async (t) => {
  const clock = createFakeClock();
  const strangers = createStrangers(clock);
  const waits: number[] = [];
  for (let n = 0; n < 9; n += 1) {
    waits.push(strangers.refused(DEVICE) / 60_000);
    clock.advance(20_000);
    t.equal(strangers.refused(DEVICE), waits.at(-1)! * 60_000 - 20_000, 'one more puts off nothing further');
    clock.advance(4_000_000);
  }
  t.strictSame(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
  t.ok(strangers.proven(DEVICE));
  t.equal(strangers.refused(DEVICE), 0);
  t.notOk(strangers.proven(DEVICE));
});

t.test('what comes before a secret is delivered', async (t) => {
  const lab = await startLab(t);
  const phone = lab.phone();
  const first = await lab.hold([PLAIN]);
  const { id } = await lab.hold([SECRET]);
  t.strictSame((await phone.openSession('solicited')).actions, ['WriteItems', 'CleanUp']);
  t.match(await lab.look(first.id), { state: 'cleared' });
  t.match(await lab.look(id), { state: 'held' });
});

for (const [name, config] of [
  ['an address that is trusted', { allowSources: ['127.0.0.0/8'] }],
  ['the will of the operator', { deliverUnauthenticated: true }],
  ['no such pattern', { secretItems: ['other'] }],
] as const) {
  t.test(`secrets are told for ${name}`, async (t) => {
    const lab = await startLab(t, { config });
    const phone = lab.phone();
    const { id } = await lab.hold([SECRET]);
    await phone.openSession('solicited');
    t.equal(phone.items.get('sip-pwd'), 'hunter2');
    t.match(await lab.look(id), { state: 'cleared' });
  });
}

t.test('an address elsewhere is none that is trusted', async (t) => {
  const lab = await startLab(t, { config: { allowSources: ['10.0.0.0/8'] } });
  const { id } = await lab.hold([SECRET]);
  await lab.phone().openSession('solicited');
  t.match(await lab.look(id), { state: 'held' });
});

/** A client certificate with that common name, one of another phone, and the file of their authority. */
async function certified(t: Test, commonName: string) {
  const ca = await authority();
  const directory = temporaryDirectory(t);
  const { cert, key } = await ca.issue([commonName]);
  const other = await ca.issue(['001AE8000002']);
  const { cert: clientCa } = writeCredentials(directory, 'ca', { cert: ca.cert, key: '' });
  const shown = { rejectUnauthorized: false };
  return { clientCa, tls: { cert, key, ...shown }, another: { tls: { ...other, ...shown } } };
}

for (const [name, told] of [
  ['001AE8000001', true],
  ['00-1a-e8-00-00-01', true],
  ['001ae8000002', false],
  ['phones.example', false],
] as const) {
  t.test(`a certificate for ${name} ${told ? 'proves the phone' : 'proves another'}`, async (t) => {
    const { clientCa, tls } = await certified(t, name);
    const lab = await startLab(t, { clientCa });
    const { id } = await lab.hold([SECRET]);
    const phone = lab.phone({ tls });
    for (let i = 0; i < 2; i++) t.equal((await phone.openSession('solicited')).outcome, 'completed');
    t.equal(phone.items.get('sip-pwd'), told ? 'hunter2' : undefined);
    t.match(await lab.look(id), { state: told ? 'cleared' : 'held' });
  });
}

for (const [secretResults, item] of [
  ['withhold', { withheld: true }],
  ['mask', { value: '***' }],
  ['show', { value: '123456' }],
] as const) {
  t.test(`a secret that a phone tells: ${secretResults}`, async (t) => {
    const lab = await startLab(t, { config: { secretResults } });
    const { id } = await lab.hold([{ action: 'ReadItems', items: ['admin-pwd'] }]);
    await lab.phone().openSession('solicited');
    const message = await lab.look(id);
    t.strictSame(message.read[0]?.items, [{ name: 'admin-pwd', status: 'accepted', ...item }]);
    t.equal(message.results?.includes('123456'), secretResults === 'show');
  });
}

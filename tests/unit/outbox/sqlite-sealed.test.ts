import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import t from 'tap';
import { CONTENT_COLUMNS } from '../../../relay-client/outbox/rules/rows.ts';
import { defineFunctions } from '../../../relay-client/outbox/store-check.ts';
import { contactMe, dls, hold, phone, refuses } from './conformance/lab.ts';
import { openAt } from './sqlite-lab.ts';
import { until } from '../../fixtures/until.ts';

const SECRET = 'canary-user-pwd-8472';
const ACTIONS = JSON.stringify([{ action: 'WriteItems', items: { 'user-pwd': SECRET } }]);

/** Every byte that stands in the files of a directory. */
const bytesIn = (directory: string): string =>
  readdirSync(directory)
    .map((name) => readFileSync(join(directory, name), 'latin1'))
    .join('\n');

t.test('what a message carries is nowhere on the disk, and comes back whole', async (t) => {
  const home = t.testdir();
  const path = join(home, 'outbox');
  const outbox = await openAt(t, path);
  t.equal(statSync(`${path}.key`).mode & 0o777, 0o600);
  const { id } = await hold(outbox, dls(phone(1), ACTIONS, { key: 'job' }));
  const doomed = await hold(outbox, dls(phone(2), ACTIONS));
  t.match(await outbox.fruitless(phone(2), doomed.generation, 1), [{ state: 'dead', actions: ACTIONS }]);
  const partly = await hold(outbox, dls(phone(3), ACTIONS));
  const answered = JSON.stringify([{ items: { 'sip-pwd': SECRET } }]);
  t.match(await outbox.advance(partly.id, { results: answered, wait: 0 }), {
    results: answered,
    actions: ACTIONS,
  });
  const done = await hold(outbox, dls(phone(4), ACTIONS));
  const cleared = { state: 'cleared', results: answered } as const;
  t.match(await outbox.end(done.id, { ...cleared, by: 'session' }), cleared);
  t.notMatch(bytesIn(path), SECRET, 'while it runs, in the log too');
  await outbox.backup(join(home, 'backup.db'));
  t.notMatch(readFileSync(join(home, 'backup.db'), 'latin1'), SECRET);
  await outbox.close();
  t.notMatch(bytesIn(path), SECRET);

  const again = await openAt(t, path);
  t.match(await again.message(id), { actions: ACTIONS });
  t.match(await again.message(partly.id), { actions: ACTIONS, results: answered });
  t.match(await again.message(done.id), { ...cleared, actions: null });
  t.match(await again.messages(phone(2), 5), [{ state: 'dead', actions: ACTIONS }]);
  t.match(await again.redrive(doomed.id), { state: 'held', actions: ACTIONS });
  t.match(await again.push(dls(phone(1), ACTIONS, { key: 'job' })), { known: true, message: { id } });
  await refuses(t, again.push(dls(phone(1), '[]', { key: 'job' })), 'KEY_REUSED');
  t.match(await again.end(id, { state: 'cancelled', by: 'api' }), { actions: null });
  t.match(await again.push(dls(phone(1), ACTIONS, { key: 'job' })), { known: true }, 'known after its end');
});

t.test('without the key that sealed, the outbox is refused and nothing is touched', async (t) => {
  const path = join(t.testdir(), 'outbox');
  const keyFile = `${path}.key`;
  let outbox = await openAt(t, path);
  const { id } = await hold(outbox, dls(phone(1), ACTIONS));
  await outbox.close();
  const key = readFileSync(keyFile, 'utf8');
  rmSync(keyFile);
  await refuses(t, openAt(t, path), 'OUTBOX_KEY_MISSING', /outbox\.key is not there/);
  t.same(readdirSync(join(path, '..')), ['outbox'], 'no other key is made in its place');

  writeFileSync(keyFile, execFileSync('openssl', ['rand', '-base64', '32']));
  await refuses(t, openAt(t, path), 'OUTBOX_KEY_MISSING', /sealed with key \S+, and .*outbox\.key has only/);
  for (const [text, pattern] of [
    ['# nothing\n', /holds no key/],
    [`${key.trim()}=\n`, /line \d of .*outbox\.key is no key/],
    ['c2hvcnQ=\n', /line 1 .* is no key/],
  ] as const) {
    writeFileSync(keyFile, text);
    await refuses(t, openAt(t, path), 'KEY_INVALID', pattern);
  }
  rmSync(keyFile);
  mkdirSync(keyFile);
  await refuses(t, openAt(t, path), 'FILE_UNREADABLE', /outbox\.key/);
  rmSync(keyFile, { recursive: true });

  writeFileSync(keyFile, key);
  outbox = await openAt(t, path);
  t.match(await outbox.message(id), { actions: ACTIONS });
});

t.test('a key file that cannot be made is named, with how to make it', async (t) => {
  const home = t.testdir({ file: '' });
  const keyFile = join(home, 'file', 'outbox.key');
  await refuses(
    t,
    openAt(t, join(home, 'outbox'), { keyFile }),
    'FILE_UNWRITABLE',
    /openssl rand -base64 32 >/,
  );
});

t.test('an outbox that holds nothing secret needs no old key', async (t) => {
  const path = join(t.testdir(), 'outbox');
  const outbox = await openAt(t, path);
  await hold(outbox, contactMe(phone(1), { key: 'job' }));
  await outbox.close();
  rmSync(`${path}.key`);
  const again = await openAt(t, path);
  t.match(await again.push(contactMe(phone(1), { key: 'job' })), { known: true });
});

t.test('a new key on top seals from then on, and the old one opens', async (t) => {
  const path = join(t.testdir(), 'outbox');
  const keyFile = `${path}.key`;
  let outbox = await openAt(t, path);
  const old = await hold(outbox, dls(phone(1), ACTIONS, { key: 'job' }));
  await outbox.close();
  // As docs/operating.md tells.
  execFileSync('sh', ['-c', `(umask 077; openssl rand -base64 32; cat ${keyFile}) > ${keyFile}.new`]);
  copyFileSync(`${keyFile}.new`, keyFile);
  outbox = await openAt(t, path);
  const fresh = await hold(outbox, dls(phone(2), ACTIONS));
  t.match(await outbox.message(old.id), { actions: ACTIONS });
  t.match(await outbox.push(dls(phone(1), ACTIONS, { key: 'job' })), { known: true });
  await outbox.close();
  const [newest = ''] = readFileSync(keyFile, 'utf8').split('\n');
  writeFileSync(keyFile, newest);
  await refuses(t, openAt(t, path), 'OUTBOX_KEY_MISSING');
  copyFileSync(`${keyFile}.new`, keyFile);
  outbox = await openAt(t, path);
  t.match(await outbox.message(fresh.id), { actions: ACTIONS });
});

/** Sums are against accidents: whoever changes a store on purpose can write them as well. */
function sumAnew(db: DatabaseSync): void {
  defineFunctions(db);
  db.exec(`UPDATE messages SET sum = sum_of(${CONTENT_COLUMNS.join(', ')})`);
}

t.test('what somebody moved or wrote in clear is refused, and can still end', async (t) => {
  const path = join(t.testdir(), 'outbox');
  let outbox = await openAt(t, path);
  const one = await hold(outbox, dls(phone(1), ACTIONS));
  const other = await hold(outbox, dls(phone(2), '[]'));
  const next = await hold(outbox, dls(phone(2), ACTIONS));
  for (const { id } of [other, next]) await outbox.advance(id, { results: '[1]', wait: 1 });
  await outbox.close();
  const db = new DatabaseSync(join(path, 'outbox.db'));
  db.prepare('UPDATE messages SET actions = (SELECT actions FROM messages WHERE id = ?) WHERE id = ?').run(
    one.id,
    other.id,
  );
  sumAnew(db);
  db.close();
  outbox = await openAt(t, path);
  await refuses(t, outbox.message(other.id), 'OUTBOX_DAMAGED', new RegExp(other.id));
  t.match(await outbox.message(one.id), { actions: ACTIONS });
  const both = [
    { id: other.id, actions: null },
    { id: next.id, actions: ACTIONS, results: '[1]' },
  ];
  t.match(await outbox.awaited(phone(2)), both, 'nobody waits behind it');
  await until('both are overdue', async () => (await outbox.overdue(9)).length >= both.length);
  t.match(await outbox.overdue(9), both);
  t.match(await outbox.end(next.id, { state: 'cancelled', by: 'api' }), { state: 'cancelled' });
  t.match(await outbox.fruitless(phone(2), other.generation, 1), [{ state: 'dead', actions: null }]);
  await refuses(t, outbox.redrive(other.id), 'OUTBOX_DAMAGED');
  t.match(await outbox.device(phone(2)), { pending: 0, dead: 1 }, 'nothing of that was done');
  await outbox.close();
  const again = new DatabaseSync(join(path, 'outbox.db'));
  again.prepare('UPDATE messages SET actions = ? WHERE id = ?').run(ACTIONS, one.id);
  sumAnew(again);
  again.close();
  await refuses(t, openAt(t, path), 'OUTBOX_DAMAGED', /should be sealed is not/);
});

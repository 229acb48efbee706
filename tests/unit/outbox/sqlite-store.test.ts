import { randomBytes } from 'node:crypto';
import { chmodSync, closeSync, copyFileSync, mkdirSync, openSync, readdirSync, readFileSync } from 'node:fs';
import { renameSync, rmSync, statSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import t from 'tap';
import type { Test } from 'tap';
import { SCHEMA_VERSION } from '../../../relay-client/outbox/schema.ts';
import { DEFAULT_OUTBOX_LIMITS } from '../../../relay-client/outbox/outbox.ts';
import type { OutboxLimits } from '../../../relay-client/outbox/outbox.ts';
import { pushRequest } from '../../../relay-client/outbox/push-request.ts';
import { createSealer } from '../../../relay-client/outbox/sealer.ts';
import { createSqliteLedger } from '../../../relay-client/outbox/sqlite-ledger.ts';
import { CONTENT_COLUMNS } from '../../../relay-client/outbox/rules/rows.ts';
import { readStore, writeStore } from '../../../relay-client/outbox/sqlite-statements.ts';
import { defineFunctions } from '../../../relay-client/outbox/store-check.ts';
import { openStore } from '../../../relay-client/outbox/store-file.ts';
import { openSqliteOutbox } from '../../../relay-client/outbox/sqlite.ts';
import { systemClock } from '../../../shared/clock.ts';
import { silentLog } from '../../../shared/log.ts';
import { createFakeClock } from '../../fixtures/fake-clock.ts';
import { mountSmallDisk, noMounting } from '../../fixtures/small-disk.ts';
import { audit, contactMe, DAY, dls, hold, HOUR, phone, refuses } from './conformance/lab.ts';
import { acceptedBy, openAt, startPusher } from './sqlite-lab.ts';

const PAGE = 4096;

const permissions = (path: string): string => (statSync(path).mode & 0o777).toString(8);

const open = (path: string) =>
  openSqliteOutbox({
    path,
    clock: systemClock,
    random: randomBytes,
    log: silentLog,
    onFatal: () => undefined,
  });

/** A closed outbox with a few hundred messages in it. */
async function filled(t: Test, path: string): Promise<void> {
  const outbox = await openAt(t, path);
  await outbox.pushMany(Array.from({ length: 400 }, (_, n) => dls(phone(n), JSON.stringify('x'.repeat(n)))));
  await outbox.close();
}

t.test('the directory is made, and nobody else may read what is in it', async (t) => {
  const path = join(t.testdir(), 'deep', 'outbox');
  const outbox = await openAt(t, path);
  await hold(outbox, contactMe(phone(1)));
  t.equal(permissions(path), '700');
  const files = readdirSync(path).sort();
  t.match(files, ['outbox.db', 'outbox.db-shm', 'outbox.db-wal', 'outbox.lock']);
  t.equal(files.length, 4);
  for (const file of files) t.equal(permissions(join(path, file)), '600', file);
  await outbox.close();
  t.same(readdirSync(path).sort(), ['outbox.db', 'outbox.lock']);
});

t.test('a file that others could read is closed to them', async (t) => {
  const path = t.testdir();
  await filled(t, path);
  chmodSync(join(path, 'outbox.db'), 0o644);
  const outbox = await openAt(t, path);
  t.equal(permissions(join(path, 'outbox.db')), '600');
  await outbox.close();
});

t.test('a directory that can’t be made is named', async (t) => {
  const path = join(t.testdir({ file: '' }), 'file', 'outbox');
  await refuses(t, open(path), 'FILE_UNWRITABLE', new RegExp(path));
});

const asRoot = process.getuid?.() === 0;

t.test('a directory that may not be written is named', { skip: asRoot && noMounting }, async (t) => {
  // Permissions don't stop root; a read-only disk does.
  const path = asRoot ? mountSmallDisk(t, 'ro') : t.testdir();
  if (!asRoot) chmodSync(path, 0o500);
  t.teardown(() => (asRoot ? undefined : chmodSync(path, 0o700)));
  await refuses(t, open(path), 'FILE_UNWRITABLE', new RegExp(path));
});

t.test('an outbox in use by another process is refused, until that one is gone', async (t) => {
  const path = t.testdir();
  const pusher = startPusher(t, path);
  await pusher.said((line) => line.startsWith('accepted'));
  await refuses(t, open(path), 'OUTBOX_LOCKED', new RegExp(path));
  const before = acceptedBy(pusher).length;
  let more = before + 5;
  await pusher.said((line) => line.startsWith('accepted') && --more <= 0);
  pusher.child.kill('SIGKILL');
  await pusher.ended;
  const outbox = await openAt(t, path);
  for (const id of acceptedBy(pusher)) t.match(await outbox.message(id), { state: 'held' });
  await refuses(t, open(path), 'OUTBOX_LOCKED', /another/);
  await outbox.close();
});

t.test('a damaged store is refused, and left as it is', async (t) => {
  const whole = t.testdir();
  await filled(t, whole);
  const original = readFileSync(join(whole, 'outbox.db'));
  const damages: [name: string, pattern: RegExp, damage: (file: string) => void][] = [
    ['cut', /outbox|malformed/, (file) => truncateSync(file, original.length - 3 * PAGE)],
    ['empty', /not an outbox/, (file) => truncateSync(file, 0)],
    ['another file', /file is not a database/, (file) => writeFileSync(file, 'Dear diary, '.repeat(1000))],
    [
      'another database',
      /not an outbox/,
      (file) => {
        rmSync(file);
        new DatabaseSync(file).exec('CREATE TABLE cats (name)');
      },
    ],
    [
      'overwritten pages',
      /outbox\.db|malformed/,
      (file) => {
        const handle = openSync(file, 'r+');
        for (let at = 10 * PAGE; at < original.length; at += 7 * PAGE) {
          writeSync(handle, randomBytes(PAGE), 0, PAGE, at);
        }
        closeSync(handle);
      },
    ],
    [
      'a lost message',
      /should be .* held, but/,
      (file) => {
        const db = new DatabaseSync(file);
        db.exec('DELETE FROM messages WHERE n = 7');
        db.close();
      },
    ],
    [
      'gone, its log still here',
      /missing/,
      (file) => {
        renameSync(file, `${file}-wal`);
      },
    ],
  ];
  for (const [name, pattern, damage] of damages) {
    const path = t.testdir({ [name]: {} });
    const directory = join(path, name);
    const file = join(directory, 'outbox.db');
    writeFileSync(file, original);
    damage(file);
    await refuses(t, open(directory), 'OUTBOX_DAMAGED', pattern);
    await refuses(t, open(directory), 'OUTBOX_DAMAGED', new RegExp(directory));
  }
});

t.test('a store of a newer version is refused', async (t) => {
  const path = t.testdir();
  await filled(t, path);
  const db = new DatabaseSync(join(path, 'outbox.db'));
  db.exec(`PRAGMA user_version = ${SCHEMA_VERSION + 1}`);
  db.close();
  await refuses(t, open(path), 'OUTBOX_DAMAGED', /format \d+.*newer version/);
});

t.test('a store put back from a copy starts a new incarnation', async (t) => {
  const path = t.testdir();
  await filled(t, path);
  const file = join(path, 'outbox.db');
  copyFileSync(file, join(path, 'copy'));
  let outbox = await openAt(t, path);
  const { incarnation } = outbox;
  await hold(outbox, contactMe(phone(1)));
  await outbox.close();
  rmSync(file);
  renameSync(join(path, 'copy'), file);
  outbox = await openAt(t, path);
  const restored = outbox.incarnation;
  t.not(restored, incarnation);
  t.match(await audit(t, outbox), { accepted: 400 });
  await outbox.close();
  outbox = await openAt(t, path);
  t.equal(outbox.incarnation, restored, 'but only once');
  await outbox.close();
});

t.test(
  'a backup holds everything that was durable, while pushes go on, and starts a new incarnation',
  async (t) => {
    const path = t.testdir();
    const outbox = await openAt(t, join(path, 'outbox'));
    await outbox.pushMany(Array.from({ length: 5000 }, (_, n) => contactMe(phone(n))));
    const file = join(path, 'backup.db');
    writeFileSync(file, 'an older backup');
    let done = false;
    const backup = outbox.backup(file).finally(() => (done = true));
    let pushed = 0;
    while (!done) {
      await hold(outbox, dls(phone(pushed % 50), '[]', { replace: true }));
      pushed++;
    }
    await backup;
    t.equal(permissions(file), '600');
    t.same(readdirSync(path).sort(), ['backup.db', 'outbox', 'outbox.key']);
    t.equal((await audit(t, outbox)).accepted, 5000 + pushed);
    await refuses(t, outbox.backup(join(path, 'nowhere', 'backup.db')), 'FILE_UNWRITABLE', /nowhere/);
    await hold(outbox, contactMe(phone(1)));

    const place = join(path, 'restored');
    mkdirSync(place);
    copyFileSync(file, join(place, 'outbox.db'));
    const copy = await openAt(t, place, { keyFile: join(path, 'outbox.key') });
    t.not(copy.incarnation, outbox.incarnation);
    const { accepted } = await audit(t, copy);
    t.ok(accepted >= 5000 && accepted <= 5000 + pushed, `${accepted} of ${5000 + pushed}`);
    await copy.close();
    const closing = outbox.backup(file);
    await outbox.close();
    await closing;
    await refuses(t, outbox.backup(file), 'CLOSED');
  },
);

t.test('a store doesn’t grow with what ended long ago', async (t) => {
  const path = t.testdir();
  const outbox = await openAt(t, path, { limits: { history: 1000, ended: 1000 } });
  const size = async (): Promise<number> => {
    await outbox.pushMany(Array.from({ length: 4000 }, (_, n) => contactMe(phone(n % 100))));
    const file = join(path, 'backup.db');
    await outbox.backup(file);
    return statSync(file).size;
  };
  const first = await size();
  const second = await size();
  t.ok(second < first * 1.2, `${first} bytes, then ${second}`);
  await outbox.close();
});

t.test('a store of the first version is brought up to this one, with all that it held', async (t) => {
  const path = t.testdir();
  await filled(t, path);
  const db = new DatabaseSync(join(path, 'outbox.db'));
  db.exec(`DROP INDEX messages_by_wait; DROP INDEX messages_by_results;
    ALTER TABLE messages DROP COLUMN results; ALTER TABLE messages DROP COLUMN result_bytes;
    ALTER TABLE messages DROP COLUMN awaited_until; ALTER TABLE store DROP COLUMN result_bytes;
    ALTER TABLE store DROP COLUMN sum; ALTER TABLE messages DROP COLUMN sum; ALTER TABLE history DROP COLUMN sum;
    ALTER TABLE messages DROP COLUMN parked_due; ALTER TABLE messages DROP COLUMN failed; DROP TABLE campaigns;
    ALTER TABLE store DROP COLUMN wall_ahead; PRAGMA user_version = 1`);
  db.close();
  const outbox = await openAt(t, path);
  t.match(await audit(t, outbox), { held: 400 });
  const message = await outbox.nextActions(phone(7));
  t.match(message, { results: null, actions: JSON.stringify('x'.repeat(7)) });
  t.match(await outbox.end(message?.id ?? '', { state: 'cleared', by: 'courier', results: '[1]' }), {
    results: '[1]',
  });
  await outbox.close();
  t.match(await (await openAt(t, path)).message(message?.id ?? ''), { state: 'cleared', results: '[1]' });
});

t.test('a store of the third version, whose time was wall time, loses none of it', async (t) => {
  for (const damaged of [false, true]) {
    const path = join(t.testdir(), String(damaged));
    const clock = createFakeClock();
    const outbox = await openAt(t, path, { clock });
    const { id } = await hold(outbox, contactMe(phone(1), { ttl: DAY }));
    await outbox.close();
    const db = new DatabaseSync(join(path, 'outbox.db'));
    db.exec('ALTER TABLE store DROP COLUMN wall_ahead; PRAGMA user_version = 3');
    defineFunctions(db);
    const wall = clock.wall();
    db.exec(`UPDATE messages SET due_at = due_at + ${wall}, expires_at = expires_at + ${wall}`);
    db.exec(`UPDATE messages SET sum = sum_of(${CONTENT_COLUMNS.join(', ')})`);
    writeStore(db, { ...readStore(db), store_time: wall });
    if (damaged) db.exec('UPDATE store SET seq = seq + 1');
    db.close();
    clock.advance(HOUR);
    if (damaged) {
      await refuses(t, openAt(t, path, { clock }), 'OUTBOX_DAMAGED', /the counters do not have their sum/);
      continue;
    }
    t.equal((await (await openAt(t, path, { clock })).message(id))?.expiresIn, DAY - HOUR);
  }
});

t.test(
  'what a large store has not been checked for at its opening is checked while it is used',
  async (t) => {
    const path = t.testdir();
    await filled(t, path);
    const damage = (sql: string): void => {
      const db = new DatabaseSync(join(path, 'outbox.db'));
      db.exec(sql);
      db.close();
    };
    damage("UPDATE history SET what = 'else' WHERE seq = 17");
    await refuses(t, open(path), 'OUTBOX_DAMAGED', /change 17 does not have its sum/);
    const fatal = Promise.withResolvers<Error>();
    const large = { path, clock: systemClock, random: randomBytes, log: silentLog, wholeCheckBytes: 1 };
    const outbox = await openSqliteOutbox({ ...large, onFatal: fatal.resolve });
    t.match(await fatal.promise, { code: 'OUTBOX_DAMAGED', message: /change 17 does not have its sum/ });
    await refuses(t, outbox.counts(), 'OUTBOX_DAMAGED');
    await outbox.close();

    damage('UPDATE messages SET due_at = due_at + 1 WHERE n = 7');
    await refuses(
      t,
      openSqliteOutbox({ ...large, onFatal: () => undefined }),
      'OUTBOX_DAMAGED',
      /message 7 does not have its sum/,
    );
  },
);

t.test('an outbox that does not add up says so, and goes on', async (t) => {
  const path = t.testdir();
  const told = Promise.withResolvers<string>();
  const outbox = await openAt(t, path, { auditMs: 20, onViolation: told.resolve });
  for (let n = 1; n <= 3; n++) await hold(outbox, contactMe(phone(n)));
  const db = new DatabaseSync(join(path, 'outbox.db'));
  db.exec('DELETE FROM messages WHERE n = 2');
  db.close();
  await hold(outbox, contactMe(phone(4)));
  t.equal(await told.promise, '4 accepted messages should be 0 ended and 4 held, but 3 are held');
  await hold(outbox, contactMe(phone(5)));
  await outbox.close();
});

t.test('a ledger that loses count tells it once', async (t) => {
  const store = openStore(join(t.testdir(), 'outbox'), 'test');
  t.teardown(() => store.close());
  const ledger = createSqliteLedger(
    store.db,
    DEFAULT_OUTBOX_LIMITS,
    createSealer([randomBytes(32)], 'a test'),
  );
  t.equal(ledger.miscount(), null);
  (ledger.store as { accepted: number }).accepted++;
  t.equal(ledger.miscount(), 'of 1 accepted messages 1 are neither held nor ended');
  t.equal(ledger.miscount(), null);
});

t.test(
  'results that had to go are counted in the same commit, also where nothing else was changed',
  async (t) => {
    const store = openStore(join(t.testdir(), 'outbox'), 'test');
    t.teardown(() => store.close());
    const sealer = createSealer([randomBytes(32)], 'a test');
    const now = { at: 1, wall: 1, ahead: 0 };
    const open = (limits: Partial<OutboxLimits>) =>
      createSqliteLedger(store.db, { ...DEFAULT_OUTBOX_LIMITS, ...limits }, sealer);

    const before = open({});
    const request = pushRequest('a message', dls(phone(1), '[]'));
    before.push(now, request);
    before.end(now, request.id, { state: 'cleared', by: 'session', results: '[1]' });
    before.beforeCommit();
    t.equal(readStore(store.db).result_bytes, 3);

    const lowered = open({ resultBytes: 0 });
    lowered.clear(now, phone(2), { state: 'cleared', by: 'api' });
    t.equal(lowered.dirty, true);
    lowered.beforeCommit();
    t.equal(readStore(store.db).result_bytes, 0);
    t.equal(lowered.message(now, request.id)?.results, '');
  },
);

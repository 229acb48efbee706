import { randomBytes } from 'node:crypto';
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import t from 'tap';
import type { Test } from 'tap';
import type { Loss } from '../../../relay-client/outbox/salvage.ts';
import type { openSqliteOutbox } from '../../../relay-client/outbox/sqlite.ts';
import { openStore } from '../../../relay-client/outbox/store-file.ts';
import { systemClock } from '../../../shared/clock.ts';
import { isSallyportError } from '../../../shared/errors.ts';
import { silentLog } from '../../../shared/log.ts';
import { unpackPrevious } from '../../fixtures/previous/unpack.ts';
import { seededRandom } from '../../fixtures/seeded-random.ts';
import { audit, contactMe, dls, hold, phone, refuses } from './conformance/lab.ts';
import { acceptedBy, openAt, startPusher } from './sqlite-lab.ts';

/** Places that are damaged, in each of the files; `DAMAGES=5000 npm test -- tests/unit/outbox/sqlite-damage.test.ts` for more. */
const DAMAGES = Number(process.env['DAMAGES'] ?? 50);

const FILES = ['outbox.db', 'outbox.db-wal', 'outbox.db-shm'];

/** The files of a store by name. */
type Files = Record<string, Buffer>;

function filesIn(directory: string): Files {
  const there = FILES.filter((name) => existsSync(join(directory, name)));
  return Object.fromEntries(there.map((name) => [name, readFileSync(join(directory, name))]));
}

function putFiles(directory: string, files: Files): void {
  rmSync(directory, { recursive: true, force: true });
  mkdirSync(directory);
  for (const [name, bytes] of Object.entries(files)) writeFileSync(join(directory, name), bytes);
}

/** A store with messages in every state, some of it in its log only, as a process leaves it that was killed. */
async function crashedStore(t: Test): Promise<{ files: Files; key: Buffer; accepted: string[] }> {
  const path = join(t.testdir(), 'outbox');
  const outbox = await openAt(t, path);
  await outbox.pushMany(Array.from({ length: 150 }, (_, n) => contactMe(phone(n), { key: `job-${n}` })));
  await outbox.pushMany(
    Array.from({ length: 80 }, (_, n) =>
      dls(phone(n), JSON.stringify('y'.repeat(20 * n)), { campaign: 'c' }),
    ),
  );
  for (let n = 0; n < 30; n++) await outbox.clear(phone(n), { state: 'cleared', by: 'test' });
  for (let n = 30; n < 50; n++) await outbox.fruitless(phone(n), 99, 1);
  outbox.note(phone(900), 'start-up', { service: 'wpi' }, { session: true });
  await outbox.close();
  const pusher = startPusher(t, path);
  await pusher.said(() => acceptedBy(pusher).length >= 20);
  pusher.child.kill('SIGKILL');
  await pusher.ended;
  t.ok(acceptedBy(pusher).length >= 20);
  return { files: filesIn(path), key: readFileSync(`${path}.key`), accepted: acceptedBy(pusher) };
}

/**
 * The files without what their process had not yet heard to be on disk: it may have been killed while it synced one commit
 * more, of which it had told nobody. Where that is damaged, a store without it is as good as one after a power cut.
 */
function withoutUnsynced(files: Files): Files {
  const log = files['outbox.db-wal'] as Buffer;
  // The number of frames in the index, and the bytes of one in the log: sqlite.org/walformat.html §2, fileformat2.html §4.
  const frames = (files['outbox.db-shm'] as Buffer).readUInt32LE(16);
  const frameBytes = 24 + log.readUInt32BE(8);
  return { ...files, 'outbox.db-wal': log.subarray(0, 32 + frames * frameBytes) };
}

/** Everything that a store holds, but what names it. */
function contents(db: DatabaseSync): string {
  const tables = ['messages ORDER BY n', 'devices ORDER BY device', 'history ORDER BY seq'];
  const rows = tables.map((table) => db.prepare(`SELECT * FROM ${table}`).all());
  const store = db.prepare('SELECT * FROM store').get();
  return JSON.stringify([rows, { ...store, file: null, incarnation: null, sum: null }]);
}

t.test('a store in which one byte has changed opens with what it held, or is refused', async (t) => {
  const { files: crashed, accepted } = await crashedStore(t);
  const directory = join(t.testdir(), 'damaged');
  putFiles(directory, withoutUnsynced(crashed));
  const synced = openStore(directory, 'test');
  const promised = contents(synced.db);
  synced.close();
  t.same(
    accepted.filter((id) => !promised.includes(`"${id}"`)),
    [],
    'nobody was told of more than is on disk',
  );
  putFiles(directory, crashed);
  const whole = openStore(directory, 'test');
  const expected = contents(whole.db);
  // As its process leaves it that closed it: all in one file.
  whole.close();
  const closed = filesIn(directory);
  t.same(Object.keys(closed), ['outbox.db']);

  const random = seededRandom(1);
  const below = (n: number): number => random(4).reduce((sum, byte) => sum * 256 + byte, 0) % n;
  const outcome = { refused: 0, whole: 0 };
  const wrong: string[] = [];
  for (const [state, files] of Object.entries({ closed, crashed })) {
    for (const [name, bytes] of Object.entries(files)) {
      for (let i = 0; i < DAMAGES; i++) {
        const at = below(bytes.length);
        const changed = Buffer.from(bytes);
        changed[at] = (changed[at] ?? 0) ^ (1 + below(255));
        putFiles(directory, { ...files, [name]: changed });
        try {
          const store = openStore(directory, 'test');
          const found = contents(store.db);
          if (found === expected || (state === 'crashed' && found === promised)) outcome.whole++;
          else wrong.push(`${state}: ${name} at ${at}`);
          store.close();
        } catch (error) {
          if (isSallyportError(error, 'OUTBOX_DAMAGED')) outcome.refused++;
          else wrong.push(`${state}: ${name} at ${at}: ${String(error)}`);
        }
      }
    }
  }
  t.same(wrong, []);
  t.ok(outcome.refused > DAMAGES && outcome.whole > 10, `${JSON.stringify(outcome)}`);
});

t.test('what is cut off or gone is noticed', async (t) => {
  const { files } = await crashedStore(t);
  const directory = join(t.testdir(), 'damaged');
  const { 'outbox.db': db, 'outbox.db-wal': log } = files as Record<string, Buffer>;
  const damages: Record<string, [Files, RegExp]> = {
    'the log is gone': [
      { 'outbox.db': db!, 'outbox.db-shm': files['outbox.db-shm']! },
      /log is missing or empty/,
    ],
    'the log is empty': [{ ...files, 'outbox.db-wal': Buffer.alloc(0) }, /log is missing or empty/],
    'the log is cut': [{ ...files, 'outbox.db-wal': log!.subarray(0, log!.length - 5000) }, /log is damaged/],
    'the store is gone': [{ 'outbox.db-wal': log! }, /outbox\.db is missing/],
    'the store is empty': [{ 'outbox.db': Buffer.alloc(0) }, /not an outbox/],
    'the store is cut': [{ 'outbox.db': db!.subarray(0, db!.length >> 1) }, /damaged/],
  };
  for (const [what, [damaged, pattern]] of Object.entries(damages)) {
    await t.test(what, async (t) => {
      putFiles(directory, damaged);
      const asked = Promise.resolve().then(() => openStore(directory, 'test').close());
      await refuses(t, asked, 'OUTBOX_DAMAGED', pattern);
      t.same(
        Object.keys(damaged).map((name) => readFileSync(join(directory, name)).equals(damaged[name]!)),
        Object.keys(damaged).map(() => true),
        'and left as it is',
      );
      const store = openStore(directory, 'test', true);
      t.equal(store.renewed, 'restored');
      store.close();
      const again = openStore(directory, 'test');
      t.equal(again.loss, null, 'what was kept is sound');
      again.close();
    });
  }
});

t.test('what is readable of a damaged store is kept, and what is gone is told', async (t) => {
  const { files: crashed, key } = await crashedStore(t);
  const directory = join(t.testdir(), 'damaged');
  writeFileSync(`${directory}.key`, key);
  putFiles(directory, crashed);
  const original = openStore(directory, 'test');
  type Held = { id: string; device: string; held: number; generation: number };
  const rows = original.db.prepare('SELECT * FROM messages').all() as unknown as Held[];
  const before = new Map(rows.map((row) => [row.id, row]));
  const held = rows.filter((row) => row.held === 1).length;
  original.close();
  const closed = filesIn(directory);

  const random = seededRandom(7);
  let lostSomewhere = 0;
  for (let round = 0; round < 25; round++) {
    const bytes = Buffer.from(closed['outbox.db']!);
    // A page or two gone, as a bad sector leaves it; never the first, without which there is no database.
    for (let n = 0; n <= round % 3; n++) {
      const page = 1 + ((random(2)[0]! * 256 + random(2)[1]!) % (bytes.length / 4096 - 1));
      bytes.fill(random(1)[0]!, page * 4096, (page + 1) * 4096);
    }
    putFiles(directory, { 'outbox.db': bytes });
    const { db, loss, close } = openStore(directory, 'test', true);
    if (loss === null) {
      t.equal((db.prepare('SELECT count(*) AS n FROM messages').get() as { n: number }).n, rows.length);
      close();
      continue;
    }
    const kept = db.prepare('SELECT * FROM messages').all() as unknown as Held[];
    t.ok(
      kept.every((row) => JSON.stringify(row) === JSON.stringify(before.get(row.id))),
      'nothing was changed',
    );
    const heldNow = kept.filter((row) => row.held === 1).length;
    const gone = rows.filter(({ id }) => !kept.some((row) => row.id === id));
    t.equal(loss.kept.held, heldNow);
    if (loss.heldLost !== null) t.equal(loss.heldLost, held - heldNow);
    const told = new Set(loss.messages.map(({ id }) => id));
    t.same(
      loss.messages.filter(({ id }) => !gone.some((row) => row.id === id)),
      [],
      'none is said to be gone that is there',
    );
    const historyWhole = loss.changed.history === 0 && loss.unreadable.history.length === 0;
    if (historyWhole && loss.kept.history > 0) {
      t.ok(
        gone.filter((row) => row.held === 1).every(({ id }) => told.has(id)),
        'each that is gone is told',
      );
    }
    lostSomewhere += gone.length;
    const report = JSON.parse(readFileSync(join(loss.aside, 'loss.json'), 'utf8')) as Loss;
    t.same(report, loss);
    t.ok(readFileSync(join(loss.aside, 'outbox.db')).equals(bytes), 'the damaged file is kept');
    close();
    const outbox = await openAt(t, directory);
    t.equal((await audit(t, outbox)).held, heldNow);
    await hold(outbox, contactMe(phone(1)));
    await outbox.close();
  }
  t.ok(lostSomewhere > 0, `${lostSomewhere} messages were lost in all`);
});

t.test('a replacement that was begun is brought to its end, whenever it was broken off', async (t) => {
  const directory = join(t.testdir(), 'outbox');
  const old = await openAt(t, directory);
  const first = await hold(old, contactMe(phone(1)));
  await old.backup(join(t.testdirName, 'backup.db'));
  const second = await hold(old, contactMe(phone(2)));
  await old.close();
  copyFileSync(join(t.testdirName, 'backup.db'), join(directory, 'outbox.db.next'));
  const outbox = await openAt(t, directory);
  t.match(await outbox.message(first.id), { state: 'held' });
  t.equal(await outbox.message(second.id), null);
  await outbox.close();
  t.equal(
    readdirSync(directory).filter((name) => name.startsWith('replaced-')).length,
    1,
    'the old one is kept',
  );
});

t.test('a store of the format before is brought to this one, and is checked from then on', async (t) => {
  const { root } = unpackPrevious(t);
  const path = join(t.testdir(), 'outbox');
  const module = (await import(new URL('dist/relay-client/outbox/sqlite.js', root).href)) as {
    openSqliteOutbox: typeof openSqliteOutbox;
  };
  const former = await module.openSqliteOutbox({
    path,
    clock: systemClock,
    random: randomBytes,
    log: silentLog,
    onFatal: (error) => t.fail(error.message),
  });
  await former.pushMany(Array.from({ length: 50 }, (_, n) => contactMe(phone(n), { key: 'k' })));
  await former.clear(phone(1), { state: 'cleared', by: 'test' });
  const [message] = await former.messages(phone(2), 1);
  await former.close();
  const outbox = await openAt(t, path);
  t.match(await outbox.message(message!.id), { state: 'held', key: 'k' });
  t.match(await audit(t, outbox), { accepted: 50, held: 49 });
  t.equal(outbox.incarnation, former.incarnation, 'and is the same as before');
  await hold(outbox, contactMe(phone(3)));
  await outbox.close();
  const db = new DatabaseSync(join(path, 'outbox.db'));
  db.exec(`UPDATE messages SET due_at = due_at + 1 WHERE id = '${message!.id}'`);
  db.close();
  await refuses(
    t,
    Promise.resolve().then(() => openStore(path, 'test')),
    'OUTBOX_DAMAGED',
    /does not have its sum/,
  );
});

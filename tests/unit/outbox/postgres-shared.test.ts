import { randomBytes } from 'node:crypto';
import { copyFileSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { join } from 'node:path';
import t from 'tap';
import type { Test } from 'tap';
import type { Outbox } from '../../../relay-client/outbox/outbox.ts';
import { openPostgresOutbox } from '../../../relay-client/outbox/postgres.ts';
import type { PostgresOutboxOptions } from '../../../relay-client/outbox/postgres.ts';
import { systemClock } from '../../../shared/clock.ts';
import { silentLog } from '../../../shared/log.ts';
import { createFakeClock } from '../../fixtures/fake-clock.ts';
import { startPostgres, whyNoPostgres } from '../../fixtures/postgres.ts';
import { contactMe, dls, phone, refuses } from './conformance/lab.ts';

const missing = whyNoPostgres();

/** Opens a relay's outbox, closed at the end of the test. */
async function openAt(t: Test, url: URL, more: Partial<PostgresOutboxOptions> = {}): Promise<Outbox> {
  const outbox = await openPostgresOutbox({
    url,
    keyFile: join(t.testdirName, 'outbox.key'),
    relay: 'test',
    clock: systemClock,
    random: randomBytes,
    log: silentLog,
    onFatal: (error) => void t.fail(error.message),
    ...more,
  });
  t.teardown(() => outbox.close());
  return outbox;
}

/** Resolves once the outbox knows of `seq`. */
function knows(outbox: Outbox, seq: number): Promise<void> {
  return new Promise((resolve) => {
    const stop = outbox.onCommit(look);
    function look(): void {
      if (outbox.sequence() < seq) return;
      stop();
      resolve();
    }
    look();
  });
}

/** Stands between a relay and the server, and can cut the connection at the very moment of a commit. */
async function startCutter(t: Test, server: URL) {
  let cut: 'before' | 'after' | null = null;
  let closed = false;
  const sockets = new Set<Socket>();
  const listener = createServer((near) => {
    if (closed) return near.destroy();
    const far = connect(Number(server.port), server.hostname);
    for (const socket of [near, far]) {
      sockets.add(socket);
      socket.on('error', () => undefined);
      socket.on('close', () => {
        sockets.delete(socket);
        near.destroy();
        far.destroy();
      });
    }
    let swallow = false;
    /** A change is being written, not only something read. */
    let changes = false;
    near.on('data', (bytes) => {
      changes ||= bytes.includes('keepBatch');
      const commits = cut !== null && changes && bytes.includes('COMMIT');
      changes &&= !bytes.includes('COMMIT');
      if (commits && cut === 'before') {
        cut = null;
        near.destroy();
        return;
      }
      if (commits) {
        cut = null;
        swallow = true;
      }
      far.write(bytes);
    });
    far.on('data', (bytes) => {
      if (!swallow) near.write(bytes);
      // The server has answered: it is done, and nobody is told.
      else if (bytes.includes('COMMIT')) near.destroy();
    });
  });
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
    listener.close();
  });
  const url = new URL(server.href);
  url.port = String((listener.address() as AddressInfo).port);
  return {
    url,
    cutAtCommit(when: 'before' | 'after') {
      cut = when;
    },
    /** Nobody gets through any more. */
    close() {
      closed = true;
    },
  };
}

if (missing !== false) t.test('an outbox that relays share', { skip: missing }, async () => undefined);
else {
  const server = await startPostgres(t);

  t.test('what one relay changes, the others learn at once, in order and without a gap', async (t) => {
    t.testdir();
    const url = await server.database();
    const relays = [await openAt(t, url), await openAt(t, url), await openAt(t, url)] as const;
    t.equal(new Set(relays.map(({ incarnation }) => incarnation)).size, 1, 'one incarnation');
    const [, , reader] = relays;
    // Those that push follow, too: what is their own they know from memory, what is another's from the store.
    const followers = relays.map((relay) => {
      const follower = { relay, seen: [] as number[], reached: 0, reading: Promise.resolve() };
      const stop = relay.onCommit(() => {
        follower.reading = follower.reading.then(async () => {
          const found = await relay.changes(follower.reached, 1000);
          if (found === null) throw new Error('no changes');
          follower.seen.push(...found.changes.map(({ seq }) => seq));
          follower.reached = found.seq;
        });
      });
      return Object.assign(follower, { stop });
    });
    for (let first = 0; first < 300; first += 20) {
      await Promise.all(
        Array.from({ length: 20 }, (_, n) => relays[n % 2]!.push(contactMe(phone(first + n)))),
      );
    }
    for (const follower of followers) {
      await knows(follower.relay, 300);
      while (follower.reached < 300) await follower.reading;
      t.same(
        follower.seen,
        Array.from({ length: 300 }, (_, n) => n + 1),
      );
      // What another relay commits is told at any time, also when the outbox is being closed.
      follower.stop();
    }
    t.match(await reader.counts(), { accepted: 300, held: 300, devices: 300 });

    const push = dls(phone(7), '[1]', { key: 'job' });
    const both = await Promise.all([relays[0].push(push), relays[1].push(push)]);
    t.same(both.map(({ known }) => known).sort(), [false, true], 'a key is one for all relays');
    t.equal(both[0].message.id, both[1].message.id);
    t.equal((await relays[1].message(both[0].message.id))?.actions, '[1]', 'each can open what is sealed');
    await relays[0].clear(phone(7), { state: 'cleared', by: 'session' });
    t.match(await relays[1].device(phone(7)), { pending: 0 });
  });

  t.test('what is pushed through a relay whose clock is behind is due at once', async (t) => {
    t.testdir();
    const url = await server.database();
    const ahead = createFakeClock();
    ahead.advance(5_000);
    const one = await openAt(t, url, { clock: ahead, serverTime: false });
    const other = await openAt(t, url, { clock: createFakeClock(), serverTime: false });
    await one.push(contactMe(phone(1)));
    for (const n of [2, 3]) await other.push(contactMe(phone(n)));
    const found = await other.changes(0, 10);
    t.same(
      found?.changes.map((change) => change.op === 'hold' && change.dueIn),
      [0, 0, 0],
    );
    t.same(
      (await other.changes(2, 10))?.changes.map((change) => change.op === 'hold' && change.dueIn),
      [0],
    );
  });

  t.test('a sequence can be asked for that no notification has told yet', async (t) => {
    t.testdir();
    const url = await server.database();
    const [one, other] = [await openAt(t, url), await openAt(t, url)];
    await one.push(contactMe(phone(1)));
    t.equal(await other.refresh(), one.sequence());
  });

  t.test('a new incarnation of one relay is that of all', async (t) => {
    t.testdir();
    const url = await server.database();
    const [one, other] = [await openAt(t, url), await openAt(t, url)];
    const renewed = new Promise<void>((resolve) => void other.onRenewed(resolve));
    const fresh = await one.renew();
    await renewed;
    t.equal(other.incarnation, fresh);
  });

  t.test('every relay needs the same key', async (t) => {
    const dir = t.testdir();
    const url = await server.database();
    const one = await openAt(t, url);
    const other = { keyFile: join(dir, 'other.key') };
    await refuses(t, openAt(t, url, other), 'OUTBOX_KEY_MISSING', /other\.key is not there.*same key file/);
    writeFileSync(other.keyFile, randomBytes(32).toString('base64'));
    await refuses(t, openAt(t, url, other), 'OUTBOX_KEY_MISSING', /other\.key has only/);
    copyFileSync(join(dir, 'outbox.key'), other.keyFile);
    const { message } = await one.push(dls(phone(1), '[42]'));
    t.equal((await (await openAt(t, url, other)).message(message.id))?.actions, '[42]');
    const [row] = await server.sql<{ actions: string }>(url, 'SELECT actions FROM sallyport.messages');
    t.match(row?.actions, /^sealed-1\./, 'the server never sees it');
  });

  t.test('a restored dump is a new incarnation, a database that was only restarted is not', async (t) => {
    t.testdir();
    const url = await server.database();
    let outbox = await openAt(t, url);
    const { incarnation } = outbox;
    await outbox.push(dls(phone(1), '[42]'));
    await outbox.close();
    await server.stop();
    await server.start();
    outbox = await openAt(t, url);
    t.equal(outbox.incarnation, incarnation);
    await outbox.close();
    const restored = await server.database();
    server.copy(url, restored);
    outbox = await openAt(t, restored);
    t.not(outbox.incarnation, incarnation);
    t.match(await outbox.nextActions(phone(1)), { actions: '[42]' });
    const second = await openAt(t, restored);
    t.equal(second.incarnation, outbox.incarnation, 'one for all');
  });

  t.test('a relay under which the outbox goes back in time ends', async (t) => {
    t.testdir();
    const url = await server.database();
    const failed = Promise.withResolvers<Error>();
    const outbox = await openAt(t, url, { onFatal: failed.resolve });
    await outbox.push(contactMe(phone(1)));
    await server.sql(url, 'UPDATE sallyport.store SET seq = 0');
    t.match(await failed.promise, { code: 'OUTBOX_STORAGE', message: /went back from change 1 to 0/ });
    await refuses(t, outbox.counts(), 'OUTBOX_STORAGE');
  });

  t.test('a newer format, a stranger’s tables and a server that is not there are refused', async (t) => {
    t.testdir();
    const url = await server.database();
    await (await openAt(t, url)).close();
    await server.sql(url, 'UPDATE sallyport.store SET version = 99');
    await refuses(t, openAt(t, url), 'OUTBOX_DAMAGED', /format 99.*reads up to 1.*newer version/);
    const other = await server.database();
    await server.sql(other, 'CREATE SCHEMA sallyport CREATE TABLE accounts (n int)');
    await refuses(t, openAt(t, other), 'OUTBOX_DAMAGED', /tables that are not ours/);
    const nobody = new URL(url.href);
    nobody.port = '1';
    nobody.password = 'not-to-be-seen';
    const error = await openAt(t, nobody).catch((reason: unknown) => reason);
    t.match(error, { code: 'OUTBOX_UNAVAILABLE', message: /127\.0\.0\.1:1\/test_.*ECONNREFUSED/ });
    t.notMatch(String((error as Error).message), 'not-to-be-seen');
  });

  t.test('a commit that was cut is looked up: who is told yes has it, who is told no has not', async (t) => {
    t.testdir();
    const url = await server.database();
    const cutter = await startCutter(t, url);
    const outbox = await openAt(t, cutter.url);
    await outbox.push(contactMe(phone(1)));

    cutter.cutAtCommit('after');
    const { message } = await outbox.push(contactMe(phone(2)));
    t.match(await outbox.message(message.id), { state: 'held', device: phone(2) }, 'it took place');
    cutter.cutAtCommit('before');
    await refuses(t, outbox.push(contactMe(phone(3))), 'OUTBOX_UNAVAILABLE', /before the commit/);
    await t.resolves(outbox.clear(phone(2), { state: 'cleared', by: 'session' }), 'what waits is done later');
    t.equal(await outbox.device(phone(3)), null, 'it did not take place');
    t.match(await outbox.device(phone(2)), { pending: 0 });
    t.match(await outbox.counts(), { accepted: 2, ended: { cleared: 1 } }, 'nothing was done twice');
  });

  t.test('who cannot be told either way is told that', async (t) => {
    t.testdir();
    const url = await server.database();
    const cutter = await startCutter(t, url);
    const outbox = await openAt(t, cutter.url, { patience: 500 });
    await outbox.push(contactMe(phone(1)));
    cutter.cutAtCommit('after');
    const doubtful = outbox.push(contactMe(phone(2), { key: 'job' }));
    cutter.close();
    await refuses(t, doubtful, 'OUTBOX_UNCERTAIN', /same key/);
    await refuses(t, outbox.push(contactMe(phone(3))), 'OUTBOX_UNAVAILABLE');
    await refuses(t, outbox.clear(phone(1), { state: 'cleared', by: 'api' }), 'OUTBOX_UNAVAILABLE');
  });

  t.test('a session that sits on the store delays the others, and for a while only', async (t) => {
    t.testdir();
    const url = await server.database();
    const outbox = await openAt(t, url);
    // It does what a relay does that is stopped (SIGSTOP) in the middle of a transaction.
    const sitting = server.sql(
      url,
      'BEGIN; SET LOCAL lock_timeout = 0; LOCK TABLE sallyport.store; SELECT pg_sleep(2); COMMIT',
    );
    await outbox.push(contactMe(phone(1)));
    await sitting.catch(() => undefined);
    t.match(await outbox.counts(), { accepted: 1 });
  });
}

import { createHash, randomBytes } from 'node:crypto';
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import type { Test } from 'tap';
import { migrateOutbox } from '../../../relay-client/outbox/migrate.ts';
import type { Outbox } from '../../../relay-client/outbox/outbox.ts';
import { openPostgresOutbox } from '../../../relay-client/outbox/postgres.ts';
import { silentLog } from '../../../shared/log.ts';
import { createFakeClock } from '../../fixtures/fake-clock.ts';
import type { FakeClock } from '../../fixtures/fake-clock.ts';
import { startPostgres, whyNoPostgres } from '../../fixtures/postgres.ts';
import { runProgram } from '../../fixtures/program.ts';
import { contactMe, DAY, dls, hold, HOUR, phone, refuses } from './conformance/lab.ts';
import { openAt } from './sqlite-lab.ts';

const missing = whyNoPostgres();
const DEVICES = 60;

/** Some of everything that an outbox can hold. */
async function fill(outbox: Outbox, clock: FakeClock): Promise<void> {
  await outbox.pushMany(
    Array.from({ length: DEVICES }, (_, n) =>
      contactMe(phone(n), { key: `job-${n}`, ...(n % 3 === 0 ? { ttl: DAY } : {}) }),
    ),
  );
  await outbox.push(dls(phone(1), '[{"secret":"ä"}]', { campaign: 'spring', parked: true }));
  const answered = await hold(outbox, dls(phone(2), '["answered"]', { campaign: 'spring' }));
  await outbox.end(answered.id, { state: 'cleared', by: 'courier', results: '["ü"]', failed: true });
  const awaited = await hold(outbox, dls(phone(3), '["awaited"]', { delay: HOUR }));
  await outbox.advance(awaited.id, { results: '["half"]', wait: DAY });
  await hold(outbox, dls(phone(4), '["dead"]'));
  await outbox.fruitless(phone(4), 9, 1, 'dls');
  await outbox.clear(phone(5), { state: 'cancelled', by: 'api' });
  outbox.note(phone(6), 'session', { outcome: 'busy', 'a "quote"': '\\ \u0001' }, { session: true });
  outbox.note(phone(900), 'start-up');
  await outbox.keepCampaign('spring', '{"n":1}', null, { what: 'begun', facts: { campaign: 'spring' } });
  clock.advance(3 * DAY);
  await outbox.expire();
  await outbox.push(dls(phone(7), '["after"]'));
}

/** All that it tells. */
async function told(outbox: Outbox) {
  const each = Array.from({ length: 10 }, (_, n) => phone(n));
  const held = [];
  for await (const { entries } of outbox.snapshot(7)) held.push(...entries);
  return {
    held,
    counts: await outbox.counts(),
    sequence: outbox.sequence(),
    devices: await outbox.devices({ limit: 1000 }),
    messages: await Promise.all(each.map((device) => outbox.messages(device, 100))),
    history: await outbox.history({ after: 0, limit: 1000 }),
    campaign: await outbox.campaign('spring'),
    records: await outbox.campaigns('', 10),
    changes: await outbox.changes(0, 1000),
  };
}

const digest = (dir: string): string[] =>
  readdirSync(dir)
    // Who reads a store makes its index, and an empty log.
    .filter((name) => !name.endsWith('-shm') && statSync(join(dir, name)).size > 0)
    .sort()
    .map(
      (name) =>
        `${name} ${createHash('sha256')
          .update(readFileSync(join(dir, name)))
          .digest('hex')}`,
    );

if (missing !== false) t.test('an outbox is migrated', { skip: missing }, async () => undefined);
else {
  const server = await startPostgres(t);

  /** A filled outbox in a directory, and what it tells. */
  const filled = async (t: Test) => {
    const dir = t.testdir();
    const [directory, keyFile] = [join(dir, 'outbox'), join(dir, 'outbox.key')];
    const clock = createFakeClock();
    const sqlite = await openAt(t, directory, { clock, keyFile });
    await fill(sqlite, clock);
    return { dir, directory, keyFile, clock, sqlite, expected: await told(sqlite) };
  };

  t.test('all of it is there afterwards, and the outbox in the directory is as it was', async (t) => {
    const { dir, directory, keyFile, clock, sqlite, expected } = await filled(t);
    const to = await server.database();
    const migrate = () => migrateOutbox({ directory, keyFile, to }, () => undefined);
    await refuses(t, migrate(), 'OUTBOX_LOCKED', /in use by another process/);
    await sqlite.close();
    const before = digest(directory);
    const shares: number[] = [];
    const done = await migrateOutbox({ directory, keyFile, to }, (share) => void shares.push(share));
    t.same(digest(directory), before, 'nothing in the directory has changed');
    t.same(readdirSync(dir).sort(), ['outbox', 'outbox.key'], 'nothing is left beside it');
    t.match(done, { rows: { messages: DEVICES + 5, devices: DEVICES + 1, campaigns: 1 } });
    t.same([shares[0], shares.at(-1)], [0, 1]);
    t.same(
      [...shares].sort((a, b) => a - b),
      shares,
      'progress only grows',
    );

    const outbox = await openPostgresOutbox({
      url: to,
      keyFile,
      relay: 'test',
      clock,
      random: randomBytes,
      log: silentLog,
      serverTime: false,
      onFatal: (error) => void t.fail(error.message),
    });
    t.teardown(() => outbox.close());
    t.same(await told(outbox), expected, 'it tells the same, what was sealed included');
    t.not(outbox.incarnation, sqlite.incarnation, 'in a new incarnation');
    t.equal(outbox.incarnation, done.incarnation);
    t.match(await outbox.push(contactMe(phone(7))), { message: { generation: 3 } }, 'and goes on');
    await refuses(t, migrate(), 'MIGRATION_REFUSED', /holds an outbox already, at change \d+/);
  });

  t.test('a copy that is not the same is not kept', async (t) => {
    const { directory, keyFile, sqlite } = await filled(t);
    await sqlite.close();
    const to = await server.database();
    const empty = { url: to, keyFile, relay: 'test', clock: createFakeClock(), random: randomBytes };
    await (await openPostgresOutbox({ ...empty, log: silentLog, onFatal: () => undefined })).close();
    await server.sql(
      to,
      `DO $do$ BEGIN
        CREATE FUNCTION sallyport.turn() RETURNS trigger LANGUAGE plpgsql AS
          $$ BEGIN IF NEW.n = 50 THEN NEW.generation = 99; END IF; RETURN NEW; END $$;
        CREATE TRIGGER turn BEFORE INSERT ON sallyport.messages FOR EACH ROW EXECUTE FUNCTION sallyport.turn();
      END $do$`,
    );
    await refuses(
      t,
      migrateOutbox({ directory, keyFile, to }, () => undefined),
      'INTERNAL',
      /table messages, n 50.*Nothing was kept/,
    );
    t.same(await server.sql(to, 'SELECT count(*) AS count FROM sallyport.messages'), [{ count: 0 }]);
    t.match(await server.sql(to, 'SELECT seq FROM sallyport.store'), [{ seq: 0 }]);
  });

  t.test('the command says what it did, and what is wrong', async (t) => {
    const { dir, sqlite } = await filled(t);
    await sqlite.close();
    const to = await server.database();
    const config = join(dir, 'relay.yaml');
    writeFileSync(join(dir, 'relay.key'), '');
    const pin = `sha256:${'A'.repeat(43)}`;
    writeFileSync(
      config,
      `name: a\nkey: relay.key\nproxies: [{ url: "wss://127.0.0.1:1", pin: "${pin}" }]\n`,
    );
    const run = (...args: string[]) =>
      runProgram('sallyport-relay', ['migrate', '--config', config, ...args]);
    t.match(await run('--help'), {
      code: 0,
      stdout: /1\. stop the relay.*outbox\.postgres|outbox: \{ path/s,
    });
    const wrong = await run('--to', 'mysql://u:not-to-be-seen@h/db');
    t.match(wrong, { code: 2, stderr: /--to is not a URL such as postgres:/ });
    t.notMatch(wrong.stderr, 'not-to-be-seen');
    const away = new URL(to.href);
    away.port = '1';
    away.password = 'not-to-be-seen';
    const refused = await run('--to', away.href);
    t.match(refused, { code: 1, stderr: /cannot be reached now.*ECONNREFUSED/ });
    t.notMatch(refused.stderr, 'not-to-be-seen');
    t.match(await run('--to', to.href), {
      code: 0,
      stdout: /copied to .* and compared: 65 messages \(\d+ held\), 61 devices/,
      stderr: /100 % comparing history/,
    });
    t.match(await run('--to', to.href), { code: 1, stderr: /holds an outbox already/ });
  });
}

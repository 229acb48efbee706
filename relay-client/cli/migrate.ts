import type { Command } from 'commander';
import { SallyportError } from '../../shared/errors.ts';
import type { Io } from './io.ts';
import { createProgress } from './progress.ts';
import { CONFIG_OPTION, JSON_OPTION } from './command.ts';

const HELP = `
Afterwards the database holds all that the outbox in the directory holds: messages held and ended, devices, history,
campaigns. It is copied in one transaction and every row is read back and compared before that is committed, so either all
of it is there or nothing. The outbox in the directory stays as it is.

What to do:
  1. stop the relay; it must not run meanwhile
  2. sallyport-relay migrate --to postgres://sallyport@db.internal/sallyport --config relay.yaml
  3. in relay.yaml:  outbox: { path: ./outbox, postgres: "postgres://sallyport@db.internal/sallyport" }
  4. start the relay; it begins a new incarnation and tells every proxy everything anew
  5. once all is well, remove outbox.db and its companions from the directory

The database must be empty, and the role must be allowed to make a schema in it. A password in the URL can be seen by other
users of this machine while the command runs: leave it out, and put it into ~/.pgpass or PGPASSWORD. The key file
(outbox.key) stays where it is, and every further relay needs a copy of it. See docs/several-relays.md.

Exit code 0 when all is there, 1 when nothing was changed, 2 for wrong arguments or a wrong config.`;

/**
 * Adds the command that brings an outbox from SQLite to PostgreSQL.
 *
 * @param outboxOf - the outbox's directory and key file, by the relay's config
 */
export function addMigrate(
  program: Command,
  outboxOf: (config: string) => Promise<{ path: string; keyFile: string }>,
  io: Io,
): void {
  program
    .command('migrate')
    .description(
      'bring the outbox from its directory into an empty PostgreSQL database; the relay must not run',
    )
    .requiredOption('--to <url>', 'the database, as postgres://user@host:5432/database?sslmode=verify-full')
    .option(...CONFIG_OPTION)
    .option(...JSON_OPTION)
    .addHelpText('after', HELP)
    .action(async ({ to, config, json }: { to: string; config: string; json?: boolean }) => {
      const url = URL.parse(to);
      if (url === null || !/^postgres(ql)?:$/.test(url.protocol) || url.pathname.length < 2) {
        // It may hold a password, so it is not repeated.
        throw new SallyportError('CONFIG_INVALID', '--to is not a URL such as postgres://user@host/database');
      }
      const { path, keyFile } = await outboxOf(config);
      const { migrateOutbox } = await import('../outbox/migrate.ts');
      const progress = createProgress(io);
      const done = await migrateOutbox({ directory: path, keyFile, to: url }, (share, text) =>
        progress.show(share, text),
      ).finally(() => progress.end());
      const say = (text: string): void => io.out(`${text}\n`);
      if (json === true) return say(JSON.stringify(done));
      const { rows } = done;
      say(
        `copied to ${done.target} and compared: ${rows.messages} messages (${done.held} held), ${rows.devices} devices, ` +
          `${rows.history} changes, ${rows.campaigns} campaigns; position ${done.sequence} of the new incarnation ${done.incarnation}`,
      );
      say(`the outbox in ${path} is as it was; now put outbox.postgres into ${config} and start the relay`);
    });
}

import { fail, ok, warn } from '../../shared/doctor/finding.ts';
import type { Look } from '../../shared/doctor/finding.ts';
import { judgeClock } from '../../shared/doctor/clock.ts';
import type { Clock, Milliseconds } from '../../shared/clock.ts';
import { describeError } from '../../shared/errors.ts';
import { connectPostgres, serverName } from '../outbox/postgres-client.ts';
import { databaseWarnings } from '../outbox/postgres-trust.ts';

/** Beyond this each push would be noticeably late for the way to the server alone. */
const SLOW_MS: Milliseconds = 50;

/** Looks at the PostgreSQL server that holds the outbox: reached, login taken, how far away, and its clock. */
export async function lookAtDatabase(url: URL, clock: Clock): Promise<Look[]> {
  const about = `PostgreSQL ${serverName(url)}`;
  const trust = (await databaseWarnings(url)).map((says) =>
    warn(about, says, 'docs/several-relays.md has what to write'),
  );
  return [...trust, ...(await lookAtServer(url, about, clock))];
}

async function lookAtServer(url: URL, about: string, clock: Clock): Promise<Look[]> {
  try {
    const connection = await connectPostgres({
      url,
      applicationName: 'sallyport-doctor',
      onLost: () => undefined,
      onNotification: () => undefined,
    });
    try {
      const asked = clock.wall();
      const from = clock.monotonic();
      const [row] = await connection.ask<{ now: number }>(
        'doctor_now',
        'SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now',
        [],
      );
      const took = clock.monotonic() - from;
      const says = `takes our login, and answers within ${took.toFixed(1)} ms`;
      const reached =
        took > SLOW_MS
          ? warn(about, says, 'bring relay and server closer together: each push waits for several answers')
          : ok(about, says);
      if (row === undefined) return [reached];
      return [reached, judgeClock(about, { date: row.now - 500, asked, answered: clock.wall() })];
    } finally {
      await connection.end();
    }
  } catch (error) {
    const text = describeError(error);
    return [fail(about, `cannot be used: ${text}`, remedy(text))];
  }
}

function remedy(text: string): string {
  if (/28P01|28000|password|SCRAM|no pg_hba/i.test(text)) {
    return 'see user and password in outbox.postgres, and pg_hba.conf on the server';
  }
  if (/3D000|does not exist/.test(text))
    return 'make the database (createdb), or correct its name in outbox.postgres';
  if (/ENOTFOUND|EAI_AGAIN/.test(text)) return 'correct the name in outbox.postgres, or make it known by DNS';
  if (text.includes('ECONNREFUSED'))
    return 'start the server, or correct the port in outbox.postgres; listen_addresses decides where it listens';
  return 'see that the server runs, and that the firewall between this host and it lets tcp to it pass';
}

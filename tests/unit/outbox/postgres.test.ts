import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import t from 'tap';
import { openPostgresOutbox } from '../../../relay-client/outbox/postgres.ts';
import { silentLog } from '../../../shared/log.ts';
import { createFakeClock } from '../../fixtures/fake-clock.ts';
import { startPostgres, whyNoPostgres } from '../../fixtures/postgres.ts';
import { outboxConformance } from './conformance.ts';

const missing = whyNoPostgres();

if (missing !== false) t.test('an outbox in PostgreSQL', { skip: missing }, async () => undefined);
else {
  const server = await startPostgres(t);
  // One for all: to empty it takes a tenth of the time that another one does.
  const url = await server.database();

  outboxConformance(t, (t) => {
    const clock = createFakeClock();
    const keyFile = join(t.testdir(), 'outbox.key');
    const emptied = server.sql(url, 'DROP SCHEMA IF EXISTS sallyport CASCADE');
    return {
      clock,
      async open(limits = {}) {
        await emptied;
        const outbox = await openPostgresOutbox({
          url,
          keyFile,
          relay: 'test',
          clock,
          random: randomBytes,
          log: silentLog,
          limits,
          serverTime: false,
          onFatal: (error) => void t.fail(error.message),
        });
        t.teardown(() => outbox.close());
        return outbox;
      },
    };
  });
}

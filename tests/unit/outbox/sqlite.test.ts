import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import t from 'tap';
import { openSqliteOutbox } from '../../../relay-client/outbox/sqlite.ts';
import { silentLog } from '../../../shared/log.ts';
import { createFakeClock } from '../../fixtures/fake-clock.ts';
import { outboxConformance } from './conformance.ts';

t.setTimeout(170_000);

outboxConformance(t, (t) => {
  const clock = createFakeClock();
  const path = join(t.testdir(), 'outbox');
  return {
    clock,
    async open(limits = {}) {
      const onFatal = (error: Error): void => void t.fail(error.message);
      const outbox = await openSqliteOutbox({
        path,
        clock,
        random: randomBytes,
        log: silentLog,
        limits,
        onFatal,
      });
      t.teardown(() => outbox.close());
      return outbox;
    },
  };
});

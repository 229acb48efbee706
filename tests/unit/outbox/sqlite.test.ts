import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { openSqliteOutbox } from '../../../relay-client/outbox/sqlite.ts';
import { silentLog } from '../../../shared/log.ts';
import { createFakeClock } from '../../fixtures/fake-clock.ts';
import { outboxConformance } from './conformance.ts';

outboxConformance(t, (t) => {
  const clock = createFakeClock();
  // Of this run alone: where the file runs twice at once in one checkout, each would find the other's store in use.
  const home = mkdtempSync(join(tmpdir(), 'outbox-'));
  t.teardown(() => rmSync(home, { recursive: true }));
  const path = join(home, 'outbox');
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

import t from 'tap';
import { conformance } from '../conformance/suite.ts';
import { startPostgresEngine } from '../fixtures/engines.ts';
import { whyNoPostgres } from '../fixtures/postgres.ts';

const skip = whyNoPostgres();
if (skip === false) conformance(t, await startPostgresEngine(t));
else
  t.test(
    'what phones and services in the field do, with the outbox in PostgreSQL',
    { skip },
    async () => undefined,
  );

import t from 'tap';
import { startPostgresEngine } from '../fixtures/engines.ts';
import { whyNoPostgres } from '../fixtures/postgres.ts';
import { promises } from '../promises/suite.ts';

const skip = whyNoPostgres();
if (skip === false) promises(t, await startPostgresEngine(t));
else t.test('promises with the outbox in PostgreSQL', { skip }, async () => undefined);

import t from 'tap';
import { SQLITE } from '../fixtures/outbox-place.ts';
import { promises } from '../promises/suite.ts';

t.setTimeout(150_000);

promises(t, SQLITE);

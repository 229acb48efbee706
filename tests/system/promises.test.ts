import t from 'tap';
import { SQLITE } from '../fixtures/outbox-place.ts';
import { promises } from '../promises/suite.ts';

promises(t, SQLITE);

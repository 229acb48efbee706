import t from 'tap';
import { conformance } from '../conformance/suite.ts';
import { SQLITE } from '../fixtures/outbox-place.ts';

conformance(t, SQLITE);

import type { Plan } from '../world/plan.ts';
import { createBytesJudge } from './bytes.ts';
import { createCalmJudge } from './calm.ts';
import { createDeliveryBook } from './deliveries.ts';
import type { Judge } from './facts.ts';
import { createOutboxJudge } from './outbox.ts';
import { createPollJudge } from './polls.ts';
import { createSessionBook } from './sessions.ts';
import { createStores } from './stores.ts';

/** The history checker: its books first, then its judges, in the order in which they are told of everything. */
export function createJudges(plan: Plan): Judge[] {
  const stores = createStores();
  const sessions = createSessionBook();
  const deliveries = createDeliveryBook(stores);
  const outbox = createOutboxJudge(plan, stores, sessions, deliveries);
  return [
    stores,
    sessions,
    deliveries,
    outbox,
    createPollJudge(plan, outbox),
    createBytesJudge(plan),
    createCalmJudge(),
  ];
}

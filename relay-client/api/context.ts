import type { Clock } from '../../shared/clock.ts';
import type { Campaigns } from '../campaigns/campaigns.ts';
import type { RelayView } from '../desk.ts';
import type { Outbox } from '../outbox/outbox.ts';
import type { EventHub } from './events.ts';
import type { ApiLimits, PushDefaults } from './limits.ts';

/** What the routes work with. */
export interface Context {
  outbox: Outbox;
  view: RelayView;
  campaigns: Campaigns;
  clock: Clock;
  defaults: PushDefaults;
  limits: ApiLimits;
  events: EventHub;
  metricsText: () => Promise<string>;
}

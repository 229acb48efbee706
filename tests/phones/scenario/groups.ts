/** The phones of a scenario, group by group. */
import type { PhoneTls } from '../dialer.ts';
import { createFleet, macAfter, type Fleet, type FleetOptions } from '../fleet.ts';
import type { Phone } from '../phone.ts';
import type { GroupPlan, Scenario } from './schema.ts';

/** Where groups without `first` begin; each goes on where the last one ended. */
const FIRST_MAC = '00:1A:E8:00:00:01';

export type Group = {
  readonly name: string;
  readonly phones: readonly Phone[];
  /** The status of a phone's last poll; undefined before the first, or where it got none. */
  lastPoll(deviceId: string): number | undefined;
  readonly fleet: Fleet;
};

/** Makes the phones; nothing happens before a step says so, but polls by timer once they have started. */
export function createGroups({ groups, poll, service }: Scenario): Map<string, Group> {
  let next = 0;
  return new Map(
    Object.entries(groups).map(([name, plan]) => {
      const first = plan.first ?? macAfter(FIRST_MAC, next);
      if (plan.first === undefined) next += plan.count;
      const last = new Map<string, number | undefined>();
      const fleet = createFleet({
        ...optionsOf(plan),
        firstMac: first,
        ...(poll === undefined ? {} : { pollUrl: poll }),
        ...(service === undefined ? {} : { service }),
        onEvent(event) {
          if (event.type === 'poll') last.set(event.deviceId, event.status);
        },
      });
      return [name, { name, phones: fleet.phones, lastPoll: (deviceId) => last.get(deviceId), fleet }];
    }),
  );
}

function optionsOf(plan: GroupPlan): FleetOptions {
  const tls: PhoneTls = {};
  if (plan.tls.min !== undefined) tls.minVersion = plan.tls.min;
  if (plan.tls.max !== undefined) tls.maxVersion = plan.tls.max;
  if (plan.tls.ciphers !== undefined) tls.ciphers = plan.tls.ciphers;
  return {
    count: plan.count,
    startUp: true,
    // A scenario tells each step; what failed is in the report, not tried again behind its back.
    startUpRetryMs: 0,
    pollIntervalMs: plan.interval_s * 1000,
    ...(plan.interval_item === undefined ? {} : { intervalItem: plan.interval_item }),
    pollKeepAlive: plan.poll_keep_alive,
    forgetPollOnRestart: plan.forget,
    busyChance: plan.busy / 100,
    callDurationMs: plan.call_time_s * 1000,
    unknownItems: plan.refuses,
    keepAlive: !plan.close,
    cookie: plan.cookie,
    acceptChunked: plan.chunked,
    supportsSendSolicited: plan.send_solicited,
    fragmentItems: plan.fragment,
    thinkMs: plan.think_s * 1000,
    comes: plan.comes,
    items: plan.items,
    tls,
  };
}

import type { Clock } from '../../shared/clock.ts';
import type { DeviceId } from '../../shared/device-id.ts';
import type { Log } from '../../shared/log.ts';
import type { AddressBook } from '../addresses/book.ts';
import { parseAddressRange } from '../addresses/range.ts';
import type { Catcher } from '../catcher/catcher.ts';
import type { RelayConfig } from '../config.ts';
import type { Courier } from '../courier/courier.ts';
import type { ServiceMetrics } from '../services/metrics.ts';
import { createServices } from '../services/services.ts';
import type { Services } from '../services/services.ts';
import type { Sessions } from '../sessions/sessions.ts';
import { createTeacher } from '../teacher/teacher.ts';
import type { Lookout } from '../warnings/lookout.ts';
import { createWatcher } from '../watcher/watcher.ts';
import type { Watcher } from '../watcher/watcher.ts';
import type { RelayWorld } from './world.ts';

/** The services of a relay, each `wpi` one with a watcher and, where the config says so, a teacher. */
export function openServices(
  config: Pick<RelayConfig, 'services' | 'limits'>,
  parts: {
    sessions: Sessions;
    lookout: Lookout;
    catcher: Catcher | null;
    book: AddressBook | null;
    courier: Courier;
    heardOf: (device: DeviceId) => boolean;
    resumed: boolean;
    secretOf: (device: DeviceId) => string;
    onWatcher: (watcher: Watcher) => void;
    metrics: ServiceMetrics;
    clock: Clock;
    log: Log;
    world: Pick<RelayWorld, 'random' | 'dialTcp'>;
  },
): Services {
  const { sessions, lookout, catcher, book, courier, clock, log, world } = parts;
  return createServices(config.services, {
    observer: (service) => {
      const { rewriteContactMe, teach = null } = service;
      const watcher = createWatcher({
        listener: { ...sessions, warn: lookout.warn },
        checkAnswer: lookout.answersOf(service),
        clock,
        random: world.random,
        log,
        contactMeAddress: (device) => (rewriteContactMe && catcher !== null ? catcher.address(device) : null),
        teacher:
          teach === null
            ? null
            : createTeacher({ items: teach, pollSecretOf: parts.secretOf, clock, tell: sessions.taught }),
        known: parts.heardOf,
        limits: { newDevicesPerMinute: config.limits.new_devices_per_minute },
        courier,
        resumed: parts.resumed,
      });
      parts.onWatcher(watcher);
      return watcher;
    },
    addresses: ({ sourceAddresses = null }) =>
      sourceAddresses === null ? null : (book?.range(parseAddressRange(sourceAddresses)) ?? null),
    clock,
    log,
    metrics: parts.metrics,
    dialTcp: world.dialTcp,
  });
}

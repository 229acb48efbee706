import type { Clock } from '../../shared/clock.ts';
import type { Log } from '../../shared/log.ts';
import type { RelayConfig } from '../config.ts';
import type { DeskChange } from '../desk.ts';
import type { Links } from '../links/links.ts';
import type { PendingView } from '../pending-view.ts';
import type { Polls } from '../polls.ts';
import type { Series } from '../series/series.ts';
import type { Services } from '../services/services.ts';
import type { Sessions } from '../sessions/sessions.ts';
import { pollSecretWarnings } from '../teacher/poll-secret-fit.ts';
import type { Lookout } from '../warnings/lookout.ts';
import { tellNowAndThen } from './health.ts';
import type { HealthFrame } from './health.ts';

/** Has the parts of a relay hear of what happens in the others: links, services, sessions. */
export function connectParts(parts: {
  config: Pick<RelayConfig, 'services'>;
  links: Links;
  services: Services;
  sessions: Sessions;
  lookout: Lookout;
  polls: Polls;
  pending: PendingView;
  series: Series;
  health: () => HealthFrame;
  emit: (change: DeskChange) => void;
  clock: Clock;
  log: Log;
}): void {
  const { config, links, services, sessions, lookout, polls, pending, series, health, emit, clock, log } =
    parts;
  const tellHealth = tellNowAndThen(clock, () => links.health(health()));
  const teaches = config.services.some((service) => service.kind === 'wpi' && service.teach != null);

  links.onChange((proxy) => {
    emit({ type: 'link', proxy });
    if (proxy.state === 'up') {
      for (const why of pollSecretWarnings(config.services, [proxy])) {
        log.warn('taught phones would poll in vain', { why });
      }
    }
    if (teaches && proxy.direct && proxy.state === 'up') {
      log.warn('nobody is taught at a direct site: its phones do not come through this relay', {
        proxy: proxy.url,
      });
    }
  });
  for (const service of services.list()) {
    service.onHealth((state) => {
      links.health(health());
      emit({ type: 'service', name: service.name, health: state });
    });
  }
  sessions.onChange(({ session, phase, outcome }) => {
    tellHealth();
    const { device } = session;
    if (device !== null) lookout.came(device);
    if (phase === 'ended') series.sessionEnded();
    else if (device !== null && session.reason === 'solicited') {
      const waited = pending.dueFor(device);
      if (waited !== null) series.pickedUp(waited);
    }
    if (device !== null && session.answered) {
      links.known(device);
      polls.forgetUnknown(device);
    }
    emit({ type: 'session', device, phase, outcome });
  });
}

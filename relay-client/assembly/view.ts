import type { CertificateUse } from '../../shared/certificates.ts';
import type { Clock, Milliseconds } from '../../shared/clock.ts';
import type { DeviceId } from '../../shared/device-id.ts';
import { pollPath } from '../../shared/poll-secret.ts';
import type { RelayConfig } from '../config.ts';
import type { RelayView } from '../desk.ts';
import type { Links } from '../links/links.ts';
import type { PendingView } from '../pending-view.ts';
import type { Polls } from '../polls.ts';
import type { FiguresOfProxies, PollRate } from '../series/proxy-figures.ts';
import type { Series } from '../series/series.ts';
import type { Services } from '../services/services.ts';
import type { Sessions } from '../sessions/sessions.ts';
import { pollSecretWarnings } from '../teacher/poll-secret-fit.ts';
import type { Lookout } from '../warnings/lookout.ts';
import type { RecentWarnings } from '../warnings/recent.ts';

/** What the desk sees of a relay made of these parts. */
export function createView(parts: {
  config: Pick<RelayConfig, 'name' | 'site' | 'services'>;
  version: string;
  /** Wall time. */
  startedAt: number;
  links: Links;
  services: Services;
  sessions: Sessions;
  pending: PendingView;
  polls: Polls;
  lookout: Lookout;
  recentWarnings: RecentWarnings;
  proxyFigures: FiguresOfProxies;
  pollRate: () => PollRate | null;
  series: Series;
  certificates: () => CertificateUse[];
  /** What deserves a warning of the outbox's database. */
  database: readonly string[];
  secretOf: (device: DeviceId) => string;
  onChange: RelayView['onChange'];
  clock: Clock;
}): RelayView {
  const { config, links, services, sessions, polls, lookout, series, clock } = parts;
  /** Until when the session gap lasts; null = it is over, or no call of this run is remembered. */
  const gapUntil = (device: DeviceId): Milliseconds | null => {
    const end = (sessions.calledAt(device) ?? 0) + links.sessionGap();
    return end > clock.wall() ? end : null;
  };
  return {
    name: config.name,
    site: config.site,
    version: parts.version,
    startedAt: parts.startedAt,
    proxies: links.states,
    services: () =>
      services.list().map((service) => ({
        name: service.name,
        kind: service.kind,
        health: service.health(),
        connections: service.connections(),
      })),
    certificates: parts.certificates,
    misfits: () => [...parts.database, ...pollSecretWarnings(config.services, links.states())],
    proxyFigures: parts.proxyFigures.of,
    pollRate: parts.pollRate,
    pickups: series.pickups,
    series: series.points,
    recentWarnings: parts.recentWarnings.list,
    lastPoll: polls.last,
    pollPath: (device) => (links.pollSecret() ? pollPath(parts.secretOf(device), device) : null),
    warnings: lookout.of,
    devicesByPoll: (query) => polls.rank(query, (device) => parts.pending.generation(device) > 0),
    unknownDevices: polls.unknown,
    session: sessions.session,
    sessions: sessions.count,
    quietUntil: (device) => laterOf(sessions.quietUntil(device), gapUntil(device)),
    heldBy: links.heldBy,
    heldAt: links.heldAt,
    onChange: parts.onChange,
  };
}

function laterOf(one: Milliseconds | null, other: Milliseconds | null): Milliseconds | null {
  return one === null || other === null ? (one ?? other) : Math.max(one, other);
}

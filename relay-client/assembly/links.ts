import type { Clock } from '../../shared/clock.ts';
import type { DeviceId } from '../../shared/device-id.ts';
import type { Log } from '../../shared/log.ts';
import type { RelayConfig } from '../config.ts';
import type { DialTarget } from '../links/dial.ts';
import type { DialLane } from '../links/link.ts';
import { createLinks } from '../links/links.ts';
import type { Links, LinksOptions, LinkTarget, NamedTarget } from '../links/links.ts';
import type { Outbox } from '../outbox/outbox.ts';
import type { Polls } from '../polls.ts';
import { dialTarget } from '../secrets.ts';
import type { Identity } from '../secrets.ts';
import type { Services } from '../services/services.ts';
import type { Sessions } from '../sessions/sessions.ts';
import type { Lookout } from '../warnings/lookout.ts';
import type { HealthFrame } from './health.ts';
import type { RelayWorld } from './world.ts';

/** The links of a relay to the proxies of its config. */
export function openLinks(
  config: Pick<RelayConfig, 'name' | 'site' | 'services' | 'proxies' | 'limits'>,
  parts: {
    software: string;
    identity: Identity;
    outbox: Outbox;
    services: Services;
    sessions: Sessions;
    polls: Polls;
    lookout: Lookout;
    heardOf: (device: DeviceId) => boolean;
    health: () => HealthFrame;
    onMetrics: LinksOptions['onMetrics'];
    onWentBack: LinksOptions['onWentBack'];
    clock: Clock;
    random: () => number;
    log: Log;
    world: Pick<RelayWorld, 'dialLane' | 'createLookup'>;
  },
): Links {
  const { identity, outbox, services, sessions, polls, lookout, health, clock, log } = parts;
  const { limits } = config;
  const links = createLinks({
    relay: config.name,
    site: config.site,
    software: parts.software,
    services: config.services.map(({ name }) => name),
    blind: config.services.every(({ kind }) => kind === 'tcp'),
    pollSecrets: identity.pollSecrets,
    targets: linkTargets(config, identity, parts.world),
    outbox,
    streamLanes: limits.stream_lanes,
    proxyLimits: {
      streamsPerMinute: limits.proxy_streams_per_minute,
      newDevicesPerMinute: limits.new_devices_per_minute,
      bytesPerSecond: limits.proxy_bytes_per_s,
    },
    heardOf: parts.heardOf,
    warn: lookout.warn,
    maxStreams: limits.lane_streams,
    clock,
    random: parts.random,
    log,
    accept: services.accept,
    present: () => [
      ...sessions
        .quiets()
        .map(({ device, generation, ms }) => ({ type: 'quiet' as const, device, generation, ms })),
      health(),
    ],
    onPolls(proxy, frame) {
      polls.take(proxy, frame);
      // Where phones reach the service by themselves, whether one came is not seen.
      if (links.states().some(({ url, direct }) => url === proxy && direct)) return;
      for (const { device, status, agoMs } of frame.polls) lookout.polled(device as DeviceId, status, agoMs);
    },
    onMetrics: parts.onMetrics,
    onWentBack: parts.onWentBack,
  });
  return links;
}

/** The proxies of a config, each with the way to it. */
function linkTargets(
  { proxies, limits }: Pick<RelayConfig, 'proxies' | 'limits'>,
  identity: Identity,
  world: Pick<RelayWorld, 'dialLane' | 'createLookup'>,
): (LinkTarget | NamedTarget)[] {
  const by =
    (to: DialTarget): DialLane =>
    (lane, events, signal) =>
      world.dialLane(to, lane, events, { signal });
  return proxies.map((proxy) => {
    const target = dialTarget(proxy, identity);
    const url = proxy.url.href.replace(/\/$/, '');
    if (proxy.name === undefined) return { url, dial: by(target) };
    const { family, servers, interval, grace } = proxy.name;
    const name = proxy.url.hostname;
    return {
      url,
      dialAt: (address) => by({ ...target, address }),
      name: {
        name,
        lookup: world.createLookup(name, family, servers),
        interval,
        grace,
        most: limits.proxy_addresses,
      },
    };
  });
}

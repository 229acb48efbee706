import type { Clock } from '../../shared/clock.ts';
import type { Address } from '../../shared/address.ts';
import type { Check } from '../../shared/doctor/diagnose.ts';
import { fail, ok, warn } from '../../shared/doctor/finding.ts';
import type { Look } from '../../shared/doctor/finding.ts';
import { lookAtNames } from '../../shared/doctor/names.ts';
import { lookAtShownChain } from '../../shared/doctor/pairs.ts';
import { describeError } from '../../shared/errors.ts';
import { parseAddressRange } from '../addresses/range.ts';
import { ensureOwn } from '../addresses/open.ts';
import type { ApiAddress } from '../cli/command.ts';
import type { RelayConfig } from '../config.ts';
import { dialTarget, readIdentity } from '../secrets.ts';
import { lookAtProxy } from './door.ts';
import type { DoorSeen } from './door.ts';
import { lookAtExposure } from './exposure.ts';
import { lookAtKeys, shownPairs } from './keys.ts';
import { namesOf } from './names.ts';
import { lookAtOutbox } from './outbox.ts';
import { lookAtPhoneDoors, lookAtPollUrl, pollUrlsOf } from './phones.ts';
import { lookAtDescriptors, lookAtRunning } from './running.ts';
import { lookAtUpstream } from './upstream.ts';
import type { UpstreamSeen } from './upstream.ts';

/** What the checks of a relay need. */
export interface RelayDoctorParts {
  /** The config's file. */
  file: string;
  config: RelayConfig;
  /** How the running relay is asked; null = it has no API. */
  api: ApiAddress | null;
  /** Session doors to look at as a phone does. */
  doors: readonly Address[];
  clock: Clock;
}

/** A proxy is given this long, a corporate one in between included; so is a service. */
const DIAL_MS = 12_000;

/** All that can be looked at from the relay's side, in the order in which faults hide behind each other. */
export function relayChecks({ file, config, api, doors, clock }: RelayDoctorParts): Check[] {
  const clocks: Look[] = [];
  let descriptors: number | null = null;
  return [
    { name: 'keys', look: () => lookAtKeys(file, config) },
    { name: 'names', look: () => lookAtNames(namesOf(config)) },
    {
      name: 'proxies',
      withinMs: (DIAL_MS + 1_000) * config.proxies.length,
      look: (signal) => gather(clocks, doorsOf(config, clock, signal)),
    },
    { name: 'firewall', look: () => lookAtExposure(config) },
    {
      name: 'services',
      withinMs: (DIAL_MS + 1_000) * Math.max(1, config.services.length),
      look: async () =>
        config.services.length === 0
          ? [
              warn(
                'services',
                'there are none, so no phone can be led anywhere',
                'name the provisioning service in services',
              ),
            ]
          : gather(
              clocks,
              config.services.map((service) => lookAtUpstream(service, clock)),
            ),
    },
    { name: 'clock', look: () => (clocks.length > 0 ? clocks : [nobodyToldTime]) },
    { name: 'certificates', look: () => certificates(config, clock) },
    {
      name: 'phones',
      withinMs: 15_000 * (1 + doors.length),
      look: async (signal) => [
        ...(await Promise.all(pollUrlsOf(config).map((url) => lookAtPollUrl(url, signal)))),
        ...(await lookAtPhoneDoors(doors, clock.wall(), signal)),
      ],
    },
    { name: 'addresses', look: () => sourceAddresses(config) },
    {
      name: 'outbox',
      look: async (signal) => {
        const { path, postgres } = config.outbox;
        if (postgres === null) return lookAtOutbox(path, signal);
        // Loaded late: the driver is needed for nothing else here.
        const { lookAtDatabase } = await import('./database.ts');
        return lookAtDatabase(postgres, clock);
      },
    },
    {
      name: 'running',
      look: async () => {
        if (api === null) return [ok('api', 'there is none, so the running relay was not asked')];
        const seen = await lookAtRunning(config, api);
        descriptors = seen.descriptors;
        return seen.looks;
      },
    },
    { name: 'limits', look: () => [lookAtDescriptors(config, descriptors)] },
  ];
}

const nobodyToldTime = ok('clock', 'nobody that was reached told its time');

/** Findings of all that were asked; what they told of their clocks is kept for later. */
async function gather(clocks: Look[], asked: readonly Promise<DoorSeen | UpstreamSeen>[]): Promise<Look[]> {
  const seen = await Promise.all(asked);
  clocks.push(...seen.flatMap((each) => each.clocks));
  return seen.flatMap(({ looks }) => looks);
}

function doorsOf(config: RelayConfig, clock: Clock, signal: AbortSignal): Promise<DoorSeen>[] {
  return config.proxies.map(async (proxy) => {
    try {
      const target = dialTarget(proxy, await readIdentity(config, clock));
      return await lookAtProxy(proxy, target, clock, signal);
    } catch (error) {
      const look = fail(
        proxy.url.host,
        describeError(error),
        'mend the key or the file of authorities first',
      );
      return { looks: [look], clocks: [] };
    }
  });
}

function certificates(config: RelayConfig, clock: Clock): Look[] {
  const pairs = shownPairs(config);
  const missing = config.services.filter((service) => service.kind === 'wpi' && service.tls === null);
  return [
    ...pairs.flatMap((pair) => lookAtShownChain(pair, clock.wall())),
    ...missing.map(({ name }) =>
      ok(`service ${name}`, 'shows phones no certificate: only inspected doors (tls: proxy) can lead to it'),
    ),
  ];
}

async function sourceAddresses({ services }: RelayConfig): Promise<Look[]> {
  const ranges = services.flatMap((service) =>
    service.kind === 'wpi' ? (service.sourceAddresses ?? []) : [],
  );
  const looks: Look[] = [];
  for (const text of new Set(ranges)) {
    try {
      await ensureOwn(parseAddressRange(text));
      looks.push(ok(`source_addresses ${text}`, 'is this machine’s own'));
    } catch (error) {
      looks.push(fail(`source_addresses ${text}`, describeError(error), `ip route add local ${text} dev lo`));
    }
  }
  return looks;
}

import { readFileSync } from 'node:fs';
import { formatAddress } from '../../shared/address.ts';
import type { Clock } from '../../shared/clock.ts';
import type { Check } from '../../shared/doctor/diagnose.ts';
import { lookAtSecretFile } from '../../shared/doctor/files.ts';
import { fail, ok, warn } from '../../shared/doctor/finding.ts';
import type { Look } from '../../shared/doctor/finding.ts';
import { lookAtPair, lookAtShownChain } from '../../shared/doctor/pairs.ts';
import type { ShownPair } from '../../shared/doctor/pairs.ts';
import { describeError } from '../../shared/errors.ts';
import { readPrivateKey } from '../../shared/key-pair.ts';
import type { ProxyConfig } from '../config.ts';
import { lookAtDoors } from './doors.ts';
import { lookAtOps, lookAtPollDoors, lookAtRelayDoor } from './exposure.ts';
import { lookAtDescriptors, lookAtPrivileges, lookAtReusePort, lookAtWorkers } from './machine.ts';
import { lookAtPorts } from './ports.ts';
import { askRunning, isProxy } from './running.ts';
import type { OpsSeen } from './running.ts';
import { lookAtClock, lookAtRelays, lookAtState } from './state.ts';

/** What the checks of a proxy need. */
export interface ProxyDoctorParts {
  config: ProxyConfig;
  clock: Clock;
  /** Cores of the machine. */
  cores: number;
}

/** All that can be looked at from the proxy's side, in the order in which faults hide behind each other. */
export function proxyChecks({ config, clock, cores }: ProxyDoctorParts): Check[] {
  let running: OpsSeen = null;
  const proxy = () => (isProxy(running) ? running : null);
  return [
    { name: 'keys', look: () => lookAtKeys(config) },
    { name: 'state', look: () => [lookAtState(config)] },
    {
      name: 'running',
      look: async () => {
        running = await askRunning(config.ops.listen);
        return lookAtRunning(config, running);
      },
    },
    { name: 'ports', look: () => lookAtPorts(config, running) },
    { name: 'privileges', look: () => [lookAtPrivileges(config, process.getuid?.() ?? null)] },
    {
      name: 'exposure',
      look: () => [lookAtOps(config), lookAtRelayDoor(config), ...lookAtPollDoors(config)],
    },
    {
      name: 'certificates',
      look: () => shownPairs(config).flatMap((pair) => lookAtShownChain(pair, clock.wall())),
    },
    {
      name: 'doors',
      withinMs: 15_000 * (1 + config.doors.length + config.poll.length),
      look: (signal) => lookAtDoors(config, proxy(), clock.wall(), signal),
    },
    { name: 'relays', look: () => lookAtRelays(config, clock.wall()) },
    { name: 'clock', look: () => [lookAtClock(config, clock.wall())] },
    {
      name: 'limits',
      look: async () => [
        lookAtDescriptors(config, proxy()?.descriptors ?? null),
        lookAtWorkers(config, cores),
        await lookAtReusePort(config.workers),
      ],
    },
  ];
}

/** What phones are shown; the relay door's certificate merely carries a key. */
function shownPairs({ poll, doors }: ProxyConfig): ShownPair[] {
  return [
    ...poll.flatMap(({ listen, tls }) =>
      tls === null
        ? []
        : [{ name: `poll ${formatAddress(listen)}`, cert: tls.cert, key: tls.key, profile: tls.profile }],
    ),
    ...doors.flatMap(({ name, tls }) =>
      tls === 'relay' ? [] : [{ name: `door ${name}`, cert: tls.cert, key: tls.key, profile: tls.profile }],
    ),
  ];
}

function lookAtKeys(config: ProxyConfig): Look[] {
  const relay: ShownPair = { name: 'relay.tls', ...config.relay.tls, profile: 'modern' };
  const pairs = [relay, ...shownPairs(config)];
  return [
    ...pairs.map(lookAtPair),
    ...pairs.map(({ name, key }) => lookAtSecretFile(`key of ${name}`, key)),
    ...linkKey(relay.key),
  ];
}

/** Only what is wrong: that it can be read is said already. */
function linkKey(file: string): Look[] {
  try {
    readPrivateKey(readFileSync(file, 'utf8'), file);
    return [];
  } catch (error) {
    return [
      fail(
        `key of relay.tls ${file}`,
        describeError(error),
        'links want ECDSA P-256: make it with sallyport-proxy init in a new directory, then give relays the new pin',
      ),
    ];
  }
}

function lookAtRunning({ ops }: ProxyConfig, seen: OpsSeen): Look[] {
  const about = `proxy at ${formatAddress(ops.listen)}`;
  if (seen === null) {
    return [
      warn(
        about,
        'does not run, so what only a running proxy knows was not asked',
        'sallyport-proxy run --config FILE, or start its unit',
      ),
    ];
  }
  if (!isProxy(seen))
    return [
      fail(
        about,
        `something else answers there: ${seen.stranger}`,
        'stop it, or choose another port in ops.listen',
      ),
    ];
  return [
    seen.ready
      ? ok(about, `runs (pid ${seen.pid}), and every site has its relay`)
      : warn(
          about,
          `runs (pid ${seen.pid}) and is not ready: ${seen.reasons.join('; ')}`,
          'sallyport-relay doctor, inside, says why the link is not there',
        ),
    ...seen.warnings.map((text) => warn(about, text, 'docs/troubleshooting.md has it by symptom')),
  ];
}

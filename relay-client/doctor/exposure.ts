import { formatAddress, isWildcard } from '../../shared/address.ts';
import type { Address } from '../../shared/address.ts';
import { ok, warn } from '../../shared/doctor/finding.ts';
import type { Look } from '../../shared/doctor/finding.ts';
import type { RelayConfig } from '../config.ts';

/** How to see from the DMZ that a port inside cannot be reached. */
const tryFromDmz = (port: number): string =>
  `on the proxy's host this must print nothing: timeout 3 bash -c '</dev/tcp/ADDRESS-OF-THIS-HOST/${port}' 2>/dev/null && echo OPEN`;

const LOOPBACK = /^(127\.|::1$|localhost$)/;

/** Looks at what the relay itself listens on: nothing of it is for the DMZ. What firewalls do can be seen from there only. */
export function lookAtExposure({ api, contactMe, services }: RelayConfig): Look[] {
  const listeners = [
    ...(api === null ? [] : [{ what: 'api', listen: api.listen }]),
    ...(contactMe === null ? [] : [{ what: 'contact_me', listen: contactMe.listen }]),
  ];
  const devices = services.some(
    (service) => service.kind === 'wpi' && (service.sourceAddresses ?? null) !== null,
  );
  return [
    ...listeners.map(({ what, listen }) => lookAtListener(what, listen)),
    ...(contactMe !== null && devices
      ? [
          ok(
            'contact_me.device_port',
            `listens on every address of this machine, port ${contactMe.devicePort}, for devices’ own addresses`,
            tryFromDmz(contactMe.devicePort),
          ),
        ]
      : []),
  ];
}

function lookAtListener(what: string, listen: Address): Look {
  const about = `${what} ${formatAddress(listen)}`;
  if (LOOPBACK.test(listen.host)) return ok(about, 'listens on loopback, which nobody else reaches');
  if (!isWildcard(listen)) return ok(about, 'listens inside', tryFromDmz(listen.port));
  return {
    ...warn(
      about,
      'listens on every address of this machine',
      `write the inside address in the place of ${listen.host}, so that a mistake in the firewall exposes nothing`,
    ),
    elsewhere: tryFromDmz(listen.port),
  };
}

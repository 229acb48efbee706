import { isIPv4 } from 'node:net';
import type { DeviceId } from '../../shared/device-id.ts';
import type { Log } from '../../shared/log.ts';
import type { AddressBook } from '../addresses/book.ts';
import { openAddresses } from '../addresses/open.ts';
import { createCatcher } from '../catcher/catcher.ts';
import type { Catcher } from '../catcher/catcher.ts';
import type { RelayConfig } from '../config.ts';
import type { Outbox } from '../outbox/outbox.ts';
import type { Identity } from '../secrets.ts';

/** The book of source addresses, beside the outbox and under its lock; null where no service wants any. */
export async function openBook({ services, outbox, contactMe }: RelayConfig): Promise<AddressBook | null> {
  const upstreams = services.filter((service) => service.kind === 'wpi');
  const ranges = upstreams.flatMap(({ sourceAddresses = null }) => sourceAddresses ?? []);
  if (ranges.length === 0) return null;
  const taken = [
    ...upstreams.map(({ upstream }) => new URL(upstream).hostname),
    ...(contactMe === null ? [] : [contactMe.listen.host]),
  ];
  return openAddresses(outbox.path, [...new Set(ranges)], taken.filter(isIPv4));
}

/** The catcher, where the config wants one; with a book it stands at the devices' own addresses, too. */
export async function openCatcher(
  { contactMe }: RelayConfig,
  parts: {
    identity: Identity;
    book: AddressBook | null;
    outbox: Outbox;
    onContact: (device: DeviceId) => void;
    log: Log;
  },
): Promise<Catcher | null> {
  if (contactMe === null) return null;
  const { listen, advertise, devicePort, deviceWebPort, deviceTls } = contactMe;
  const { identity, book, outbox, onContact, log } = parts;
  return createCatcher({
    listen,
    ...(advertise === null ? {} : { advertise }),
    secret: identity.catcherSecret,
    formerSecret: identity.formerCatcherSecret,
    outbox,
    ...(book === null
      ? {}
      : {
          devices: {
            port: devicePort,
            webPort: deviceWebPort,
            tls: deviceTls,
            deviceAt: book.deviceAt,
          },
        }),
    onContact,
    log,
  });
}

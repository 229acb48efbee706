import type { DeviceId } from '../../shared/device-id.ts';
import type { WpiServiceConfig } from '../services/config.ts';
import { createAnswerCheck } from './answers.ts';
import type { AnswerCheck } from './answers.ts';
import { createArrivals } from './arrivals.ts';
import type { Arrivals } from './arrivals.ts';
import { watchClockJumps } from './clock-jumps.ts';
import type { WarningsConfig } from './config.ts';
import { createContactCheck } from './contacts.ts';
import { createWarnings } from './warnings.ts';
import type { Warnings, WarningsOptions } from './warnings.ts';

export interface LookoutOptions extends WarningsOptions {
  config: WarningsConfig;
  /** The services whose sessions are read. */
  services: readonly WpiServiceConfig[];
  /** Whether something is pending for the device. */
  pending: (device: DeviceId) => boolean;
  /** The secret in a device's poll path. */
  pollSecretOf: (device: DeviceId) => string;
}

/** Everything of a relay that looks out for what deserves a warning. */
export interface Lookout extends Warnings, Pick<Arrivals, 'polled' | 'came'> {
  /** The service has contacted the phone, as it believes. */
  contacted(device: DeviceId): void;
  /** What is looked for in the answers of a service. */
  answersOf(service: WpiServiceConfig): AnswerCheck;
  close(): void;
}

export function createLookout({
  config,
  services,
  pending,
  pollSecretOf,
  ...options
}: LookoutOptions): Lookout {
  const { clock } = options;
  const { warn, of } = createWarnings(options);
  const jumps = watchClockJumps(clock, warn);
  const contacted = createContactCheck({ clock, gap: config.contactGap, warn });
  // Where all sessions pass unread, whether a phone came is not seen.
  const arrivals =
    config.notComing === 0 || services.length === 0
      ? null
      : createArrivals({ clock, within: config.notComing, pending, warn });
  const taught = services.flatMap(({ teach }) => teach?.['dcmp-url'] ?? []);
  const rules = {
    insideItems: config.insideItems,
    insideNetworks: config.insideNetworks,
    pollUrls: config.pollUrls.length > 0 ? config.pollUrls : taught,
    pollSecretOf,
  };
  return {
    warn,
    of,
    contacted,
    polled: (device, status, agoMs) => arrivals?.polled(device, status, agoMs),
    came: (device) => arrivals?.came(device),
    answersOf: ({ upstream }) =>
      createAnswerCheck({ ...rules, insideHosts: [new URL(upstream).hostname.replace(/^\[(.*)\]$/, '$1')] }),
    close() {
      jumps.cancel();
      arrivals?.close();
    },
  };
}

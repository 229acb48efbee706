import { isIP } from 'node:net';
import { parseAllowList } from '../../shared/address.ts';
import type { Milliseconds } from '../../shared/clock.ts';
import type { DeviceId } from '../../shared/device-id.ts';
import { hasItem } from '../../shared/wpi/message.ts';
import type { ServiceMessage } from '../../shared/wpi/message.ts';
import { fillPlaces } from '../teacher/places.ts';
import { DEFAULT_WARNINGS } from './config.ts';
import type { WarningsConfig } from './config.ts';
import type { Warning, WarningFacts } from './kinds.ts';

/** A service's answer to a phone, as far as warnings depend on it. */
export interface ToldPhone {
  device: DeviceId | null;
  message: ServiceMessage;
  /** The value of its `Date` header; null = none. */
  date: string | null;
  /** Our own wall time. */
  now: Milliseconds;
}

/** Finds what deserves a warning in a service's answer. */
export type AnswerCheck = (told: ToldPhone) => [what: Warning, facts: WarningFacts][];

/** A service's clock may be off by as much before it is warned of: certificates and logs still make sense. */
export const CLOCK_TOLERANCE_MS: Milliseconds = 5 * 60_000;

export interface AnswerRules extends Pick<WarningsConfig, 'insideItems' | 'insideNetworks'> {
  /** Poll addresses that are ours, with the places that `fillPlaces` fills; empty = any will do. */
  pollUrls: readonly string[];
  /** The secret in a device's poll path. */
  pollSecretOf: (device: DeviceId) => string;
  /** Names of hosts of the inside, such as the service's own. */
  insideHosts: readonly string[];
}

/** @throws SallyportError ADDRESS_INVALID for a network that is none */
export function createAnswerCheck(rules: Partial<AnswerRules> = {}): AnswerCheck {
  const { insideItems, insideNetworks, pollUrls, pollSecretOf, insideHosts } = {
    ...DEFAULT_WARNINGS,
    pollSecretOf: () => '',
    insideHosts: [],
    ...rules,
  };
  const items = new Set(insideItems.map((name) => name.toLowerCase()));
  const networks = parseAllowList(insideNetworks);
  const hosts = new Set(insideHosts.map((host) => host.toLowerCase()));

  const isInside = (host: string): boolean =>
    hosts.has(host.toLowerCase()) || (isIP(host) !== 0 && networks.allows(host));

  const isOurs = (url: string, device: DeviceId | null): boolean =>
    pollUrls.some((ours) => {
      const filled = device === null ? ours : fillPlaces(ours, device, pollSecretOf);
      return plainUrl(filled) === plainUrl(url);
    });

  return ({ device, message, date, now }) => {
    const found: [Warning, WarningFacts][] = [];
    if (sendsToFtp(message)) found.push(['ftp', { device }]);
    for (const { name, value } of message.items) {
      if (value === '') continue;
      const item = name.toLowerCase();
      if (item === 'dcmp-url') {
        // What was configured as ours is right, wherever it leads.
        if (isOurs(value, device)) continue;
        if (pollUrls.length > 0) found.push(['other-dcmp-url', { device }]);
      }
      const host = items.has(item) ? hostIn(value) : null;
      if (host !== null && isInside(host)) found.push(['inside-address', { device, item, address: host }]);
    }
    const ahead = date === null ? NaN : Date.parse(date) - now;
    if (Math.abs(ahead) > CLOCK_TOLERANCE_MS) {
      found.push(['service-clock', { device, ahead_s: Math.round(ahead / 1000) }]);
    }
    return found;
  };
}

/** Whether the service sends the phone to an FTP server (Developer's Guide p. 55): FTP does not get through. */
function sendsToFtp({ items }: ServiceMessage): boolean {
  return hasItem(items, 'file-server') && !hasItem(items, 'file-https-base-url');
}

/** The host of a value that is a URL, an address, or either with a port; null where it is none of these. */
export function hostIn(value: string): string | null {
  const text = value.trim();
  if (isIP(text) !== 0) return text;
  const url = /^[a-z][a-z0-9+.-]*:\/\//i.test(text) ? text : `http://${text}`;
  const host = URL.parse(url)?.hostname ?? '';
  return host === '' ? null : host.replace(/^\[(.*)\]$/, '$1');
}

/** The URL in the one spelling that all its spellings have in common; what is none stays as it is. */
function plainUrl(text: string): string {
  return URL.parse(text.trim())?.href ?? text.trim();
}

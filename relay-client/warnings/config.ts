import type { Milliseconds } from '../../shared/clock.ts';

/** What is warned of, as far as that is a matter of taste. */
export interface WarningsConfig {
  /** Items whose addresses phones have to reach through the gate. */
  insideItems: readonly string[];
  /** Networks that no phone outside reaches. */
  insideNetworks: readonly string[];
  /** Poll addresses that services may write into phones; empty = those that the relay teaches, or any. */
  pollUrls: readonly string[];
  /** Least time between two contacts of one phone by its service; 0 = not warned of. */
  contactGap: Milliseconds;
  /** How long a phone that was told 202 may take to open a session; 0 = not warned of. */
  notComing: Milliseconds;
}

export const DEFAULT_WARNINGS: WarningsConfig = {
  insideItems: ['dcmp-url', 'file-server', 'file-https-base-url'],
  // RFC 1918, loopback, link-local (RFC 3927, RFC 4291) and unique local (RFC 4193) addresses.
  insideNetworks: [
    '10.0.0.0/8',
    '172.16.0.0/12',
    '192.168.0.0/16',
    '127.0.0.0/8',
    '169.254.0.0/16',
    '::1/128',
    'fc00::/7',
    'fe80::/10',
  ],
  pollUrls: [],
  contactGap: 60_000,
  notComing: 120_000,
};

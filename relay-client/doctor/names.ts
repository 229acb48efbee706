import type { NameUse } from '../../shared/doctor/names.ts';
import type { RelayConfig } from '../config.ts';

/** Every name that the relay has to look up, and what for. */
export function namesOf({ proxies, outbox, services, pollSource, webhooks }: RelayConfig): NameUse[] {
  return [
    ...proxies.flatMap(({ url, via, name }): NameUse[] =>
      // A name that stands for many is asked of DNS itself, where its proxies are dialled.
      name !== undefined
        ? []
        : via === null
          ? [{ host: bare(url.hostname), use: 'proxy' }]
          : [
              { host: bare(via.hostname), use: 'via' },
              { host: bare(url.hostname), use: 'proxy', elsewhere: `the corporate proxy ${via.host}` },
            ],
    ),
    ...services.map(({ name, kind, upstream }) => ({
      host: kind === 'wpi' ? bare(new URL(upstream).hostname) : bare(upstream.replace(/:\d+$/, '')),
      use: `service ${name}`,
    })),
    ...(outbox.postgres === null || outbox.postgres.hostname === ''
      ? []
      : [{ host: bare(outbox.postgres.hostname), use: 'outbox' }]),
    ...(pollSource === null ? [] : [{ host: bare(pollSource.url.hostname), use: 'poll_source' }]),
    ...webhooks.map(({ name, url }) => ({ host: bare(url.hostname), use: `webhook ${name}` })),
  ];
}

const bare = (host: string): string => host.replace(/^\[|\]$/g, '');

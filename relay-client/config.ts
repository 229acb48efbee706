import { basename } from 'node:path';
import type { z } from 'zod';
import type { Address } from '../shared/address.ts';
import { readConfigFile, readConfigParts } from '../shared/config-file.ts';
import type { ConfigParts } from '../shared/config-file.ts';
import { besideFile } from '../shared/config-text.ts';
import { createFileChecks } from '../shared/config-files.ts';
import type { DeviceTls } from './catcher/doors.ts';
import { findFaults, findFileFaults } from './config-faults.ts';
import type { RelayLimits } from './config-limits.ts';
import { relaySchema } from './config-schema.ts';
import type { CourierConfig } from './courier/config.ts';
import { readProxy } from './links/config.ts';
import type { ProxyConfig } from './links/config.ts';
import type { PollSourceConfig } from './poll-source.ts';
import type { TcpServiceConfig, WpiServiceConfig } from './services/config.ts';
import type { WarningsConfig } from './warnings/config.ts';
import type { WebhookConfig } from './webhooks/config.ts';

export interface RelayConfig {
  name: string;
  site: string;
  /** File of this relay's private key. */
  key: string;
  /** File of the key before it, by which contact-me addresses were made; null = none. */
  formerKey: string | null;
  proxies: ProxyConfig[];
  /**
   * Directory of the SQLite outbox, or, with `postgres`, of what is this relay's own beside that database; and the file of
   * the keys that seal what is secret in the outbox.
   */
  outbox: { path: string; keyFile: string; postgres: URL | null };
  services: (WpiServiceConfig | TcpServiceConfig)[];
  /** Where contact-me requests of services are caught; null = nowhere. `advertise` null = the address that was bound. */
  contactMe: {
    listen: Address;
    advertise: URL | null;
    /** Where devices have source addresses: the ports at which they are contacted there. */
    devicePort: number;
    deviceWebPort: number | null;
    deviceTls: DeviceTls | null;
  } | null;
  /** A service with a poll address of its own, to be asked in place of the phones; null = none. */
  pollSource: PollSourceConfig | null;
  /** Null = none. `tokenFile` null = no token, allowed on loopback only. */
  /** `hosts`: names by which it may be called beside those of loopback. */
  api: { listen: Address; tokenFile: string | null; hosts: readonly string[] } | null;
  webhooks: readonly WebhookConfig[];
  deadAfterSessions: number;
  warnings: WarningsConfig;
  courier: CourierConfig;
  limits: RelayLimits;
}

/**
 * Reads and checks the relay's config file.
 *
 * @param looking - `into files` checks also what is in the certificates, keys and tokens that it names
 * @throws ConfigError naming every wrong field; SallyportError CONFIG_INVALID where it cannot be read
 */
export function loadRelayConfig(file: string, looking?: 'into files'): RelayConfig {
  const beside = besideFile(file);
  const written = readConfigFile(file, relaySchema(beside), (config, fault) => {
    findFaults(config, fault, beside);
    if (looking === 'into files') findFileFaults(config, createFileChecks(beside, fault));
  });
  return asConfig(written, beside);
}

/**
 * As much of the config as is right, for those who look at what is left of it. Of what a relay cannot be without, what is
 * wrong has a stand-in that is good for nothing.
 *
 * @throws ConfigError where it is no YAML; SallyportError CONFIG_INVALID where it cannot be read
 */
export function loadRelayConfigParts(file: string): ConfigParts<RelayConfig> {
  const beside = besideFile(file);
  const { value, ...rest } = readConfigParts(
    file,
    relaySchema(beside),
    (config, fault) => findFaults(config, fault, beside),
    {
      name: 'nameless',
      key: basename(file),
      proxies: [{ url: 'wss://127.0.0.1:1', pin: `sha256:${'A'.repeat(43)}=` }],
    },
  );
  return { value: value === null ? null : asConfig(value, beside), ...rest };
}

type WrittenConfig = z.infer<ReturnType<typeof relaySchema>>;

function asConfig(written: WrittenConfig, beside: (path: string) => string): RelayConfig {
  return {
    name: written.name,
    site: written.site,
    key: written.key,
    formerKey: written.former_key,
    proxies: written.proxies.map(readProxy),
    outbox: {
      path: beside(written.outbox.path),
      postgres: written.outbox.postgres,
      keyFile:
        written.outbox.key === null ? `${beside(written.outbox.path)}.key` : beside(written.outbox.key),
    },
    services: written.services.map((service) =>
      service.kind === 'tcp'
        ? {
            name: service.name,
            kind: 'tcp',
            upstream: `${bracket(service.upstream.host)}:${service.upstream.port}`,
          }
        : {
            name: service.name,
            kind: 'wpi',
            tls:
              service.tls === null
                ? null
                : {
                    cert: service.tls.cert,
                    key: service.tls.key,
                    profile: service.tls.profile,
                    clientCa: service.tls.client_ca,
                  },
            upstream: service.upstream.href,
            upstreamTls: defined(service.upstream_tls ?? {}),
            sourceAddresses: service.source_addresses,
            forwarded: service.forwarded,
            rewriteContactMe: service.rewrite_contact_me,
            teach: service.teach,
            limits: {},
          },
    ),
    contactMe:
      written.contact_me === null
        ? null
        : {
            listen: written.contact_me.listen,
            advertise: written.contact_me.advertise,
            devicePort: written.contact_me.device_port,
            deviceWebPort: written.contact_me.device_web_port,
            deviceTls: written.contact_me.device_tls,
          },
    pollSource:
      written.poll_source === null
        ? null
        : { url: slashed(written.poll_source.url), interval: written.poll_source.interval_s * 1000 },
    api: {
      listen: written.api.listen,
      tokenFile: written.api.token_file,
      hosts: written.api.hosts,
    },
    webhooks: written.webhooks.map(({ name, url, secret_file: secretFile, events, ca }) => ({
      name,
      url,
      secretFile,
      events,
      caFile: ca,
    })),
    deadAfterSessions: written.dead_after_sessions,
    warnings: {
      insideItems: written.warnings.inside_items,
      insideNetworks: written.warnings.inside_networks,
      pollUrls: written.warnings.poll_urls,
      contactGap: written.warnings.contact_gap_s * 1000,
      notComing: written.warnings.not_coming_s * 1000,
    },
    courier: {
      secretItems: written.courier.secret_items,
      secretResults: written.courier.secret_results,
      allowSources: written.courier.allow_sources,
      deliverUnauthenticated: written.courier.deliver_unauthenticated,
      fileWait: written.courier.file_wait_s * 1000,
      softwareWait: written.courier.software_wait_s * 1000,
      softwareGap: written.courier.software_gap_s * 1000,
    },
    limits: written.limits,
  };
}

/** A poll base ends in a slash, or its last part would be replaced by what is appended. */
function slashed(url: URL): URL {
  return url.pathname.endsWith('/') ? url : new URL(`${url.pathname}/`, url);
}

const bracket = (host: string): string => (host.includes(':') ? `[${host}]` : host);

/** The object without the fields that are undefined. */
function defined<T extends object>(value: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(value).filter(([, field]) => field !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>;
  };
}

import { basename } from 'node:path';
import type { Address } from '../shared/address.ts';
import { readConfigFile, readConfigParts } from '../shared/config-file.ts';
import type { ConfigParts } from '../shared/config-file.ts';
import { besideFile } from '../shared/config-text.ts';
import { createFileChecks } from '../shared/config-files.ts';
import { findFaults, findFileFaults } from './config-faults.ts';
import type { ProxyLimits } from './config-limits.ts';
import { proxySchema } from './config-schema.ts';
import type { WrittenConfig } from './config-schema.ts';

/** TLS that a door ends itself. Paths are absolute. */
export interface DoorTls {
  cert: string;
  key: string;
  profile: 'modern' | 'intermediate' | 'legacy';
  /** CA file; phones must show a certificate of it. Null = none asked for. */
  clientCa: string | null;
  /** Who the process that ends TLS of a legacy door is; null = who the proxy is. */
  runAs?: { uid: number; gid: number } | null;
}

export interface PollDoorConfig {
  listen: Address;
  /** The site whose phones poll here, and no other's; null or left out = the path decides. */
  site?: string | null;
  allow: string[];
  proxyProtocol: boolean;
  /** With `proxyProtocol`: the balancers' networks; left out = anybody's. */
  proxyProtocolFrom?: readonly string[];
  tls: DoorTls | null;
}

export interface SessionDoorConfig {
  name: string;
  service: string;
  listen: Address;
  allow: string[];
  proxyProtocol: boolean;
  /** With `proxyProtocol`: the balancers' networks; left out = anybody's. */
  proxyProtocolFrom?: readonly string[];
  /** `relay`: sealed, or not TLS at all; else inspected, TLS ends here. */
  tls: 'relay' | DoorTls;
}

export interface SiteConfig {
  name: string;
  /** Null = any prefix. */
  pollPrefixes: string[] | null;
  /** Names of its session doors. */
  doors: string[];
  sessions: 'relayed' | 'direct';
  sessionGapMs: number;
  maxSessions: number;
  /** `path`: a secret of its own stands in each device's poll path. */
  pollSecret: 'none' | 'path';
  /** Most held messages, and most devices known. */
  held: number;
  /** Most connections of polling phones, at each poll worker; Infinity = as many as all may have. */
  pollConnections: number;
  /** Most phone connections at its session doors. */
  sessionConnections: number;
  /** Most bytes of phones' connections in a second, each direction; 0 = no limit. */
  bytesPerSecond: number;
}

export interface ProxyConfig {
  poll: PollDoorConfig[];
  doors: SessionDoorConfig[];
  relay: {
    listen: Address;
    advertise: URL | null;
    tls: { cert: string; key: string };
    /** Directory. */
    state: string;
  };
  sites: SiteConfig[];
  ops: { listen: Address };
  /** Poll workers; null = one less than the machine's cores, at least one. */
  workers: number | null;
  limits: ProxyLimits;
}

/**
 * Reads and checks the proxy's config file.
 *
 * @param looking - `into files` checks also what is in the certificates and keys that it names
 * @throws ConfigError naming every wrong field; SallyportError CONFIG_INVALID where it cannot be read
 */
export function loadProxyConfig(file: string, looking?: 'into files'): ProxyConfig {
  const beside = besideFile(file);
  const written = readConfigFile(file, proxySchema(beside), (config, fault) => {
    findFaults(config, fault);
    if (looking === 'into files') findFileFaults(config, createFileChecks(beside, fault));
  });
  return asConfig(written, beside);
}

/**
 * As much of the config as is right, for those who look at what is left of it. Of what a proxy cannot be without, what is
 * wrong has a stand-in that is good for nothing.
 *
 * @throws ConfigError where it is no YAML; SallyportError CONFIG_INVALID where it cannot be read
 */
export function loadProxyConfigParts(file: string): ConfigParts<ProxyConfig> {
  const beside = besideFile(file);
  const nowhere = '127.0.0.1:0';
  const { value, ...rest } = readConfigParts(file, proxySchema(beside), findFaults, {
    poll: [{ listen: nowhere }],
    relay: { listen: nowhere, tls: { cert: basename(file), key: basename(file) }, state: 'state' },
  });
  return { value: value === null ? null : asConfig(value, beside), ...rest };
}

function asConfig(written: WrittenConfig, beside: (path: string) => string): ProxyConfig {
  const doorNames = written.doors.map((door) => door.name);
  return {
    poll: written.poll.map((door) => ({
      listen: door.listen,
      site: door.site,
      allow: door.allow,
      proxyProtocol: door.proxy_protocol,
      ...(door.proxy_protocol_from === undefined ? {} : { proxyProtocolFrom: door.proxy_protocol_from }),
      tls:
        door.tls === null
          ? null
          : {
              cert: door.tls.cert,
              key: door.tls.key,
              profile: door.tls.profile,
              clientCa: null,
              runAs: door.tls.run_as,
            },
    })),
    doors: written.doors.map((door) => ({
      name: door.name,
      service: door.service,
      listen: door.listen,
      allow: door.allow,
      proxyProtocol: door.proxy_protocol,
      ...(door.proxy_protocol_from === undefined ? {} : { proxyProtocolFrom: door.proxy_protocol_from }),
      tls:
        door.tls === 'relay'
          ? 'relay'
          : {
              cert: door.cert!,
              key: door.key!,
              profile: door.profile,
              clientCa: door.client_ca,
              runAs: door.run_as,
            },
    })),
    relay: {
      listen: written.relay.listen,
      advertise: written.relay.advertise,
      tls: written.relay.tls,
      state: beside(written.relay.state),
    },
    sites: written.sites.map((site) => ({
      name: site.name,
      pollPrefixes: site.poll_prefixes ?? null,
      doors: site.doors ?? doorNames,
      sessions: site.sessions,
      sessionGapMs: site.session_gap_s * 1000,
      maxSessions: site.max_sessions,
      pollSecret: site.poll_secret,
      held: site.held ?? written.limits.held,
      pollConnections:
        site.poll_connections ??
        (written.sites.length === 1
          ? Infinity
          : shareOf(written.limits.poll_connections, written.sites.length)),
      sessionConnections:
        site.session_connections ?? shareOf(written.limits.session_connections, written.sites.length),
      bytesPerSecond: site.bytes_per_s,
    })),
    ops: written.ops,
    workers: written.workers === 'auto' ? null : written.workers,
    limits: written.limits,
  };
}

/** With several sites one alone never takes all places, so that a flood at its doors leaves some to the others. */
function shareOf(all: number, sites: number): number {
  return sites === 1 ? all : Math.max(1, Math.ceil(all / 2));
}

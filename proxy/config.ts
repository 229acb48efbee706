import { basename } from 'node:path';
import { z } from 'zod';
import type { Address } from '../shared/address.ts';
import { fields, readConfigFile, readConfigParts } from '../shared/config-file.ts';
import type { ConfigParts } from '../shared/config-file.ts';
import { besideFile } from '../shared/config-text.ts';
import type { Written } from '../shared/config-text.ts';
import { createFileChecks } from '../shared/config-files.ts';
import type { Fault, FileChecks } from '../shared/config-files.ts';
import { DRAIN_MOST_S } from '../shared/program.ts';

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

/** Every limit of the proxy and its default. Reaching one refuses the newcomer and is counted. */
export const DEFAULT_LIMITS = {
  /** Connections that one poll worker holds; more are answered 503. */
  poll_connections: 20_000,
  /** Polls answered on one connection before it is closed. */
  poll_requests: 1_000,
  /** Seconds from the first byte of a poll to the end of its header. */
  poll_header_s: 10,
  /** Seconds that a poll connection may idle. */
  poll_idle_s: 75,
  /** Session connections at once, over all doors. */
  session_connections: 5_000,
  /** Streams at once in one stream lane. */
  lane_streams: 4_096,
  /** Seconds for a phone's TLS handshake at an inspected door. */
  handshake_s: 10,
  /** Phone connections of one address, from which on it gets more only while there is room; see createSessionSlots. */
  session_connections_per_address: 400,
  /** Connections at the relay door that have not shown a relay's key; the oldest of the fullest address gives way. */
  relay_connections: 64,
  /** Of them from one address: the oldest gives way. */
  relay_connections_per_address: 8,
  /** Of each second, milliseconds of the main thread that one relay's control frames may take; see createLoopShare. */
  relay_ms_per_s: 250,
  /** Held messages of one site. */
  held: 2_000_000,
  /** Seconds from the loss of a link in which a phone's connection waits for the next one; 0 = it is refused at once. */
  link_wait_s: 5,
  /** Seconds that running sessions get to end at SIGTERM; at most {@link DRAIN_MOST_S}. */
  drain_s: DRAIN_MOST_S,
};
export type ProxyLimits = typeof DEFAULT_LIMITS;

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

const common = {
  allow: fields.allow.default(['0.0.0.0/0', '::/0']),
  proxy_protocol: fields.flag.default(false),
  proxy_protocol_from: fields.allow.optional(),
};
const profile = fields.oneOf('modern', 'intermediate', 'legacy').default('intermediate');

/** Numbers, since names would have to be looked up. */
const userAndGroup = z
  .string('a user and a group by number')
  .regex(
    /^[1-9]\d{0,8}:[1-9]\d{0,8}$/,
    'numbers of a user and a group other than root, such as "65534:65534"',
  )
  .transform((text) => {
    const [uid = 0, gid = 0] = text.split(':').map(Number);
    return { uid, gid };
  });

/** Where more would make no sense. */
const MOST: Record<string, number> = { drain_s: DRAIN_MOST_S, relay_ms_per_s: 1_000 };

const limitsSchema = z
  .strictObject(
    Object.fromEntries(
      Object.entries(DEFAULT_LIMITS).map(([name, preset]) => [
        name,
        fields.whole(name === 'link_wait_s' ? 0 : 1, MOST[name] ?? 100_000_000).default(preset),
      ]),
    ) as Record<keyof ProxyLimits, z.ZodDefault<z.ZodNumber>>,
    'a map of limits',
  )
  .prefault({});

/** The config file as written, field by field; `beside` resolves its paths. docs/configuration.md is held against it. */
export const proxySchema = (beside: (path: string) => string) =>
  z.strictObject(
    {
      poll: z
        .array(
          z.strictObject({
            listen: fields.address,
            site: fields.name.nullable().default(null),
            ...common,
            tls: z
              .strictObject({
                cert: fields.file(beside),
                key: fields.file(beside),
                profile,
                run_as: userAndGroup.nullable().default(null),
              })
              .nullable()
              .default(null),
          }),
          'a list of poll doors',
        )
        .min(1, 'at least one poll door'),
      doors: z
        .array(
          z.strictObject({
            name: fields.name,
            service: fields.name,
            listen: fields.address,
            ...common,
            tls: fields.oneOf('relay', 'proxy').default('relay'),
            cert: fields.file(beside).optional(),
            key: fields.file(beside).optional(),
            profile,
            client_ca: fields.file(beside).nullable().default(null),
            run_as: userAndGroup.nullable().default(null),
          }),
          'a list of session doors',
        )
        .default([]),
      relay: z.strictObject(
        {
          listen: fields.address,
          advertise: fields.url(['wss:']).nullable().default(null),
          tls: z.strictObject(
            { cert: fields.file(beside), key: fields.file(beside) },
            'a map with cert and key',
          ),
          state: fields.path,
        },
        'a map with listen, tls and state',
      ),
      sites: z
        .array(
          z.strictObject({
            name: fields.name,
            poll_prefixes: z
              .array(z.string('a prefix').regex(/^\/[^?#\s]*$/, 'a path that begins with /, such as /dcmp/'))
              .min(1, 'at least one prefix')
              .optional(),
            doors: z.array(fields.name, 'a list of door names').optional(),
            sessions: fields.oneOf('relayed', 'direct').default('relayed'),
            session_gap_s: fields.whole(0, 86_400).default(60),
            max_sessions: fields.whole(1, 1_000_000).default(200),
            poll_secret: fields.oneOf('none', 'path').default('none'),
            held: fields.whole(1, 100_000_000).optional(),
            poll_connections: fields.whole(1, 100_000_000).optional(),
            session_connections: fields.whole(1, 100_000_000).optional(),
            bytes_per_s: fields.whole(0, 10_000_000_000).default(0),
          }),
          'a list of sites',
        )
        .min(1, 'at least one site')
        .prefault([{ name: 'default' }]),
      ops: z
        .strictObject({ listen: fields.address.prefault('127.0.0.1:9464') }, 'a map with listen')
        .prefault({}),
      workers: z
        .union([z.literal('auto'), fields.whole(1, 128)], 'auto or a whole number from 1 to 128')
        .default('auto'),
      limits: limitsSchema,
    },
    'a map of settings',
  );

/**
 * Reads and checks the proxy's config file.
 *
 * @param looking - `into files` checks also what is in the certificates and keys that it names
 * @throws ConfigError naming every wrong field; SallyportError FILE_UNREADABLE
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
 * @throws ConfigError where it is no YAML; SallyportError FILE_UNREADABLE
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

type WrittenConfig = z.infer<ReturnType<typeof proxySchema>>;

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

function findFileFaults(config: Written, check: FileChecks): void {
  config.list('poll').forEach((door, i) => check.pair(door.map('tls'), ['poll', i, 'tls'], 'intermediate'));
  config.list('doors').forEach((door, i) => check.pair(door, ['doors', i], 'intermediate'));
  const relay = config.map('relay').map('tls');
  check.pair(relay, ['relay', 'tls'], 'modern');
  check.linkKey(relay, ['relay', 'tls'], 'key');
}

/** What a schema of single fields cannot see: names that clash or lead nowhere, fields that exclude each other. */
function findFaults(config: Written, fault: Fault): void {
  const doors = config.list('doors');
  const doorNames = doors.map((door) => door.text('name'));
  for (const list of ['poll', 'doors']) {
    config.list(list).forEach((door, i) => {
      if (door.has('proxy_protocol_from') && !door.flag('proxy_protocol')) {
        fault([list, i, 'proxy_protocol_from'], 'nothing, since proxy_protocol is not true');
      }
    });
  }
  /** Whether TLS of this door, at this place of the config, may be ended by another user. */
  const runs = (tls: Written, at: (string | number)[], here: boolean): void => {
    if (!tls.has('run_as')) return;
    if (!here || tls.text('profile') !== 'legacy') {
      fault([...at, 'run_as'], 'nothing, since only profile legacy ends TLS in a process of its own');
    } else if (process.getuid?.() !== 0) {
      fault(
        [...at, 'run_as'],
        'nothing, since the proxy does not run as root and so cannot run anything as another user',
      );
    }
  };
  config.list('poll').forEach((door, i) => runs(door.map('tls'), ['poll', i, 'tls'], true));
  doors.forEach((door, i) => {
    const at = ['doors', i];
    if (doorNames.indexOf(door.text('name')) !== i) fault([...at, 'name'], 'a name of its own');
    const inspected = door.text('tls') === 'proxy';
    for (const field of ['cert', 'key']) {
      if (inspected && !door.has(field)) fault([...at, field], 'a file, since tls is proxy');
    }
    runs(door, at, inspected);
    for (const field of ['cert', 'key', 'client_ca']) {
      if (!inspected && door.has(field))
        fault([...at, field], 'nothing, since TLS does not end here (tls: proxy)');
    }
  });
  const sites = config.list('sites');
  const siteNames = sites.map((site) => site.text('name'));
  const pollSites = config.list('poll').map((door) => door.text('site'));
  pollSites.forEach((site, i) => {
    const known = siteNames.includes(site) || (sites.length === 0 && site === 'default');
    if (site !== undefined && !known) fault(['poll', i, 'site'], 'the name of a site');
  });
  const prefixes = new Map<string, number>();
  const doorOwners = new Map<string, number>();
  const claim = (
    owners: Map<string, number>,
    thing: string,
    site: number,
    path: (string | number)[],
  ): void => {
    const owner = owners.get(thing) ?? site;
    if (owner !== site) fault(path, `something that site ${siteNames[owner] ?? owner} does not have already`);
    owners.set(thing, owner);
  };
  sites.forEach((site, i) => {
    const at = ['sites', i];
    if (siteNames.indexOf(site.text('name')) !== i) fault([...at, 'name'], 'a name of its own');
    const several = 'a list, since there are several sites';
    if (sites.length > 1 && !site.has('doors')) fault([...at, 'doors'], several);
    if (sites.length > 1 && !site.has('poll_prefixes') && !pollSites.includes(site.text('name'))) {
      fault([...at, 'poll_prefixes'], `${several}, or a poll door with this one's name in its site`);
    }
    site
      .texts('poll_prefixes')
      .forEach((prefix, j) => claim(prefixes, prefix, i, [...at, 'poll_prefixes', j]));
    site.texts('doors').forEach((door, j) => {
      if (!doorNames.includes(door)) fault([...at, 'doors', j], 'the name of a session door');
      claim(doorOwners, door, i, [...at, 'doors', j]);
    });
  });
  doorNames.forEach((name, i) => {
    if (
      name !== undefined &&
      sites.length > 0 &&
      sites.every((site) => site.has('doors')) &&
      !doorOwners.has(name)
    ) {
      fault(['doors', i, 'name'], 'a door that a site lists among its doors');
    }
  });
  const ops = config.map('ops').text('listen');
  if (ops !== undefined && /^(0\.0\.0\.0|\[::\]):/.test(ops)) {
    fault(['ops', 'listen'], 'a loopback or inside address, not every interface');
  }
}

import { isIPv4 } from 'node:net';
import { sep } from 'node:path';
import { z } from 'zod';
import type { Address } from '../shared/address.ts';
import { besideFile, fields, readConfigFile } from '../shared/config-file.ts';
import type { Written } from '../shared/config-file.ts';
import { createFileChecks } from '../shared/config-files.ts';
import type { Fault, FileChecks } from '../shared/config-files.ts';
import type { Pin } from '../shared/key-pair.ts';
import { DRAIN_MOST_S } from '../shared/program.ts';
import type { PollSourceConfig } from './poll-source.ts';
import { fitsXml } from '../shared/wpi/escape.ts';
import { describeError } from '../shared/errors.ts';
import { isLoopback, overlap, parseAddressRange } from './addresses/range.ts';
import type { AddressRange } from './addresses/range.ts';
import type { DeviceTls } from './catcher/doors.ts';
import { DEFAULT_PROXY_LIMITS } from './links/proxy-guard.ts';
import type { TcpServiceConfig, WpiServiceConfig } from './services/config.ts';
import { DEFAULT_COURIER } from './courier/config.ts';
import type { CourierConfig } from './courier/config.ts';
import { DEFAULT_WARNINGS } from './warnings/config.ts';
import type { WarningsConfig } from './warnings/config.ts';
import { DEFAULT_WEBHOOK_EVENTS, DEFAULT_WEBHOOK_LIMITS, WEBHOOK_EVENTS } from './webhooks/config.ts';
import type { WebhookConfig } from './webhooks/config.ts';

/** One proxy to dial. */
export interface ProxyConfig {
  url: URL;
  /** Pins of its key, one of which has to fit, or a CA file to judge its certificate by. */
  trust: { pins: Pin[] } | { caFile: string };
  via: URL | null;
}

export interface RelayConfig {
  name: string;
  site: string;
  /** File of this relay's private key. */
  key: string;
  /** File of the key before it, by which contact-me addresses were made; null = none. */
  formerKey: string | null;
  proxies: ProxyConfig[];
  /** Directory of the SQLite outbox, and the file of the keys that seal what is secret in it. */
  outbox: { path: string; keyFile: string };
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
  api: { listen: Address; tokenFile: string | null } | null;
  webhooks: readonly WebhookConfig[];
  deadAfterSessions: number;
  warnings: WarningsConfig;
  courier: CourierConfig;
  limits: RelayLimits;
}

/** Every limit of the relay that is not a service's, and its default. */
export const DEFAULT_RELAY_LIMITS = {
  /** Held messages in all; more are refused. */
  held: 1_000_000,
  /** Held messages of one device. */
  held_per_device: 100,
  /** Streams at once in one stream lane; a proxy that opens more is refused them. */
  lane_streams: 4_096,
  /** New phone connections from one proxy within a minute; further ones are refused. */
  proxy_streams_per_minute: DEFAULT_PROXY_LIMITS.streamsPerMinute,
  /** Bytes per second of phones' connections from one proxy, beyond which its lanes are read more slowly; 0 = none. */
  proxy_bytes_per_s: DEFAULT_PROXY_LIMITS.bytesPerSecond,
  /** Devices never heard of that a service's sessions, or a proxy's reports of polls, may bring within a minute. */
  new_devices_per_minute: DEFAULT_PROXY_LIMITS.newDevicesPerMinute,
  /** Stream lanes to each proxy. */
  stream_lanes: 1,
  /** Seconds that running sessions get to end at SIGTERM; at most {@link DRAIN_MOST_S}. */
  drain_s: DRAIN_MOST_S,
};
export type RelayLimits = typeof DEFAULT_RELAY_LIMITS;

const MOST: Partial<Record<keyof RelayLimits, number>> = {
  drain_s: DRAIN_MOST_S,
  stream_lanes: 8,
  proxy_bytes_per_s: 10_000_000_000,
};
/** Where there may be none. */
const LEAST: Partial<Record<keyof RelayLimits, number>> = { proxy_bytes_per_s: 0 };

/** Pins of one proxy: its key, its next one, and one to spare. */
const PINS = 3;
/** Patterns of item names in which `*` stands for any characters. */
const SECRET_PATTERN = /^[\w.*-]{1,64}$/;
const SECRET_PATTERN_WORDS = 'an item name such as sip-pwd, or a pattern such as *-pwd';

/** Items that phones can be told at once. */
const TAUGHT_ITEMS = 32;
/** Characters of a taught value. */
const TAUGHT_CHARACTERS = 1_000;

const ITEM_NAME = /^[A-Za-z][\w.-]{0,63}$/;

/** Items for phones, values as text. What the poll's interval is called is known to the phones' owner only. */
const taughtItems = z
  .record(
    z.string(),
    z.union([z.string(), z.number()], 'a text or a number'),
    'a map of item names and values',
  )
  .transform((items) =>
    Object.fromEntries(Object.entries(items).map(([name, value]) => [name, String(value)])),
  )
  .superRefine((items, context) => {
    const fault = (path: string[], message: string): void =>
      context.addIssue({ code: 'custom', path, message });
    const count = Object.keys(items).length;
    if (count === 0 || count > TAUGHT_ITEMS) fault([], `1 to ${TAUGHT_ITEMS} items, or null`);
    for (const [name, value] of Object.entries(items)) {
      if (!ITEM_NAME.test(name)) fault([name], 'an item name such as dcmp-url');
      if (value.length > TAUGHT_CHARACTERS || !fitsXml(value)) {
        fault([name], `at most ${TAUGHT_CHARACTERS} characters, without control characters`);
      }
    }
    const url = items['dcmp-url'];
    if (url === undefined) return;
    const protocol = URL.parse(url)?.protocol;
    if ((protocol !== 'http:' && protocol !== 'https:') || !url.endsWith('/')) {
      fault(['dcmp-url'], 'a URL such as http://proxy.example:8080/dcmp/ with a slash at its end');
    }
  });

const DEFAULT_OUTBOX = './outbox';

/** The port at which phones are contacted (Developer's Guide p. 14). */
const PHONE_PORT = 8_085;
/** The port of a phone's web server with TLS, which takes contacts as well. */
const PHONE_TLS_PORT = 443;

const addressRange = z.string('a range such as 127.64.0.0/16').superRefine((text, context) => {
  try {
    parseAddressRange(text);
  } catch (error) {
    context.addIssue({
      code: 'custom',
      message: `a range such as 127.64.0.0/16 (${describeError(error)})`,
    });
  }
});

/** The config file as written, field by field; `beside` resolves its paths. docs/configuration.md is held against it. */
export const relaySchema = (beside: (path: string) => string) => {
  const file = fields.file(beside);
  const wpi = z.strictObject({
    name: fields.name,
    kind: z.literal('wpi'),
    tls: z
      .strictObject(
        {
          cert: file,
          key: file,
          profile: fields.oneOf('modern', 'intermediate', 'legacy').default('intermediate'),
          client_ca: file.nullable().default(null),
        },
        'a map with cert and key',
      )
      .nullable()
      .default(null),
    upstream: fields.url('https:', 'http:'),
    upstream_tls: z
      .strictObject(
        { ca: file.optional(), pin: fields.pin.optional(), verify: fields.flag.optional() },
        'a map with ca, pin or verify: false',
      )
      .nullable()
      .default(null),
    source_addresses: addressRange.nullable().default(null),
    forwarded: fields.oneOf('none', 'x-forwarded-for', 'forwarded', 'proxy-v2').default('none'),
    rewrite_contact_me: fields.flag.default(true),
    teach: taughtItems.nullable().default(null),
  });
  const tcp = z.strictObject({ name: fields.name, kind: z.literal('tcp'), upstream: fields.address });
  return z.strictObject(
    {
      name: fields.name,
      site: fields.name.default('default'),
      key: file,
      former_key: file.nullable().default(null),
      proxies: z
        .array(
          z
            .strictObject({
              url: fields.url('wss:'),
              pin: z
                .union(
                  [fields.pin, z.array(fields.pin).min(1).max(PINS)],
                  `a pin, or a list of at most ${PINS} while the proxy's key is replaced`,
                )
                .optional(),
              ca: file.optional(),
              via: fields.url('http:').nullable().default(null),
            })
            .refine(
              (proxy) => (proxy.pin === undefined) !== (proxy.ca === undefined),
              'either pin or ca, one of them',
            ),
          'a list of proxies',
        )
        .min(1, 'at least one proxy'),
      outbox: z
        .strictObject({ path: fields.path, key: fields.path.nullable().default(null) }, 'a map with path')
        .prefault({ path: DEFAULT_OUTBOX }),
      services: z
        .array(z.discriminatedUnion('kind', [wpi, tcp], 'a service of kind wpi or tcp'), 'a list of services')
        .default([]),
      contact_me: z
        .strictObject(
          {
            listen: fields.address,
            advertise: fields.url('http:').nullable().default(null),
            device_port: fields.whole(0, 65_535).default(PHONE_PORT),
            device_web_port: fields.whole(0, 65_535).nullable().default(null),
            device_tls: z
              .strictObject(
                {
                  port: fields.whole(0, 65_535).default(PHONE_TLS_PORT),
                  cert: file,
                  key: file,
                  profile: fields.oneOf('modern', 'intermediate', 'legacy').default('intermediate'),
                },
                'a map with cert and key',
              )
              .nullable()
              .default(null),
          },
          'a map with listen and advertise',
        )
        .nullable()
        .default(null),
      poll_source: z
        .strictObject(
          { url: fields.url('http:', 'https:'), interval_s: fields.whole(1, 86_400).default(60) },
          'a map with url and interval_s',
        )
        .nullable()
        .default(null),
      api: z
        .strictObject(
          { listen: fields.address, token_file: file.nullable().default(null) },
          'a map with listen',
        )
        .prefault({ listen: '127.0.0.1:9470' }),
      webhooks: z
        .array(
          z.strictObject(
            {
              name: fields.name,
              url: fields.url('https:', 'http:'),
              secret_file: file,
              events: z
                .array(fields.oneOf(...WEBHOOK_EVENTS), 'a list of events')
                .min(1, 'at least one event')
                .default([...DEFAULT_WEBHOOK_EVENTS]),
              ca: file.nullable().default(null),
            },
            'a map with name, url and secret_file',
          ),
          'a list of webhooks',
        )
        .max(DEFAULT_WEBHOOK_LIMITS.webhooks, `at most ${DEFAULT_WEBHOOK_LIMITS.webhooks} webhooks`)
        .default([]),
      dead_after_sessions: fields.whole(0, 1_000_000).default(20),
      courier: z
        .strictObject(
          {
            secret_items: z
              .array(
                z.string(SECRET_PATTERN_WORDS).regex(SECRET_PATTERN, SECRET_PATTERN_WORDS),
                'a list of item names',
              )
              .default([...DEFAULT_COURIER.secretItems]),
            secret_results: fields.oneOf('withhold', 'mask', 'show').default(DEFAULT_COURIER.secretResults),
            allow_sources: fields.allow.default([...DEFAULT_COURIER.allowSources]),
            deliver_unauthenticated: fields.flag.default(DEFAULT_COURIER.deliverUnauthenticated),
            file_wait_s: fields.whole(1, 86_400).default(DEFAULT_COURIER.fileWait / 1000),
            software_wait_s: fields.whole(1, 604_800).default(DEFAULT_COURIER.softwareWait / 1000),
            software_gap_s: fields.whole(0, 604_800).default(DEFAULT_COURIER.softwareGap / 1000),
          },
          'a map of settings',
        )
        .prefault({}),
      warnings: z
        .strictObject(
          {
            inside_items: z
              .array(
                z.string('an item name such as dcmp-url').regex(ITEM_NAME, 'an item name such as dcmp-url'),
                'a list of item names',
              )
              .default([...DEFAULT_WARNINGS.insideItems]),
            inside_networks: fields.allow.default([...DEFAULT_WARNINGS.insideNetworks]),
            poll_urls: z
              .array(
                z
                  .string('a poll address such as http://proxy.example:8080/dcmp/')
                  .refine(
                    (text) => URL.canParse(text),
                    'a poll address such as http://proxy.example:8080/dcmp/',
                  ),
                'a list of poll addresses',
              )
              .default([]),
            contact_gap_s: fields.whole(0, 86_400).default(DEFAULT_WARNINGS.contactGap / 1000),
            not_coming_s: fields.whole(0, 86_400).default(DEFAULT_WARNINGS.notComing / 1000),
          },
          'a map of what to warn of',
        )
        .prefault({}),
      limits: z
        .strictObject(
          Object.fromEntries(
            Object.entries(DEFAULT_RELAY_LIMITS).map(([name, preset]) => [
              name,
              fields
                .whole(LEAST[name as keyof RelayLimits] ?? 1, MOST[name as keyof RelayLimits] ?? 100_000_000)
                .default(preset),
            ]),
          ) as Record<keyof RelayLimits, z.ZodDefault<z.ZodNumber>>,
          'a map of limits',
        )
        .prefault({}),
    },
    'a map of settings',
  );
};

/**
 * Reads and checks the relay's config file.
 *
 * @param looking - `into files` checks also what is in the certificates, keys and tokens that it names
 * @throws ConfigError naming every wrong field; SallyportError FILE_UNREADABLE
 */
export function loadRelayConfig(file: string, looking?: 'into files'): RelayConfig {
  const beside = besideFile(file);
  const written = readConfigFile(file, relaySchema(beside), (config, fault) => {
    findFaults(config, fault, beside);
    if (looking === 'into files') findFileFaults(config, createFileChecks(beside, fault));
  });
  return {
    name: written.name,
    site: written.site,
    key: written.key,
    formerKey: written.former_key,
    proxies: written.proxies.map(({ url, pin, ca, via }) => ({
      url,
      trust: pin === undefined ? { caFile: ca! } : { pins: [pin].flat() },
      via,
    })),
    outbox: {
      path: beside(written.outbox.path),
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

function findFileFaults(config: Written, check: FileChecks): void {
  check.linkKey(config, [], 'key');
  config.list('proxies').forEach((proxy, i) => check.authorities(proxy, ['proxies', i], 'ca'));
  config.list('services').forEach((service, i) => {
    check.pair(service.map('tls'), ['services', i, 'tls'], 'intermediate');
    check.authorities(service.map('upstream_tls'), ['services', i, 'upstream_tls'], 'ca');
  });
  check.token(config.map('api'), ['api'], 'token_file');
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

/** The source addresses of a service; null where there are none, or none that can be read. */
function rangeOf(service: Written): AddressRange | null {
  try {
    return parseAddressRange(service.text('source_addresses') ?? '');
  } catch {
    return null;
  }
}

const isInside = (file: string, directory: string): boolean => file.startsWith(`${directory}${sep}`);

/** Whether two ranges would give one address away twice. One and the same range does not. */
function collide(one: AddressRange, other: AddressRange): boolean {
  return one.text !== other.text && overlap(one, other);
}

/** What a schema of single fields cannot see. */
function findFaults(config: Written, fault: Fault, beside: (path: string) => string): void {
  const services = config.list('services');
  const names = services.map((service) => service.text('name'));
  services.forEach((service, i) => {
    if (names.indexOf(service.text('name')) !== i) fault(['services', i, 'name'], 'a name of its own');
    if (service.has('upstream_tls') && service.text('upstream')?.startsWith('http:') === true) {
      fault(['services', i, 'upstream_tls'], 'nothing, since the upstream is plain http');
    }
    const range = rangeOf(service);
    if (range !== null) {
      const path = ['services', i, 'source_addresses'];
      const other = services
        .slice(0, i)
        .map(rangeOf)
        .find((each) => each !== null && collide(each, range));
      if (other !== undefined && other !== null) {
        fault(path, `${other.text} as well, or a range that has no address of it`);
      }
      const host = URL.parse(service.text('upstream') ?? '')?.hostname ?? '';
      if (host.startsWith('[')) fault(path, 'nothing, since the upstream has an IPv6 address');
      else if (isLoopback(range) && isIPv4(host) && !host.startsWith('127.')) {
        fault(path, 'a range that leads to the upstream, which 127.0.0.0/8 does on this machine only');
      }
    }
    if (service.text('kind') === 'tcp' && service.has('teach')) {
      fault(
        ['services', i, 'teach'],
        'nothing: a service of kind tcp passes sessions unread, so phones can only be taught by one of kind wpi',
      );
    }
  });
  const outbox = config.map('outbox');
  const key = outbox.text('key');
  if (key !== undefined && isInside(beside(key), beside(outbox.text('path') ?? DEFAULT_OUTBOX))) {
    fault(
      ['outbox', 'key'],
      "a file outside the outbox's directory, so that a copy of the one is no copy of both",
    );
  }
  const hooks = config.list('webhooks').map((webhook) => webhook.text('name'));
  hooks.forEach((name, i) => {
    if (hooks.indexOf(name) !== i) fault(['webhooks', i, 'name'], 'a name of its own');
  });
  const urls = config.list('proxies').map((proxy) => proxy.text('url'));
  urls.forEach((url, i) => {
    if (urls.indexOf(url) !== i) fault(['proxies', i, 'url'], 'a URL of its own');
  });
  const caught = config.map('contact_me');
  if (!caught.has('advertise') && /^(0\.0\.0\.0|\[::\]):/.test(caught.text('listen') ?? '')) {
    fault(['contact_me', 'advertise'], 'the URL that services reach it by, since it listens everywhere');
  }
  for (const field of ['device_web_port', 'device_tls']) {
    if (caught.has(field) && services.every((service) => !service.has('source_addresses'))) {
      fault(['contact_me', field], 'nothing, since no service gives devices source_addresses');
    }
  }
  const api = config.map('api');
  const listen = api.text('listen');
  if (listen !== undefined && !api.has('token_file') && !/^(127\.|\[::1\]|localhost:)/.test(listen)) {
    fault(['api', 'token_file'], 'a file, since the API listens beyond loopback');
  }
}

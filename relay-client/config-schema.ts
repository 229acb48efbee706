import { z } from 'zod';
import { fields } from '../shared/config-file.ts';
import { DEFAULT_API_LISTEN } from './default-api.ts';
import { describeError } from '../shared/errors.ts';
import { fitsXml } from '../shared/wpi/escape.ts';
import { parseAddressRange } from './addresses/range.ts';
import { DEFAULT_RELAY_LIMITS, LEAST, MOST } from './config-limits.ts';
import type { RelayLimits } from './config-limits.ts';
import { DEFAULT_COURIER } from './courier/config.ts';
import { proxiesSchema } from './links/config.ts';
import { DEFAULT_WARNINGS } from './warnings/config.ts';
import { DEFAULT_WEBHOOK_EVENTS, DEFAULT_WEBHOOK_LIMITS, WEBHOOK_EVENTS } from './webhooks/config.ts';

const HOST_NAME = /^[0-9A-Za-z._:-]{1,253}$/;

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

/** Where the outbox is, unless the config says otherwise. */
export const DEFAULT_OUTBOX = './outbox';

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

/** How servers of PostgreSQL can be trusted, as its own client has them. */
const SSL_MODES = ['disable', 'prefer', 'require', 'verify-ca', 'verify-full', 'no-verify'];
const DATABASE_WORDS = 'a URL such as postgres://user:password@host:5432/database?sslmode=verify-full';

const database = z.string(DATABASE_WORDS).transform((text, context): URL => {
  const url = URL.parse(text);
  const mode = url?.searchParams.get('sslmode') ?? null;
  if (url === null || !['postgres:', 'postgresql:'].includes(url.protocol) || url.pathname.length < 2)
    context.addIssue({ code: 'custom', message: DATABASE_WORDS });
  else if (mode !== null && !SSL_MODES.includes(mode))
    context.addIssue({ code: 'custom', message: `an sslmode that is one of ${SSL_MODES.join(', ')}` });
  else return url;
  return z.NEVER;
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
    upstream: fields.url(['https:', 'http:']),
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
  const tcp = z.strictObject({ name: fields.name, kind: z.literal('tcp'), upstream: fields.target });
  return z.strictObject(
    {
      name: fields.name,
      site: fields.name.default('default'),
      key: file,
      former_key: file.nullable().default(null),
      proxies: proxiesSchema(file),
      outbox: z
        .strictObject(
          {
            path: fields.path.default(DEFAULT_OUTBOX),
            postgres: database.nullable().default(null),
            key: fields.path.nullable().default(null),
          },
          'a map with path or postgres',
        )
        .prefault({}),
      services: z
        .array(z.discriminatedUnion('kind', [wpi, tcp], 'a service of kind wpi or tcp'), 'a list of services')
        .default([]),
      contact_me: z
        .strictObject(
          {
            listen: fields.address,
            advertise: fields.url(['http:'], 'path').nullable().default(null),
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
          {
            url: fields
              .url(['http:', 'https:'], 'path')
              .refine((url) => url.pathname.endsWith('/'), 'a URL with a slash at its end'),
            interval_s: fields.whole(1, 86_400).default(60),
          },
          'a map with url and interval_s',
        )
        .nullable()
        .default(null),
      api: z
        .strictObject(
          {
            listen: fields.address.prefault(DEFAULT_API_LISTEN),
            token_file: file.nullable().default(null),
            hosts: z
              .array(
                z.string('a host name').regex(HOST_NAME, 'a host name such as relay.example, without port'),
                'a list of host names',
              )
              .default([]),
          },
          'a map with listen',
        )
        .prefault({}),
      webhooks: z
        .array(
          z.strictObject(
            {
              name: fields.name,
              url: fields.url(['https:', 'http:'], 'path', 'query'),
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

import { z } from 'zod';
import { fields } from '../shared/config-file.ts';
import { DEFAULT_LIMITS, LEAST, MOST } from './config-limits.ts';
import type { ProxyLimits } from './config-limits.ts';

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

const limitsSchema = z
  .strictObject(
    Object.fromEntries(
      Object.entries(DEFAULT_LIMITS).map(([name, preset]) => [
        name,
        fields
          .whole(LEAST[name as keyof ProxyLimits] ?? 1, MOST[name as keyof ProxyLimits] ?? 100_000_000)
          .default(preset),
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

/** The config as it is written, each field read. */
export type WrittenConfig = z.infer<ReturnType<typeof proxySchema>>;

import { isIP } from 'node:net';
import { z } from 'zod';
import type { Milliseconds } from '../../shared/clock.ts';
import { fields } from '../../shared/config-file.ts';
import type { Pin } from '../../shared/key-pair.ts';
import type { Family } from './lookup.ts';

/** Pins that may be good for one proxy at once, while its key is replaced, or for all proxies of one name. */
const PINS = 16;
const NAME_SERVERS = 4;

/** A name whose addresses are proxies, one link to each. */
export interface ProxyNameConfig {
  family: Family;
  /** Between two lookups. */
  interval: Milliseconds;
  /** How long the link to an address is kept that is gone from the name; 0 = not at all. */
  grace: Milliseconds;
  /** Name servers; null = the machine's. */
  servers: readonly string[] | null;
}

/** One proxy to dial, or as many as its name has addresses. */
export interface ProxyConfig {
  url: URL;
  /** Pins of its key, one of which has to fit, or a CA file to judge its certificate by. */
  trust: { pins: Pin[] } | { caFile: string };
  via: URL | null;
  /** Left out = the URL stands for one proxy. */
  name?: ProxyNameConfig;
}

const nameServer = z
  .string('the address of a name server')
  .refine((text) => isIP(text) !== 0 || /^(\d+(\.\d+){3}|\[[0-9a-fA-F:]+\]):\d{1,5}$/.test(text), {
    message: 'the address of a name server, such as 10.0.0.53 or "10.0.0.53:5353"',
  });

/** The list of proxies as written. That each has either `pin` or `ca` is looked at beside it, whatever else is wrong. */
export const proxiesSchema = (file: ReturnType<typeof fields.file>) =>
  z
    .array(
      z.strictObject({
        url: fields.url(['wss:']),
        pin: z
          .union([fields.pin, z.array(fields.pin).min(1).max(PINS)], `a pin, or a list of at most ${PINS}`)
          .optional(),
        ca: file.optional(),
        via: fields.url(['http:'], 'user').nullable().default(null),
        resolve: fields.oneOf('none', 'all', 'ipv4', 'ipv6').default('none'),
        resolve_interval_s: fields.whole(1, 86_400).default(30),
        resolve_grace_s: fields.whole(0, 86_400).default(300),
        resolve_by: z.array(nameServer, 'a list of name servers').min(1).max(NAME_SERVERS).optional(),
      }),
      'a list of proxies',
    )
    .min(1, 'at least one proxy');

/** A proxy of the list as the relay takes it. */
export function readProxy({
  url,
  pin,
  ca,
  via,
  ...written
}: z.infer<ReturnType<typeof proxiesSchema>>[number]): ProxyConfig {
  const proxy: ProxyConfig = {
    url,
    trust: pin === undefined ? { caFile: ca! } : { pins: [pin].flat() },
    via,
  };
  if (written.resolve === 'none') return proxy;
  return {
    ...proxy,
    name: {
      family: written.resolve,
      interval: written.resolve_interval_s * 1000,
      grace: written.resolve_grace_s * 1000,
      servers: written.resolve_by ?? null,
    },
  };
}

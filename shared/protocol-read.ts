import { isIP } from 'node:net';
import { NAME_PATTERN } from './mux-opening.ts';
import { SITE_SECRETS } from './poll-secret.ts';
import { ENTRIES_PER_FRAME, PROXY_FRAME_TYPES, RELAY_FRAME_TYPES } from './protocol.ts';
import type { HeldChange, HeldEntry, ProxyFrame, RelayFrame } from './protocol.ts';

/** What became of a control frame: read, to be skipped (a type of a newer peer), or wrong and why. */
export type Read<F> = { frame: F } | { skipped: string } | { wrong: string };

type Fields = Record<string, unknown>;
type Check = (value: unknown) => boolean;

/** Ids, incarnations and versions are at most this long. */
const ID_CHARACTERS = 128;
/** Labels of one metric sample. */
const METRIC_LABELS = 8;
/** One hundred years: no time to live and no telemetry is longer. */
const LONGEST_MS = 100 * 365 * 86_400_000;

/** Printable ASCII: such texts get into logs and onto terminals. */
const text: Check = (value) =>
  typeof value === 'string' && value.length <= ID_CHARACTERS && /^[\x20-\x7e]+$/.test(value);
const address: Check = (value) => typeof value === 'string' && isIP(value) !== 0;
const name: Check = (value) => typeof value === 'string' && NAME_PATTERN.test(value);
const device: Check = (value) => typeof value === 'string' && /^[0-9a-z:.\-_+]{1,64}$/.test(value);
const count: Check = (value) => Number.isSafeInteger(value) && (value as number) >= 0;
const time: Check = (value) => typeof value === 'number' && value >= 0 && value <= LONGEST_MS;
const signedTime: Check = (value) => typeof value === 'number' && Math.abs(value) <= LONGEST_MS;
const siteSecret: Check = (value) => typeof value === 'string' && /^[A-Za-z0-9+/]{43}=$/.test(value);
const flag: Check = (value) => typeof value === 'boolean';
const oneOf =
  (...values: unknown[]): Check =>
  (value) =>
    values.includes(value);
const orNull =
  (check: Check): Check =>
  (value) =>
    value === null || check(value);
/** A field that peers of an older build do not say. */
const orMissing =
  (check: Check): Check =>
  (value) =>
    value === undefined || check(value);
const list =
  (check: Check): Check =>
  (value) =>
    Array.isArray(value) && value.length <= ENTRIES_PER_FRAME && value.every(check);
const shape = (checks: Record<string, Check>): Check => {
  const entries = Object.entries(checks);
  return (value) => isFields(value) && entries.every(([field, check]) => check(value[field]));
};

const heldEntry = {
  id: text,
  device,
  kind: oneOf('contact-me', 'dls'),
  generation: count,
  dueIn: signedTime,
  expiresIn: time,
} satisfies Record<keyof HeldEntry, Check>;
const holdShape = shape(heldEntry);
const endShape = shape({ id: text, device, generation: count });
const change: Check = (value) => {
  const op: unknown = (value as HeldChange | null)?.op;
  return op === 'hold' ? holdShape(value) : op === 'end' && endShape(value);
};
const labels: Check = (value) =>
  isFields(value) &&
  Object.keys(value).length <= METRIC_LABELS &&
  Object.entries(value).every(([label, word]) => /^[a-z][a-z_]{0,31}$/.test(label) && text(word));
const sample = shape({
  name: (value) => typeof value === 'string' && /^sallyport_[a-z_]{1,80}$/.test(value),
  kind: oneOf('counter', 'gauge'),
  labels,
  value: (value) => typeof value === 'number' && Number.isFinite(value),
});
const position = shape({ incarnation: text, seq: count });

const RELAY_CHECKS: Record<RelayFrame['type'], Record<string, Check>> = {
  hello: {
    relay: name,
    site: name,
    incarnation: text,
    seq: count,
    software: text,
    services: list(name),
    blind: flag,
    credit: orMissing(count),
    pollSecrets: orMissing(
      (value) => Array.isArray(value) && value.length <= SITE_SECRETS && value.every(siteSecret),
    ),
  },
  snapshot: { incarnation: text, seq: count, first: flag, last: flag, entries: list(holdShape) },
  changes: { seq: count, changes: list(change) },
  known: { devices: list(device), total: orMissing(count) },
  quiet: { device, generation: count, ms: time },
  loud: { device },
  gap: { device },
  health: {
    ready: flag,
    sessions: count,
    services: list(shape({ name, up: flag })),
    courier: orMissing(flag),
  },
  ping: { n: count },
  pong: { n: count },
  drain: { streams: orMissing(flag) },
};

const PROXY_CHECKS: Record<ProxyFrame['type'], Record<string, Check>> = {
  welcome: {
    link: text,
    software: text,
    site: name,
    doors: list(shape({ name, service: name, tls: oneOf('relay', 'proxy') })),
    holds: orNull(position),
    credit: orMissing(count),
    direct: orMissing(flag),
    pollSecret: orMissing(flag),
    sessionGapMs: orMissing(time),
  },
  applied: { incarnation: text, seq: count },
  polls: {
    polls: list(shape({ device, agoMs: time, status: oneOf(200, 202) })),
    unknown: list(shape({ device, agoMs: time, address: orNull(address) })),
  },
  metrics: { samples: list(sample) },
  ping: { n: count },
  pong: { n: count },
  drain: { successor: orMissing(flag) },
};

const fieldsOf = <T extends string>(checks: Record<T, Record<string, Check>>): Record<T, string[]> =>
  Object.fromEntries(
    Object.entries<Record<string, Check>>(checks).map(([type, each]) => [type, Object.keys(each)]),
  ) as Record<T, string[]>;

/** The fields of each control frame, in the order of PROTOCOL.md. */
export const RELAY_FRAME_FIELDS = fieldsOf(RELAY_CHECKS);
export const PROXY_FRAME_FIELDS = fieldsOf(PROXY_CHECKS);

/** Reads a control frame of a relay. Fields that are not of the protocol are ignored. */
export function readRelayFrame(frame: string): Read<RelayFrame> {
  return read(frame, RELAY_FRAME_TYPES, RELAY_CHECKS);
}

/** Reads a control frame of a proxy. Fields that are not of the protocol are ignored. */
export function readProxyFrame(frame: string): Read<ProxyFrame> {
  return read(frame, PROXY_FRAME_TYPES, PROXY_CHECKS);
}

function read<F extends { type: string }>(
  frame: string,
  types: readonly F['type'][],
  checks: Record<F['type'], Record<string, Check>>,
): Read<F> {
  let value: unknown;
  try {
    value = JSON.parse(frame);
  } catch {
    return { wrong: 'a control frame is not JSON' };
  }
  if (!isFields(value) || typeof value['type'] !== 'string') return { wrong: 'a control frame has no type' };
  const type = value['type'];
  if (!types.includes(type)) return { skipped: type.slice(0, ID_CHARACTERS) };
  for (const [field, check] of Object.entries(checks[type as F['type']])) {
    if (!check(value[field])) return { wrong: `field ${field} of a ${type} frame is missing or wrong` };
  }
  return { frame: value as unknown as F };
}

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

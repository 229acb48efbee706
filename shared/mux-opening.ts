import { isIP } from 'node:net';
import type { StreamOpening } from './mux-frames.ts';

/** Names of sites, relays, doors and services. */
export const NAME_PATTERN = /^[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}$/;

/** Reads an `open` frame's payload; null when anything in it is off. */
export function readOpening(payload: Buffer): StreamOpening | null {
  let value: unknown;
  try {
    value = JSON.parse(payload.toString('utf8'));
  } catch {
    return null;
  }
  if (typeof value !== 'object' || value === null) return null;
  const { service, door, address, port, tls } = value as Record<string, unknown>;
  if (typeof service !== 'string' || !NAME_PATTERN.test(service)) return null;
  if (typeof door !== 'string' || !NAME_PATTERN.test(door)) return null;
  if (typeof address !== 'string' || isIP(address) === 0) return null;
  if (typeof port !== 'number' || !Number.isInteger(port) || port < 0 || port > 65_535) return null;
  if (tls !== 'relay' && tls !== 'proxy') return null;
  return { service, door, address, port, tls };
}

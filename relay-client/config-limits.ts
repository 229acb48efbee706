import { DRAIN_MOST_S } from '../shared/program.ts';
import { DEFAULT_PROXY_LIMITS } from './links/proxy-guard.ts';

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
  /** Addresses of one name that are dialled as proxies. */
  proxy_addresses: 16,
  /** Stream lanes to each proxy. */
  stream_lanes: 1,
  /** Seconds that running sessions get to end at SIGTERM; at most {@link DRAIN_MOST_S}. */
  drain_s: DRAIN_MOST_S,
};
export type RelayLimits = typeof DEFAULT_RELAY_LIMITS;

/** The greatest value of a limit, where it is not the usual one. */
export const MOST: Partial<Record<keyof RelayLimits, number>> = {
  drain_s: DRAIN_MOST_S,
  stream_lanes: 8,
  proxy_addresses: 256,
  proxy_bytes_per_s: 10_000_000_000,
};
/** Where there may be none. */
export const LEAST: Partial<Record<keyof RelayLimits, number>> = { proxy_bytes_per_s: 0 };

import type { Clock, Milliseconds } from '../../shared/clock.ts';
import type { DeviceId } from '../../shared/device-id.ts';
import { CONTROL_FRAME_BYTES } from '../../shared/protocol.ts';
import type { PollsFrame } from '../../shared/protocol.ts';
import type { Warn } from '../warnings/kinds.ts';

/** How much of itself a proxy may bring, whatever it says. 0 = no limit where that is allowed. */
export interface ProxyLimits {
  /** New phone connections within a minute; further ones are refused. */
  streamsPerMinute: number;
  /** Devices in reports of polls that this relay has never heard of, within a minute; further ones are left out. */
  newDevicesPerMinute: number;
  /** Bytes of phones' connections, in a second; more are not read for a while. 0 = no limit. */
  bytesPerSecond: number;
}

export const DEFAULT_PROXY_LIMITS: ProxyLimits = {
  streamsPerMinute: 60_000,
  newDevicesPerMinute: 1_000,
  bytesPerSecond: 0,
};

/** Within this a control lane may bring {@link CONTROL_FRAMES} and {@link CONTROL_BYTES}; see PROTOCOL.md. */
const CONTROL_WINDOW_MS: Milliseconds = 10_000;
/** Each change is answered by an `applied`, and thousands may be committed in a second; all else is a few frames. */
export const CONTROL_FRAMES = 100_000;
/** Reports of polls are 2 MiB a second at most. */
export const CONTROL_BYTES = 64 * CONTROL_FRAME_BYTES;
/** The longest that a lane is left unread: its beats have to be heard. */
const LONGEST_HOLD_MS: Milliseconds = 2_000;
const MINUTE_MS: Milliseconds = 60_000;

/**
 * Holds one proxy to its limits, over all its links. What phones can make an honest proxy do (many connections, many
 * bytes, made-up ids) is refused or slowed down; what only the proxy itself can do cuts the link.
 */
export interface ProxyGuard {
  /** A phone's connection is to be opened. @returns whether it may be */
  stream(): boolean;
  /** A control frame came. @returns what is wrong with that, or null */
  control(bytes: number): string | null;
  /** Bytes came on a stream lane. @returns how long no more are to be read; 0 = go on */
  moved(bytes: number): Milliseconds;
  /** The report without the new devices that are too many. */
  polls(frame: PollsFrame): PollsFrame;
  /** The proxy broke the rules, and its link is cut. */
  hostile(why: string): void;
  /** Another link with this relay's key took over at the proxy. */
  fenced(): void;
}

export function createProxyGuard(options: {
  proxy: string;
  limits: ProxyLimits;
  clock: Clock;
  /** Whether the relay has heard of the device otherwise, or has taken it on before. */
  known: (device: DeviceId) => boolean;
  warn: Warn;
}): ProxyGuard {
  const { proxy, limits, clock, known } = options;
  const warn = (what: Parameters<Warn>[0], facts: Record<string, string | number>): void =>
    options.warn(what, { device: null, proxy, ...facts });
  const streams = createWindow(clock, MINUTE_MS);
  const devices = createWindow(clock, MINUTE_MS);
  const frames = createWindow(clock, CONTROL_WINDOW_MS);
  const bytes = createWindow(clock, CONTROL_WINDOW_MS);
  let allowance = limits.bytesPerSecond;
  let filledAt = clock.monotonic();

  return {
    stream() {
      if (streams.add(1) <= limits.streamsPerMinute) return true;
      warn('proxy-limit', { limit: 'proxy_streams_per_minute', most: limits.streamsPerMinute });
      return false;
    },
    control(length) {
      if (frames.add(1) > CONTROL_FRAMES) return `more than ${CONTROL_FRAMES} control frames in 10 s`;
      return bytes.add(length) > CONTROL_BYTES
        ? `more than ${CONTROL_BYTES} bytes of control frames in 10 s`
        : null;
    },
    moved(count) {
      if (limits.bytesPerSecond === 0) return 0;
      const now = clock.monotonic();
      const gained = ((now - filledAt) / 1_000) * limits.bytesPerSecond;
      filledAt = now;
      allowance = Math.min(limits.bytesPerSecond, allowance + gained) - count;
      return allowance >= 0 ? 0 : Math.min((-allowance / limits.bytesPerSecond) * 1_000, LONGEST_HOLD_MS);
    },
    polls(frame) {
      const taken = frame.polls.filter(
        ({ device }) => known(device as DeviceId) || devices.add(1) <= limits.newDevicesPerMinute,
      );
      if (taken.length === frame.polls.length) return frame;
      warn('proxy-limit', { limit: 'new_devices_per_minute', most: limits.newDevicesPerMinute });
      return { ...frame, polls: taken };
    },
    hostile: (why) => warn('hostile-proxy', { why }),
    fenced: () => warn('link-taken', {}),
  };
}

/** Counts within stretches of time, one after the other. */
function createWindow(clock: Clock, length: Milliseconds): { add(count: number): number } {
  let began = clock.monotonic();
  let sum = 0;
  return {
    add(count) {
      const now = clock.monotonic();
      if (now - began >= length) {
        began = now;
        sum = 0;
      }
      return (sum += count);
    },
  };
}

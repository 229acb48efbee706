import { createHash } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import type { Clock } from '../../shared/clock.ts';
import type { DeviceId } from '../../shared/device-id.ts';
import type { WatcherLimits } from './limits.ts';

/** A cookie longer than this is remembered by its hash. */
const PLAIN_COOKIE_LENGTH = 64;
const TOKEN_BYTES = 16;
const TOKEN_CHARACTERS = 2 * TOKEN_BYTES;
const MINUTE_MS = 60_000;

interface Remembered {
  /** Oldest first. */
  cookies: string[];
  /** What the value of our own cookie begins with, once it was needed. */
  token: string | null;
}

/** Whose cookie is whose. */
export interface Identities {
  /** Takes note of a device; false where there were too many new ones within a minute. */
  admit(device: DeviceId): boolean;
  /** Upstream has set this cookie for the device, or has answered the device when it came with it. */
  learn(device: DeviceId, cookie: string): void;
  /** Upstream has set this cookie for somebody unknown: from now on it identifies nobody. */
  disown(cookie: string): void;
  /** The device that all those cookies that are known belong to; null where none is, or where they disagree. */
  ownerOf(cookies: readonly string[]): DeviceId | null;
  /** What the value of our own cookie begins with for the device. */
  tokenOf(device: DeviceId): string;
  /**
   * The device that all those values of our own cookie belong to, whatever stands behind its token in them; null where none
   * is known, or where they disagree.
   */
  bearerOf(values: readonly string[]): DeviceId | null;
}

/** @param known - whether a device is known from elsewhere, and so doesn't count as new */
export function createIdentities(options: {
  limits: WatcherLimits;
  clock: Clock;
  random: (size: number) => Uint8Array;
  known: (device: DeviceId) => boolean;
}): Identities {
  const { limits, clock, random, known } = options;
  const owners = new Map<string, DeviceId>();
  const bearers = new Map<string, DeviceId>();
  const shared = new LRUCache<string, true>({ max: limits.sharedCookies });
  const devices = new LRUCache<DeviceId, Remembered>({
    max: limits.devices,
    noDisposeOnSet: true,
    dispose(remembered) {
      for (const cookie of remembered.cookies) owners.delete(cookie);
      if (remembered.token !== null) bearers.delete(remembered.token);
    },
  });
  let minute = { began: clock.monotonic(), admitted: 0 };

  const remember = (device: DeviceId): Remembered => {
    let remembered = devices.get(device);
    if (remembered === undefined) devices.set(device, (remembered = { cookies: [], token: null }));
    return remembered;
  };

  /** What a balancer sets, say, tells no two devices apart. */
  const share = (name: string): void => {
    shared.set(name, true);
    const owner = owners.get(name);
    owners.delete(name);
    const remembered = owner === undefined ? undefined : devices.peek(owner);
    if (remembered !== undefined) remembered.cookies = remembered.cookies.filter((each) => each !== name);
  };

  return {
    admit(device) {
      if (!devices.has(device) && !known(device)) {
        const now = clock.monotonic();
        if (now - minute.began >= MINUTE_MS) minute = { began: now, admitted: 0 };
        if (minute.admitted >= limits.newDevicesPerMinute) return false;
        minute.admitted += 1;
      }
      remember(device);
      return true;
    },
    learn(device, cookie) {
      const name = nameOf(cookie);
      if (shared.get(name) === true) return;
      const owner = owners.get(name);
      const remembered = remember(device);
      if (owner === device) return;
      if (owner !== undefined) return share(name);
      owners.set(name, device);
      remembered.cookies.push(name);
      while (remembered.cookies.length > limits.cookiesPerDevice)
        owners.delete(remembered.cookies.shift() ?? '');
    },
    disown: (cookie) => share(nameOf(cookie)),
    ownerOf: (cookies) => oneOf(cookies.map((cookie) => owners.get(nameOf(cookie)))),
    tokenOf(device) {
      const remembered = remember(device);
      if (remembered.token === null) {
        remembered.token = Buffer.from(random(TOKEN_BYTES)).toString('hex');
        bearers.set(remembered.token, device);
      }
      return remembered.token;
    },
    bearerOf: (values) => oneOf(values.map((value) => bearers.get(value.slice(0, TOKEN_CHARACTERS)))),
  };
}

/** What a cookie is remembered by. */
export function nameOf(cookie: string): string {
  if (cookie.length <= PLAIN_COOKIE_LENGTH) return cookie;
  return createHash('sha256').update(cookie).digest('base64');
}

function oneOf(owners: readonly (DeviceId | undefined)[]): DeviceId | null {
  const found = new Set(owners.filter((owner) => owner !== undefined));
  const [owner] = found;
  return owner !== undefined && found.size === 1 ? owner : null;
}

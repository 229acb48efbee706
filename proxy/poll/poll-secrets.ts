import { createSecretKey, timingSafeEqual } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { POLL_SECRET_DIGITS, pollSecretOf } from '../../shared/poll-secret.ts';

/** The secrets of sites whose poll paths hold one. They are in memory only: relays bring them with each link. */
export interface PollSecrets {
  /** From now on the devices of a site poll by these secrets of it, each 32 bytes in base64. */
  set(site: number, secrets: readonly string[]): void;
  /**
   * 1 where `bytes[start, end)` is the secret of a device, else 0. It takes as long for a device that nobody knows, and for any
   * text; before a relay has told the site's secret, nothing is.
   *
   * @param device - bytes of the canonical id
   */
  opens(site: number, device: Uint8Array, bytes: Uint8Array, start: number, end: number): number;
}

export function createPollSecrets(): PollSecrets {
  const keys: (KeyObject[] | undefined)[] = [];
  const shown = Buffer.alloc(POLL_SECRET_DIGITS);
  const right = Buffer.alloc(POLL_SECRET_DIGITS);
  return {
    set(site, secrets) {
      keys[site] = secrets.map((secret) => createSecretKey(secret, 'base64'));
    },
    opens(site, device, bytes, start, end) {
      shown.fill(0);
      shown.set(bytes.subarray(start, Math.min(end, start + POLL_SECRET_DIGITS)));
      let opened = 0;
      for (const key of keys[site] ?? []) {
        right.write(pollSecretOf(key, device), 'latin1');
        // Of every secret, whatever the one before has said.
        opened |= Number(timingSafeEqual(shown, right));
      }
      return opened & Number(end - start === POLL_SECRET_DIGITS);
    },
  };
}

import { createHmac } from 'node:crypto';
import type { KeyObject } from 'node:crypto';

/** Bytes of the secret of a site, from which those of its devices are made. */
export const SITE_SECRET_BYTES = 32;
/** Most secrets of one site at a time: the present one, and the one before while phones still poll by it. */
export const SITE_SECRETS = 2;
/** Characters of a device's secret in its poll path: 128 bits, lower-case hex, since old phones may not keep case. */
export const POLL_SECRET_DIGITS = 32;

/**
 * The secret that stands in a device's poll path.
 *
 * @param device - the canonical id, as text or as its bytes
 */
export function pollSecretOf(siteSecret: KeyObject | Uint8Array, device: string | Uint8Array): string {
  return createHmac('sha256', siteSecret).update(device).digest('hex').slice(0, POLL_SECRET_DIGITS);
}

/** What follows a poll door's prefix where devices poll by a secret. */
export function pollPath(secret: string, device: string): string {
  return `${secret}/contact-me?device-id=${device}`;
}

import { createHmac, timingSafeEqual } from 'node:crypto';
import { parseDeviceId } from '../../shared/device-id.ts';
import type { DeviceId } from '../../shared/device-id.ts';

/** The path of a phone (Developer's Guide p. 14); services may look for it. */
export const PHONE_PATH = '/contact_dls.html/ContactDLS';
const CAUGHT_PATH = /\/([0-9a-f]{12}|x(?:[0-9a-f]{2}){1,64})-([0-9a-f]{20})\/contact_dls\.html\/ContactDLS$/;

/** Characters of an address's proof: 80 bits. */
const PROOF_DIGITS = 20;

/**
 * What stands for a device in a path: lower-case hex only, since nobody knows what services do to letter case, and
 * a proof that we made it.
 */
export function tokenOf(device: DeviceId, secret: Buffer): string {
  const digits = device.replaceAll(':', '');
  const isMac = /^[0-9a-f]{12}$/.test(digits) && device.length === 17;
  return `${isMac ? digits : `x${Buffer.from(device).toString('hex')}`}-${proofOf(device, secret)}`;
}

function proofOf(device: DeviceId, secret: Buffer): string {
  return createHmac('sha256', secret).update(`contact-me\0${device}`).digest('hex').slice(0, PROOF_DIGITS);
}

/** The device that a path was advertised for; null for any other path. */
export function deviceOf(path: string, secret: Buffer): DeviceId | null {
  const [, name, proof] = CAUGHT_PATH.exec(path) ?? [];
  if (name === undefined || proof === undefined) return null;
  const device = parseDeviceId(
    name.startsWith('x') ? Buffer.from(name.slice(1), 'hex').toString('latin1') : name,
  );
  if (device === null) return null;
  return timingSafeEqual(Buffer.from(proof), Buffer.from(proofOf(device, secret))) ? device : null;
}

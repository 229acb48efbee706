import type { AllowList } from '../../shared/address.ts';
import { parseDeviceId } from '../../shared/device-id.ts';
import type { DeviceId } from '../../shared/device-id.ts';
import type { PhoneOrigin } from '../services/service.ts';

/**
 * Whether it is certain enough who is speaking for secrets to be told: the relay itself has verified a client certificate
 * that names the device, or the phone's address is in a network that the operator trusts. The address is what the proxy
 * says, so a captured proxy can say any.
 *
 * @param names - the names in the certificate, verified; empty without one
 */
export function isProven(
  device: DeviceId,
  names: readonly string[],
  origin: Pick<PhoneOrigin, 'address'>,
  allowed: AllowList,
): boolean {
  return names.some((name) => parseDeviceId(name) === device) || allowed.allows(origin.address);
}

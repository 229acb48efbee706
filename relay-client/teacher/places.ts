import type { DeviceId } from '../../shared/device-id.ts';

/** Fills what a value may say of a phone: `{device-id}`, its id, and `{poll_secret}`, the secret in its poll path. */
export function fillPlaces(
  value: string,
  device: DeviceId,
  pollSecretOf: (device: DeviceId) => string,
): string {
  const named = value.replaceAll('{device-id}', device);
  return named.includes('{poll_secret}') ? named.replaceAll('{poll_secret}', pollSecretOf(device)) : named;
}

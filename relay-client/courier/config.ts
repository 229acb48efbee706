import type { Milliseconds } from '../../shared/clock.ts';
import { SECRET_ITEMS } from './secrets.ts';

/** What becomes of secret values that a phone has told. */
export type SecretResults = 'withhold' | 'mask' | 'show';

/** How held actions are delivered. */
export interface CourierConfig {
  /** Patterns of names of items whose values are secrets. */
  secretItems: readonly string[];
  /** Networks whose phones may be told secrets without a certificate. */
  allowSources: readonly string[];
  /** True = any phone may be told secrets. */
  deliverUnauthenticated: boolean;
  secretResults: SecretResults;
  /** How long the `status` session after a FileDeployment is waited for. */
  fileWait: Milliseconds;
  /** How long the start-up with the new version after a SoftwareDeployment is waited for. */
  softwareWait: Milliseconds;
  /** The least time between two SoftwareDeployments to one device; 0 = none. */
  softwareGap: Milliseconds;
}

export const DEFAULT_COURIER: CourierConfig = {
  secretItems: SECRET_ITEMS,
  allowSources: [],
  deliverUnauthenticated: false,
  secretResults: 'withhold',
  fileWait: 600_000,
  softwareWait: 3_600_000,
  // What Gemeinschaft waits, so that a phone whose update fails does not fetch it over and over.
  softwareGap: 900_000,
};

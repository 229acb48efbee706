import { readFileSync } from 'node:fs';
import { pairFault } from '../certificates.ts';
import type { Milliseconds } from '../clock.ts';
import { describeError } from '../errors.ts';
import type { TlsProfile } from '../tls-profile.ts';
import { lookAtChainText } from './chain.ts';
import { fail, ok } from './finding.ts';
import type { Look } from './finding.ts';

/** Certificate and key of one door or service, files. */
export interface ShownPair {
  /** What shows it, in the words of the config. */
  name: string;
  cert: string;
  key: string;
  profile: TlsProfile;
}

/** Looks at whether certificate and key belong together, and fit the profile. */
export function lookAtPair({ name, cert, key, profile }: ShownPair): Look {
  const about = `certificate and key of ${name}`;
  try {
    const fault = pairFault(readFileSync(cert, 'utf8'), readFileSync(key, 'utf8'), profile);
    if (fault === null) return ok(about, `are a pair, for profile ${profile}`);
    const file = fault.field === 'cert' ? cert : key;
    return fail(about, `${file} does not fit`, `it should be ${fault.expected}`);
  } catch (error) {
    return fail(
      about,
      `cannot be read: ${describeError(error)}`,
      'put both files there, readable for the program’s user',
    );
  }
}

/** Looks at the chain in its file, as a phone sees it. */
export function lookAtShownChain({ name, cert, profile }: ShownPair, now: Milliseconds): Look[] {
  let pem: string;
  try {
    pem = readFileSync(cert, 'utf8');
  } catch {
    // That the pair cannot be read has been said where the pair was looked at.
    return [];
  }
  return lookAtChainText(name, pem, profile, now);
}

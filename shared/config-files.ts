import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { pairFault } from './certificates.ts';
import type { Written } from './config-text.ts';
import { describeError } from './errors.ts';
import { readPrivateKey } from './key-pair.ts';
import { TLS_PROFILES } from './tls-profile.ts';
import type { TlsProfile } from './tls-profile.ts';

export type Fault = (path: (string | number)[], expected: string) => void;

/** Looks into the files that a config names. Those that cannot be read are left to the schema, which says so. */
export interface FileChecks {
  /** `cert` and `key` of a map, for its `profile`; and `client_ca`, where it has one. */
  pair(map: Written, at: (string | number)[], preset: TlsProfile): void;
  /** A private key of a link: ECDSA P-256. */
  linkKey(map: Written, at: (string | number)[], field: string): void;
  authorities(map: Written, at: (string | number)[], field: string): void;
  /** A file that holds a token: not empty. */
  token(map: Written, at: (string | number)[], field: string): void;
}

export function createFileChecks(beside: (path: string) => string, fault: Fault): FileChecks {
  const textOf = (map: Written, field: string): string | null => {
    const path = map.text(field);
    if (path === undefined) return null;
    try {
      return readFileSync(beside(path), 'utf8');
    } catch {
      return null;
    }
  };
  const checks: FileChecks = {
    pair(map, at, preset) {
      const [cert, key] = [textOf(map, 'cert'), textOf(map, 'key')];
      const profile = TLS_PROFILES.find((each) => each === map.text('profile')) ?? preset;
      const found = cert === null || key === null ? null : pairFault(cert, key, profile);
      if (found !== null) fault([...at, found.field], found.expected);
      checks.authorities(map, at, 'client_ca');
    },
    linkKey(map, at, field) {
      const key = textOf(map, field);
      if (key === null) return;
      try {
        readPrivateKey(key, 'it');
      } catch (error) {
        fault([...at, field], `an ECDSA P-256 private key in PEM form (${describeError(error)})`);
      }
    },
    authorities(map, at, field) {
      const pem = textOf(map, field);
      if (pem === null) return;
      try {
        new X509Certificate(pem);
      } catch {
        fault([...at, field], 'certificates of authorities in PEM form');
      }
    },
    token(map, at, field) {
      if (textOf(map, field)?.trim() === '')
        fault([...at, field], 'a file with a long random word in it; it is empty');
    },
  };
  return checks;
}

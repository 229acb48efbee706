import type { SecureContextOptions } from 'node:tls';

/**
 * What a TLS server towards phones accepts:
 * - `modern`: TLS 1.3 only
 * - `intermediate`: TLS 1.2 and 1.3, forward secrecy and authenticated ciphers only
 * - `legacy`: TLS 1.0 and newer at OpenSSL's security level 0 (SHA-1, 1024-bit keys, no forward secrecy), for phones
 *   whose firmware knows nothing better. It is a choice for one listener or service, never a default.
 */
export const TLS_PROFILES = ['modern', 'intermediate', 'legacy'] as const;

export type TlsProfile = (typeof TLS_PROFILES)[number];

/** Suites of TLS 1.3, then of TLS 1.2 with ECDHE and an authenticated cipher. */
const STRONG_CIPHERS = [
  'TLS_AES_128_GCM_SHA256',
  'TLS_AES_256_GCM_SHA384',
  'TLS_CHACHA20_POLY1305_SHA256',
  'ECDHE-ECDSA-AES128-GCM-SHA256',
  'ECDHE-RSA-AES128-GCM-SHA256',
  'ECDHE-ECDSA-AES256-GCM-SHA384',
  'ECDHE-RSA-AES256-GCM-SHA384',
  'ECDHE-ECDSA-CHACHA20-POLY1305',
  'ECDHE-RSA-CHACHA20-POLY1305',
];

/** What older firmware offers, still compiled into Node's OpenSSL; DES, 3DES and RC4 are not. */
const LEGACY_CIPHERS = [
  'ECDHE-ECDSA-AES128-SHA',
  'ECDHE-RSA-AES128-SHA',
  'ECDHE-ECDSA-AES256-SHA',
  'ECDHE-RSA-AES256-SHA',
  'AES128-GCM-SHA256',
  'AES256-GCM-SHA384',
  'AES128-SHA256',
  'AES256-SHA256',
  'AES128-SHA',
  'AES256-SHA',
];

/** The options of a profile for `tls.createServer` or `tls.createSecureContext`. */
export function tlsProfileOptions(
  profile: TlsProfile,
): Pick<SecureContextOptions, 'minVersion' | 'ciphers' | 'honorCipherOrder'> {
  switch (profile) {
    case 'modern':
      return { minVersion: 'TLSv1.3', ciphers: STRONG_CIPHERS.join(':'), honorCipherOrder: false };
    case 'intermediate':
      return { minVersion: 'TLSv1.2', ciphers: STRONG_CIPHERS.join(':'), honorCipherOrder: false };
    case 'legacy':
      return {
        minVersion: 'TLSv1',
        ciphers: [...STRONG_CIPHERS, ...LEGACY_CIPHERS, '@SECLEVEL=0'].join(':'),
        honorCipherOrder: true,
      };
  }
}

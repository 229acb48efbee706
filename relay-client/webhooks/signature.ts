import { createHmac } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { describeError, SallyportError } from '../../shared/errors.ts';

/** The least length of a secret, in bytes: 128 bits, if it was made at random. */
export const SECRET_BYTES = 16;
/** How a secret in base64 begins (Standard Webhooks 1.0, "Signature scheme"). */
const BASE64_PREFIX = 'whsec_';

/**
 * Reads a webhook's secret: base64 behind `whsec_`, or else the file's text as it is.
 *
 * @throws SallyportError FILE_UNREADABLE, also where the secret is shorter than {@link SECRET_BYTES}
 */
export function readSecret(file: string): Buffer {
  let text: string;
  try {
    text = readFileSync(file, 'utf8').trim();
  } catch (cause) {
    throw new SallyportError('FILE_UNREADABLE', `cannot read ${file}: ${describeError(cause)}`, { cause });
  }
  const secret = text.startsWith(BASE64_PREFIX)
    ? Buffer.from(text.slice(BASE64_PREFIX.length), 'base64')
    : Buffer.from(text);
  if (secret.length >= SECRET_BYTES) return secret;
  throw new SallyportError(
    'FILE_UNREADABLE',
    `the webhook secret in ${file} has ${secret.length} bytes; write at least ${SECRET_BYTES} into it, such as what "openssl rand -base64 32" prints`,
  );
}

/**
 * The headers that let a receiver know that a request is ours, whole, and not an old one sent again: HMAC-SHA256 over
 * id, time and body (Standard Webhooks 1.0, "Webhook headers" and "Signature scheme").
 *
 * @param id - the same each time the batch is tried
 * @param at - wall time of this try, in seconds since 1970
 */
export function signedHeaders(
  secret: Buffer,
  { id, at, body }: { id: string; at: number; body: string },
): Record<string, string> {
  const signature = createHmac('sha256', secret).update(`${id}.${at}.${body}`).digest('base64');
  return {
    'webhook-id': id,
    'webhook-timestamp': String(at),
    'webhook-signature': `v1,${signature}`,
  };
}
